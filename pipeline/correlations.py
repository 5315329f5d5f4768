"""Sigma correlations: many hits that mean something together, decided on event time over all hits that are known.

The answer is a function of the set of hits: order, grouping and repetition do not matter, and a hit that comes late
completes its window. A match stands for a group and a bucket of the timespan (whole multiples of it since 1970, UTC),
so that its id does not depend on which event came last.

- A condition that more events can only make true (`gt`, `gte` of a count; temporal) is looked at in the window that
  ends with each hit, both ends in; the match is in the bucket of that hit.
- Another one (`lt`, `lte`, `eq`, `neq`, and sums, averages and percentiles, which fall as well as rise) is looked at
  in whole buckets, once these ended longer than `lateness` ago. A group without any hit in a bucket is not seen.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationRule,
    SigmaCorrelationType,
    SigmaRuleReference,
)
from sigma.rule import SigmaRuleBase

from pipeline import query, sql
from schemas.errors import ConfigError

LATENESS = timedelta(hours=6)
EVIDENCE = 50

_TIME: pa.DataType = pa.timestamp("us", tz="UTC")
_TEXT: pa.DataType = pa.string()
_TEXTS: pa.DataType = pa.list_(pa.string())

HITS = pa.schema(
    {"rule_id": _TEXT, "event_id": _TEXT, "event_time": _TIME, "group_fields": _TEXTS, "group_values": _TEXTS}
)
MATCHES = pa.schema(
    {
        "match_id": _TEXT,
        "group_values": _TEXTS,
        "bucket": _TIME,
        "first_seen": _TIME,
        "last_seen": _TIME,
        "events": pa.int64(),
        "evidence": _TEXTS,
    }
)

_NAMESPACE = uuid.UUID("6f1d0a5e-6a3d-5a0f-9d43-0d0f5a1f6c11")
_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "eq": "=", "neq": "<>"}
_RISING = {"gt", "gte"}
_NUMBER = "CASE WHEN isfinite(try_cast(value AS DOUBLE)) THEN try_cast(value AS DOUBLE) END"
_MEASURES = {
    "event_count": "count(DISTINCT event_id)",
    "value_count": "count(DISTINCT value)",
    "temporal": "count(DISTINCT position)",
    # Sums of floats depend on their order.
    "value_sum": f"sum({_NUMBER} ORDER BY {_NUMBER})",
    "value_avg": f"sum({_NUMBER} ORDER BY {_NUMBER}) / count({_NUMBER})",
    "value_median": f"median({_NUMBER})",
}
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
    named: dict[str, SigmaRuleBase] = {}
    for names in ([r.title for r in rules], [r.name for r in rules], [str(r.id) if r.id else None for r in rules]):
        named.update((name, rule) for name, rule in zip(names, rules, strict=True) if name)
    return [_correlation(rule, named) for rule in rules if isinstance(rule, SigmaCorrelationRule)]


def _correlation(rule: SigmaCorrelationRule, named: dict[str, SigmaRuleBase]) -> Correlation:
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
    )


def _possible(operator: str, count: float) -> bool:
    """Whether a count of one or more can hold the condition: a group without hits is not seen."""
    return count >= {"lt": 2, "lte": 1, "eq": 1}.get(operator, 0)


def match_id(rule: str, group: Iterable[str], bucket: datetime) -> str:
    """The id of a match: a function of rule, group and bucket."""
    return str(uuid.uuid5(_NAMESPACE, repr((rule, tuple(group), int(bucket.timestamp())))))


def evaluate(rule: Correlation, hits: pa.Table, now: datetime, lateness: timedelta = LATENESS) -> pa.Table:
    """Matches of a correlation (`MATCHES`) in hits (`HITS`, others' columns and rules are not looked at).

    A row per group and bucket, sorted by these; `events` counts the distinct events of the windows that hold the
    condition, `evidence` has the first 50 of their ids by time. A hit without a value for each field of its group is
    in no group. `now` (aware) and `lateness` settle whole buckets; a rising condition does not look at them.
    """
    span = rule.timespan // timedelta(microseconds=1)
    settled = int((now - lateness).timestamp()) * 1_000_000
    percentile = f"quantile_cont({_NUMBER}, {rule.percentile or 0} / 100)"
    measure = _MEASURES.get(rule.kind, percentile)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("hits", hits.select(HITS.names))
        connection.register("bases", _bases(rule))
        connection.execute(sql.text("correlations/keyed"))
        if rule.kind == "temporal_ordered":
            connection.execute(
                "CREATE TEMP TABLE chained AS SELECT *, CASE WHEN position = 1 THEN micros END AS since FROM keyed"
            )
            for position in range(2, len(rule.bases) + 1):
                connection.execute(sql.text("correlations/link", position=str(position)))
            connection.execute(sql.text("correlations/ordered", rules=str(len(rule.bases)), span=str(span)))
        elif rule.rising:
            connection.execute(sql.text("correlations/sliding", measure=f"{measure} OVER span", span=str(span)))
        else:
            connection.execute(sql.text("correlations/whole", measure=measure, span=str(span), settled=str(settled)))
        held = query.run(
            connection,
            sql.text(
                "correlations/matches",
                span=str(span),
                operator=_OPERATORS[rule.operator],
                count=repr(rule.count),
                most=str(EVIDENCE),
            ),
            {},
        ).read_all()
    groups: list[Any] = held["group_values"].to_pylist()
    buckets: list[Any] = held["bucket"].to_pylist()
    ids = [match_id(rule.rule_id, group, bucket) for group, bucket in zip(groups, buckets, strict=True)]
    return held.add_column(0, "match_id", pa.array(ids, pa.string())).cast(MATCHES)


def _bases(rule: Correlation) -> pa.Table:
    # Only temporal kinds tell rules apart: elsewhere an event that two rules hit is one event.
    told_apart = rule.kind.startswith("temporal")
    return pa.table(
        {
            "rule_id": [base.rule_id for base in rule.bases],
            "position": pa.array([n if told_apart else 0 for n in range(1, len(rule.bases) + 1)], pa.int64()),
            "group_by": pa.array([list(base.group_by) for base in rule.bases], pa.list_(pa.string())),
            "field": pa.array([rule.field] * len(rule.bases), pa.string()),
        }
    )
