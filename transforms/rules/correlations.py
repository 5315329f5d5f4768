"""Sigma correlations as the specification has them: parsed, checked, and tied to the rules whose hits they ask for.

`pipeline.alerting.correlations` decides them over all hits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationRule,
    SigmaCorrelationType,
    SigmaRuleReference,
)
from sigma.rule import SigmaRuleBase

from schemas.errors import ConfigError

_RISING = {"gt", "gte"}
_COUNTS = {"event_count", "value_count", "temporal"}
_AT_LEAST_ONE = {"event_count", "temporal"}
_OPERATORS = SigmaCorrelationConditionOperator.operators()
_DEEPEST = 8


RANGE = "trailweave_condition"
"""Custom attribute of a parsed correlation: its condition, where that has several criteria. pySigma reads but one."""


@dataclass(frozen=True, slots=True)
class Base:
    """A rule whose hits are correlated: its id, and its own fields for the group, in the order of the group.

    `correlation` is the rule itself where it is a correlation.
    """

    rule_id: str
    group_by: tuple[str, ...]
    correlation: Correlation | None = None


@dataclass(frozen=True, slots=True)
class Correlation:
    """A Sigma correlation, checked. `timespan` in whole seconds; `fields` are those of value correlations.

    Each of the `conditions`, operator and number, is to hold. `group_names` name the group as the rule does.
    """

    rule_id: str
    title: str
    kind: str
    bases: tuple[Base, ...]
    timespan: timedelta
    conditions: tuple[tuple[str, float], ...]
    fields: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    percentile: int | None = None
    generate: bool = False
    alerts: bool = True
    level: str = "medium"
    tags: tuple[str, ...] = ()
    description: str | None = None
    path: str = ""

    @property
    def rising(self) -> bool:
        """Whether more events can only make the condition true, never false."""
        rises = all(operator in _RISING for operator, _ in self.conditions)
        return self.kind == "temporal_ordered" or (self.kind in _COUNTS and rises)

    @property
    def unsettled(self) -> timedelta:
        """How long after a time the correlations among the bases may still be undecided, beyond the lateness."""
        inner = [base.correlation for base in self.bases if base.correlation]
        return max((it.unsettled + (timedelta() if it.rising else it.timespan) for it in inner), default=timedelta())

    def asked(self) -> Iterator[tuple[str, str]]:
        """Which fields are asked of the hits of which detection rule, through correlations too; perhaps repeated."""
        for base in self.bases:
            for field in (*base.group_by, *self.fields):
                if base.correlation is None:
                    yield base.rule_id, field
                elif field not in base.correlation.group_names:
                    for rule in base.correlation.rules():
                        yield rule, field
            if base.correlation is not None:
                yield from base.correlation.asked()

    def rules(self) -> tuple[str, ...]:
        """The detection rules that it stands on, through correlations too."""
        found = [base.correlation.rules() if base.correlation else (base.rule_id,) for base in self.bases]
        return tuple(dict.fromkeys(rule for rules in found for rule in rules))


def rule_id(rule: SigmaRuleBase) -> str:
    """The id under which a rule's hits stand: its id, else its name, else its title."""
    return str(rule.id or rule.name or rule.title)


def correlations(rules: Sequence[SigmaRuleBase]) -> list[Correlation]:
    """The correlations among parsed Sigma rules; their base rules are found by id, name or title.

    Raises `ConfigError` that names the rule and the field for whatever is not supported or not there.
    """
    named = by_reference(rules)
    return [correlation_of(rule, named) for rule in rules if isinstance(rule, SigmaCorrelationRule)]


def by_reference(rules: Sequence[SigmaRuleBase]) -> dict[str, SigmaRuleBase]:
    """Rules by whatever names them: an id before a name, a name before a title."""
    named: dict[str, SigmaRuleBase] = {}
    for names in ([r.title for r in rules], [r.name for r in rules], [str(r.id) if r.id else None for r in rules]):
        named.update((name, rule) for name, rule in zip(names, rules, strict=True) if name)
    return named


def correlation_of(
    rule: SigmaCorrelationRule, named: Mapping[str, SigmaRuleBase], within: tuple[str, ...] = ()
) -> Correlation:
    """One correlation, its base rules found among the named. Raises as `correlations` does.

    `within` are the ids of the correlations that it is a part of.
    """

    def refused(field: str, why: str) -> ConfigError:
        where = f" in {rule.source}" if rule.source else ""
        return ConfigError(f"correlation rule {rule.title!r}{where}, field {field!r}: {why}")

    def base_of(reference: SigmaRuleReference, field: str) -> SigmaRuleBase:
        base = named.get(reference.reference)
        if base is None:
            raise refused(field, f"no rule {reference.reference!r}; load it too, or correct its id, name or title")
        return base

    def inner(base: SigmaRuleBase) -> Correlation | None:
        if not isinstance(base, SigmaCorrelationRule):
            return None
        path = (*within, rule_id(rule))
        if rule_id(base) in path:
            raise refused("rules", f"by {base.title!r} it stands on itself; correlations may not form a circle")
        if len(path) == _DEEPEST:
            raise refused("rules", f"more than {_DEEPEST} correlations stand on each other; join some of them")
        return correlation_of(base, named, path)

    if rule.errors:
        raise refused("correlation", "; ".join(str(error) for error in rule.errors))
    condition, kind = rule.condition, rule.type.name.lower()
    if not isinstance(condition, SigmaCorrelationCondition):
        raise refused("condition", "an expression of rules is not supported; give a count such as gte: 2")
    bases = {rule_id(base): base for base in (base_of(it, "rules") for it in rule.rules or ())}
    if not bases:
        raise refused("rules", "it names no rule")
    if len(bases) < len(rule.rules or ()):
        raise refused("rules", "it names a rule twice; name each once")
    if rule.timespan.seconds <= 0:
        raise refused("timespan", f"{rule.timespan.spec!r} is no time; give 1s or more")

    conditions = _conditions(rule, condition)
    if rule.type in (SigmaCorrelationType.TEMPORAL, SigmaCorrelationType.TEMPORAL_ORDERED):
        # Without a condition the parser hands out "at least one"; the specification means all of them.
        if condition.source is None and list(conditions) == [("gte", 1)]:
            conditions = (("gte", len(bases)),)
        if kind == "temporal_ordered" and list(conditions) != [("gte", len(bases))]:
            raise refused("condition", f"rules in order are all {len(bases)} of them; leave the condition out")
    for operator, count in conditions if kind in _AT_LEAST_ONE else ():
        if not _possible(operator, count):
            why = "a group is known by its hits, so that it has one or more; ask for one or more"
            raise refused("condition", f"{operator}: {count} is never seen: {why}")

    given = condition.fieldref or []
    fields = (given,) if isinstance(given, str) else tuple(map(str, given))
    if len(fields) > 1 and kind != "value_count":
        raise refused("condition.field", f"{kind} is that of one field, not of {', '.join(fields)}; give one")
    if kind == "value_percentile" and not 0 <= (-1 if condition.percentile is None else condition.percentile) <= 100:
        raise refused("condition.percentile", f"{condition.percentile!r} is not within 0 and 100")

    names = tuple(rule.group_by or ())
    aliases = {
        alias.alias: {
            rule_id(base_of(reference, f"aliases.{alias.alias}")): own for reference, own in alias.mapping.items()
        }
        for alias in rule.aliases
    }
    for alias in aliases.keys() & set(names):
        if missing := bases.keys() - aliases[alias].keys():
            raise refused(f"aliases.{alias}", f"it has no field for {sorted(missing)}; add one")
    return Correlation(
        rule_id=rule_id(rule),
        title=rule.title,
        kind=kind,
        bases=tuple(
            Base(id_, tuple(aliases.get(name, {}).get(id_, name) for name in names), inner(base))
            for id_, base in bases.items()
        ),
        timespan=timedelta(seconds=rule.timespan.seconds),
        conditions=conditions,
        fields=fields,
        group_names=names,
        percentile=condition.percentile,
        generate=rule.generate,
        level=str(rule.level).lower() if rule.level is not None else "medium",
        tags=tuple(sorted(str(tag) for tag in rule.tags or ())),
        description=rule.description,
    )


def without_range(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """A correlation's YAML for pySigma, which reads one criterion of a condition: the others are in `RANGE`."""
    section = content.get("correlation")
    condition = section.get("condition") if isinstance(section, dict) else None
    criteria = [name for name in condition if name in _OPERATORS] if isinstance(condition, dict) else []
    if not isinstance(section, dict) or not isinstance(condition, dict) or len(criteria) < 2:
        return content
    first = {name: value for name, value in condition.items() if name not in criteria[1:]}
    further = {name: condition[name] for name in criteria[1:]}
    return {**content, "correlation": {**section, "condition": first}, RANGE: further}


def _conditions(rule: SigmaCorrelationRule, first: SigmaCorrelationCondition) -> tuple[tuple[str, float], ...]:
    further = [
        SigmaCorrelationCondition.from_dict({name: it}) for name, it in rule.custom_attributes.get(RANGE, {}).items()
    ]
    return tuple((it.op.name.lower(), it.count) for it in (first, *further))


def _possible(operator: str, count: float) -> bool:
    """Whether a count of one or more can hold the condition: a group without hits is not seen."""
    return count >= {"lt": 2, "lte": 1, "eq": 1}.get(operator, 0)
