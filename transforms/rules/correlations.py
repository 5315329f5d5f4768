"""Sigma correlations as the specification has them: parsed, checked, and tied to the rules whose hits they ask for.

`pipeline.correlations` decides them over all hits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationRule,
    SigmaCorrelationType,
    SigmaRuleReference,
)
from sigma.rule import SigmaRuleBase

from schemas.errors import ConfigError

_RISING = {"gt", "gte"}
_COUNTS = {"event_count", "value_count", "temporal"}


@dataclass(frozen=True, slots=True)
class Base:
    """A rule whose hits are correlated: its id, and its own fields for the group, in the order of the group."""

    rule_id: str
    group_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Correlation:
    """A Sigma correlation, checked. `timespan` in whole seconds; `field` is that of value correlations."""

    rule_id: str
    title: str
    kind: str
    bases: tuple[Base, ...]
    timespan: timedelta
    operator: str
    count: float
    field: str | None = None
    percentile: int | None = None
    generate: bool = False
    level: str = "medium"
    tags: tuple[str, ...] = ()
    description: str | None = None

    @property
    def rising(self) -> bool:
        """Whether more events can only make the condition true, never false."""
        return self.kind == "temporal_ordered" or (self.kind in _COUNTS and self.operator in _RISING)


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


def correlation_of(rule: SigmaCorrelationRule, named: Mapping[str, SigmaRuleBase]) -> Correlation:
    """One correlation, its base rules found among the named. Raises as `correlations` does."""

    def refused(field: str, why: str) -> ConfigError:
        where = f" in {rule.source}" if rule.source else ""
        return ConfigError(f"correlation rule {rule.title!r}{where}, field {field!r}: {why}")

    def base_id(reference: SigmaRuleReference, field: str) -> str:
        base = named.get(reference.reference)
        if base is None:
            raise refused(field, f"no rule {reference.reference!r}; load it too, or correct its id, name or title")
        if isinstance(base, SigmaCorrelationRule):
            raise refused(field, f"{reference.reference!r} is a correlation; only detection rules are correlated")
        return rule_id(base)

    if rule.errors:
        raise refused("correlation", "; ".join(str(error) for error in rule.errors))
    condition, kind = rule.condition, rule.type.name.lower()
    if not isinstance(condition, SigmaCorrelationCondition):
        raise refused("condition", "an expression of rules is not supported; give a count such as gte: 2")
    ids = [base_id(reference, "rules") for reference in rule.rules or ()]
    if not ids:
        raise refused("rules", "it names no rule")
    if len(set(ids)) < len(ids):
        raise refused("rules", "it names a rule twice; name each once")
    if rule.timespan.seconds <= 0:
        raise refused("timespan", f"{rule.timespan.spec!r} is no time; give 1s or more")

    operator, count = condition.op.name.lower(), condition.count
    if rule.type in (SigmaCorrelationType.TEMPORAL, SigmaCorrelationType.TEMPORAL_ORDERED):
        # Without a condition the parser hands out "at least one"; the specification means all of them.
        if condition.source is None and (operator, count) == ("gte", 1):
            count = len(ids)
        if kind == "temporal_ordered" and (operator, count) != ("gte", len(ids)):
            raise refused("condition", f"rules in order are all {len(ids)} of them; leave the condition out")
    if kind in _COUNTS and not _possible(operator, count):
        raise refused("condition", f"{operator}: {count} asks for what no group of hits can show")

    field = condition.fieldref
    if isinstance(field, list):
        if len(field) > 1:
            raise refused("condition.field", f"several fields {field!r} are not supported; give one")
        (field,) = field
    if kind == "value_percentile" and not 0 <= (-1 if condition.percentile is None else condition.percentile) <= 100:
        raise refused("condition.percentile", f"{condition.percentile!r} is not within 0 and 100")

    aliases = {
        alias.alias: {base_id(reference, f"aliases.{alias.alias}"): own for reference, own in alias.mapping.items()}
        for alias in rule.aliases
    }
    for alias in aliases.keys() & set(rule.group_by or ()):
        if missing := set(ids) - aliases[alias].keys():
            raise refused(f"aliases.{alias}", f"it has no field for {sorted(missing)}; add one")
    return Correlation(
        rule_id=rule_id(rule),
        title=rule.title,
        kind=kind,
        bases=tuple(
            Base(base, tuple(aliases.get(name, {}).get(base, name) for name in rule.group_by or ())) for base in ids
        ),
        timespan=timedelta(seconds=rule.timespan.seconds),
        operator=operator,
        count=count,
        field=field,
        percentile=condition.percentile,
        generate=rule.generate,
        level=str(rule.level).lower() if rule.level is not None else "medium",
        tags=tuple(sorted(str(tag) for tag in rule.tags or ())),
        description=rule.description,
    )


def _possible(operator: str, count: float) -> bool:
    """Whether a count of one or more can hold the condition: a group without hits is not seen."""
    return count >= {"lt": 2, "lte": 1, "eq": 1}.get(operator, 0)
