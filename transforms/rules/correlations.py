"""Sigma correlations as the specification has them: parsed, checked, and tied to the rules whose hits they ask for.

`pipeline.alerting.correlations` decides them over all hits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionItem,
    CorrelationConditionNOT,
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationRule,
    SigmaCorrelationType,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)
from sigma.rule import SigmaRuleBase

from schemas.errors import ConfigError

_RISING = {"gt", "gte"}
_COUNTS = {"event_count", "value_count", "temporal"}
_TEMPORAL = {"temporal", "temporal_ordered"}
_AT_LEAST_ONE = {"event_count", "temporal"}
_OPERATORS = SigmaCorrelationConditionOperator.operators()
_DEEPEST = 8


RANGE = "trailweave_condition"
"""Custom attribute of a parsed correlation: its condition, where that has several criteria. pySigma reads but one."""


@dataclass(frozen=True, slots=True)
class Seen:
    """In an expression: a hit of the base at this place, from 0, within the timespan before."""

    place: int


@dataclass(frozen=True, slots=True)
class Absent:
    """In an expression: no hit of the base at this place, from 0, within the timespan before or after."""

    place: int


@dataclass(frozen=True, slots=True)
class All:
    """In an expression: each of the parts holds."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """In an expression: one or more of the parts hold."""

    parts: tuple[Expression, ...]


Expression = Seen | Absent | All | Some


def holds_without(expression: Expression) -> bool:
    """Whether an expression holds where no rule has a hit."""
    match expression:
        case Seen():
            return False
        case Absent():
            return True
        case All(parts):
            return all(map(holds_without, parts))
        case Some(parts):
            return any(map(holds_without, parts))


def _denies(expression: Expression) -> bool:
    """Whether the absence of a rule is a part of the expression."""
    return isinstance(expression, Absent) or (
        isinstance(expression, All | Some) and any(map(_denies, expression.parts))
    )


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

    Each of the `conditions`, operator and number, is to hold; rules near each other may have an `expression` of them
    instead. `group_names` name the group as the rule does.
    """

    rule_id: str
    title: str
    kind: str
    bases: tuple[Base, ...]
    timespan: timedelta
    conditions: tuple[tuple[str, float], ...]
    expression: Expression | None = None
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
        if self.expression is not None:
            return not _denies(self.expression)
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
    if rule.errors:
        raise _refused(rule, "correlation", "; ".join(str(error) for error in rule.errors))
    if rule.timespan.seconds <= 0:
        raise _refused(rule, "timespan", f"{rule.timespan.spec!r} is no time; give 1s or more")
    names = tuple(rule.group_by or ())
    bases = _bases(rule, named)
    aliases = _aliases(rule, named, bases)
    is_extended = isinstance(rule.condition, SigmaExtendedCorrelationCondition)
    return Correlation(
        rule_id=rule_id(rule),
        title=rule.title,
        kind=rule.type.name.lower(),
        bases=tuple(
            Base(
                id_, tuple(aliases.get(name, {}).get(id_, name) for name in names), _inner(rule, base, named, within)
            )
            for id_, base in bases.items()
        ),
        timespan=timedelta(seconds=rule.timespan.seconds),
        conditions=() if is_extended else _conditions(rule, len(bases)),
        expression=_expression(rule, named, tuple(bases)) if is_extended else None,
        fields=_fields(rule),
        group_names=names,
        percentile=None if is_extended else _percentile(rule),
        generate=rule.generate,
        level=str(rule.level).lower() if rule.level is not None else "medium",
        tags=tuple(sorted(str(tag) for tag in rule.tags or ())),
        description=rule.description,
    )


def _refused(rule: SigmaCorrelationRule, field: str, why: str) -> ConfigError:
    where = f" in {rule.source}" if rule.source else ""
    return ConfigError(f"correlation rule {rule.title!r}{where}, field {field!r}: {why}")


def _base_of(
    rule: SigmaCorrelationRule, named: Mapping[str, SigmaRuleBase], reference: str, field: str
) -> SigmaRuleBase:
    if (base := named.get(reference)) is None:
        raise _refused(rule, field, f"no rule {reference!r}; load it too, or correct its id, name or title")
    return base


def _bases(rule: SigmaCorrelationRule, named: Mapping[str, SigmaRuleBase]) -> dict[str, SigmaRuleBase]:
    """The rules whose hits are correlated, by id; an expression names them where `rules` does not."""
    condition = rule.condition
    references = [it.reference for it in rule.rules or ()]
    if isinstance(condition, SigmaExtendedCorrelationCondition):
        references = references or condition.get_referenced_rules()
    bases = {rule_id(base): base for base in (_base_of(rule, named, it, "rules") for it in references)}
    if not bases:
        raise _refused(rule, "rules", "it names no rule")
    if len(bases) < len(references):
        raise _refused(rule, "rules", "it names a rule twice; name each once")
    return bases


def _inner(
    rule: SigmaCorrelationRule, base: SigmaRuleBase, named: Mapping[str, SigmaRuleBase], within: tuple[str, ...]
) -> Correlation | None:
    if not isinstance(base, SigmaCorrelationRule):
        return None
    path = (*within, rule_id(rule))
    if rule_id(base) in path:
        raise _refused(rule, "rules", f"by {base.title!r} it stands on itself; correlations may not form a circle")
    if len(path) == _DEEPEST:
        raise _refused(rule, "rules", f"more than {_DEEPEST} correlations stand on each other; join some of them")
    return correlation_of(base, named, path)


def _aliases(
    rule: SigmaCorrelationRule, named: Mapping[str, SigmaRuleBase], bases: Mapping[str, SigmaRuleBase]
) -> dict[str, dict[str, str]]:
    """Of each alias the field that it stands for, by the id of the rule."""
    aliases = {
        alias.alias: {
            rule_id(_base_of(rule, named, reference.reference, f"aliases.{alias.alias}")): own
            for reference, own in alias.mapping.items()
        }
        for alias in rule.aliases
    }
    for alias in aliases.keys() & set(rule.group_by or ()):
        if missing := bases.keys() - aliases[alias].keys():
            raise _refused(rule, f"aliases.{alias}", f"it has no field for {sorted(missing)}; add one")
    return aliases


def _conditions(rule: SigmaCorrelationRule, bases: int) -> tuple[tuple[str, float], ...]:
    """The criteria of a count, each of which is to hold."""
    first, kind = rule.condition, rule.type.name.lower()
    if not isinstance(first, SigmaCorrelationCondition):
        raise _refused(rule, "condition", "no count and no expression of rules; give a count such as gte: 2")
    further = [
        SigmaCorrelationCondition.from_dict({name: it}) for name, it in rule.custom_attributes.get(RANGE, {}).items()
    ]
    conditions = tuple((it.op.name.lower(), it.count) for it in (first, *further))
    if kind in _TEMPORAL:
        # Without a condition the parser hands out "at least one"; the specification means all of them.
        if first.source is None and list(conditions) == [("gte", 1)]:
            conditions = (("gte", bases),)
        if kind == "temporal_ordered" and list(conditions) != [("gte", bases)]:
            raise _refused(rule, "condition", f"rules in order are all {bases} of them; leave the condition out")
    for operator, count in conditions if kind in _AT_LEAST_ONE else ():
        if not _possible(operator, count):
            why = "a group is known by its hits, so that it has one or more; ask for one or more"
            raise _refused(rule, "condition", f"{operator}: {count} is never seen: {why}")
    return conditions


def _possible(operator: str, count: float) -> bool:
    """Whether a count of one or more can hold the condition: a group without hits is not seen."""
    return count >= {"lt": 2, "lte": 1, "eq": 1}.get(operator, 0)


def _fields(rule: SigmaCorrelationRule) -> tuple[str, ...]:
    given = (rule.condition.fieldref or []) if isinstance(rule.condition, SigmaCorrelationCondition) else []
    fields = tuple(map(str, given)) if isinstance(given, list) else (str(given),)
    kind = rule.type.name.lower()
    if len(fields) > 1 and kind != "value_count":
        why = f"{kind} is that of one field, not of {', '.join(fields)}; give one"
        raise _refused(rule, "condition.field", why)
    return fields


def _percentile(rule: SigmaCorrelationRule) -> int | None:
    percentile = rule.condition.percentile if isinstance(rule.condition, SigmaCorrelationCondition) else None
    if (
        rule.type is SigmaCorrelationType.VALUE_PERCENTILE
        and not 0 <= (-1 if percentile is None else percentile) <= 100
    ):
        raise _refused(rule, "condition.percentile", f"{percentile!r} is not within 0 and 100")
    return percentile


def _expression(rule: SigmaCorrelationRule, named: Mapping[str, SigmaRuleBase], bases: tuple[str, ...]) -> Expression:
    """The condition as an expression of the bases by their place, `not` moved to the rules."""
    condition = rule.condition
    if rule.type is not SigmaCorrelationType.TEMPORAL or not isinstance(condition, SigmaExtendedCorrelationCondition):
        kind = rule.type.name.lower()
        why = f"{kind} has no expression of rules; use temporal, or a {kind} on a temporal correlation"
        raise _refused(rule, "condition", why)

    def read(part: CorrelationConditionItem | SigmaRuleReference, is_denied: bool) -> Expression:
        if isinstance(part, SigmaRuleReference):
            place = bases.index(rule_id(_base_of(rule, named, part.reference, "condition")))
            return Absent(place) if is_denied else Seen(place)
        if isinstance(part, CorrelationConditionNOT):
            return read(part.args[0], not is_denied)
        parts = tuple(read(it, is_denied) for it in part.args)
        return All(parts) if isinstance(part, CorrelationConditionAND) is not is_denied else Some(parts)

    found = read(condition.parsed, False)
    if holds_without(found):
        why = "it holds where none of its rules is seen; name one that must be, as in 'a and not b'"
        raise _refused(rule, "condition", f"{condition.expression!r}: {why}")
    return found


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
