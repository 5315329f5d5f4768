"""Sigma correlations: many hits that mean something together, decided on event time over all hits that are known.

The answer is a function of the set of hits: order, grouping and repetition do not matter, and a hit that comes late
completes its window. A match stands for a group and a bucket of the timespan (whole multiples of it since 1970, UTC),
so that its id does not depend on which event came last.

- A condition that more events can only make true (`gt`, `gte` of a count; temporal) is looked at in the window that
  ends with each hit, both ends in; the match is in the bucket of that hit.
- Another one (`lt`, `lte`, `eq`, `neq`, and sums, averages and percentiles, which fall as well as rise) is looked at
  in whole buckets, once these ended longer than `lateness` ago. A group without any hit in a bucket is not seen.
- An expression of rules is looked at in the window that ends with each hit. A rule that it denies may have no hit in
  that window, nor within a timespan after it, so that no edge of a bucket parts two deeds. With such a rule it is
  decided once that timespan ended longer than `lateness` ago.

A correlation stands for its match in another one, and counts once there. The match happens whenever a window holds
the condition, with the fields of the hits that close the window, and those that its own group names.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa

from pipeline import sql
from pipeline.sql import query
from transforms.rules.correlations import Absent, All, Correlation, Expression, Seen, Some

LATENESS = timedelta(hours=6)
EVIDENCE = 50

_TIME: pa.DataType = pa.timestamp("us", tz="UTC")
_TEXT: pa.DataType = pa.string()
_TEXTS: pa.DataType = pa.list_(pa.string())

HITS = pa.schema(
    {"rule_id": _TEXT, "event_id": _TEXT, "event_time": _TIME, "group_fields": _TEXTS, "group_values": _TEXTS}
)
_CLOSING = pa.schema(
    {"event_id": _TEXT, "event_time": _TIME, "group_fields": _TEXTS, "group_values": _TEXTS},
)
_MEMBERS = pa.schema({"match_id": _TEXT, "event_id": _TEXT, "micros": pa.int64()})
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


def match_id(rule: str, group: Iterable[str], bucket: datetime) -> str:
    """The id of a match: a function of rule, group and bucket."""
    return str(uuid.uuid5(_NAMESPACE, repr((rule, tuple(group), int(bucket.timestamp())))))


def evaluate(rule: Correlation, hits: pa.Table, now: datetime, lateness: timedelta = LATENESS) -> pa.Table:
    """Matches of a correlation (`MATCHES`) in hits (`HITS`, others' columns and rules are not looked at).

    A row per group and bucket, sorted by these; `events` counts the distinct events of the windows that hold the
    condition, `evidence` has the first 50 of their ids by time. A hit without a value for each field of its group is
    in no group. `now` (aware) and `lateness` settle whole buckets; a rising condition does not look at them.
    """
    return _decided(rule, hits.select(HITS.names).cast(HITS), now, lateness).matches


@dataclass(frozen=True)
class _Decided:
    """What a correlation says: its `matches`, these as hits where a window is `closing`, and their `members`."""

    matches: pa.Table
    closing: pa.Table
    members: pa.Table


def _decided(rule: Correlation, hits: pa.Table, now: datetime, lateness: timedelta) -> _Decided:
    members = _MEMBERS.empty_table()
    for base in rule.bases:
        if base.correlation is not None:
            inner = _decided(base.correlation, hits, now, lateness)
            own = inner.closing.add_column(0, "rule_id", pa.repeat(base.rule_id, len(inner.closing)))
            hits = pa.concat_tables([hits, own.cast(HITS)])
            members = pa.concat_tables([members, inner.members])
    span = rule.timespan // timedelta(microseconds=1)
    settled = int((now - lateness - rule.unsettled).timestamp()) * 1_000_000
    holds = " AND ".join(f"seen {_OPERATORS[operator]} {count!r}" for operator, count in rule.conditions) or "seen"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("hits", hits)
        connection.register("bases", _bases(rule))
        connection.register("members", members)
        connection.execute(sql.text("correlations/keyed"))
        _look(connection, rule, span, settled)
        connection.execute(sql.text("correlations/events", span=str(span), holds=holds))
        values = {"span": str(span), "holds": holds, "most": str(EVIDENCE)}
        matches = _identified(rule, _answer(connection, "matches", values))
        connection.register("matches", matches)
        closing = _answer(connection, "closing", values).cast(_CLOSING)
        own = _answer(connection, "members", values).cast(_MEMBERS)
    return _Decided(matches, closing, own)


def _look(connection: duckdb.DuckDBPyConnection, rule: Correlation, span: int, settled: int) -> None:
    """Make the table `windows`: what each window shows, its group, begin and end."""
    percentile = f"quantile_cont({_NUMBER}, {rule.percentile or 0} / 100)"
    measure = _MEASURES.get(rule.kind, percentile)
    if rule.kind == "temporal_ordered":
        connection.execute(
            "CREATE TEMP TABLE chained AS SELECT *, CASE WHEN position = 1 THEN micros END AS since FROM keyed"
        )
        for position in range(2, len(rule.bases) + 1):
            connection.execute(sql.text("correlations/link", position=str(position)))
        connection.execute(sql.text("correlations/ordered", rules=str(len(rule.bases)), span=str(span)))
    elif rule.expression is not None:
        decided = "true" if rule.rising else f"micros + {span} <= {settled}"
        values = {"holds": _told(rule.expression), "span": str(span), "decided": decided}
        connection.execute(sql.text("correlations/expressed", **values))
    elif rule.rising:
        connection.execute(sql.text("correlations/sliding", measure=f"{measure} OVER span", span=str(span)))
    else:
        connection.execute(sql.text("correlations/whole", measure=measure, span=str(span), settled=str(settled)))


def _told(expression: Expression) -> str:
    """An expression in SQL, over the windows of the question `expressed`."""
    match expression:
        case Seen(place):
            return f"bool_or(position = {place + 1}) OVER before"
        case Absent(place):
            return f"NOT bool_or(position = {place + 1}) OVER around"
        case All(parts):
            return f"({' AND '.join(map(_told, parts))})"
        case Some(parts):
            return f"({' OR '.join(map(_told, parts))})"


def _answer(connection: duckdb.DuckDBPyConnection, name: str, values: dict[str, str]) -> pa.Table:
    return query.run(connection, sql.text(f"correlations/{name}", **values), {}).read_all()


def _identified(rule: Correlation, found: pa.Table) -> pa.Table:
    groups: list[Any] = found["group_values"].to_pylist()
    buckets: list[Any] = found["bucket"].to_pylist()
    ids = [match_id(rule.rule_id, group, bucket) for group, bucket in zip(groups, buckets, strict=True)]
    return found.add_column(0, "match_id", pa.array(ids, pa.string())).cast(MATCHES)


def _bases(rule: Correlation) -> pa.Table:
    # Only temporal kinds tell rules apart: elsewhere an event that two rules hit is one event.
    told_apart = rule.kind.startswith("temporal")
    return pa.table(
        {
            "rule_id": [base.rule_id for base in rule.bases],
            "position": pa.array([n if told_apart else 0 for n in range(1, len(rule.bases) + 1)], pa.int64()),
            "group_by": pa.array([list(base.group_by) for base in rule.bases], _TEXTS),
            "fields": pa.array([list(rule.fields)] * len(rule.bases), _TEXTS),
            "names": pa.array([list(rule.group_names)] * len(rule.bases), _TEXTS),
        }
    )
