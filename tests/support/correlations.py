"""Correlations over two base rules, hits for them as a table, and matches as plain values."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from sigma.collection import SigmaCollection

from pipeline.alerting.correlations import HITS
from support.correlated import EPOCH, Hit
from transforms.rules.correlations import (
    Correlation,
    correlations,
)
from transforms.rules.sigma import RuleSet, RuleText, compile_rules

BASE = """
title: {title}
name: {name}
logsource: {{product: aws, service: cloudtrail}}
detection: {{one: {{eventName: X}}, condition: one}}
"""
BASES = BASE.format(title="Denied call", name="denied") + "---" + BASE.format(title="Key made", name="made")
LATE = datetime(2100, 1, 1, tzinfo=UTC)


def together(correlation: str) -> Correlation:
    return parsed(
        f"{BASES}---\ntitle: Together\nid: 0e95725d-7320-415d-80f7-004da920fc11\ncorrelation:\n{correlation}"
    )


def parsed(text: str) -> Correlation:
    rules = SigmaCollection.from_yaml(text, collect_errors=True, resolve_references=False).rules
    (rule,) = correlations(rules)
    return rule


def table(hits: Iterable[Hit]) -> pa.Table:
    rows = [
        {
            "rule_id": hit.rule,
            "event_id": hit.event,
            "event_time": EPOCH + timedelta(seconds=hit.second),
            "group_fields": [name for name, _ in hit.fields],
            "group_values": [value for _, value in hit.fields],
        }
        for hit in hits
    ]
    return pa.Table.from_pylist(rows, HITS)


def told(found: pa.Table) -> set[Any]:
    def second(time: datetime) -> int:
        return int(time.timestamp())

    return {
        (
            tuple(row["group_values"]),
            second(row["bucket"]),
            second(row["first_seen"]),
            second(row["last_seen"]),
            tuple(row["evidence"]),
        )
        for row in found.to_pylist()
    }


def hit(second: int, rule: str = "denied", user: str | None = "ann", **fields: str) -> Hit:
    return Hit(rule, f"{rule}-{second}", second, (("user", user), *fields.items()))


CHAIN = """
title: Failed often, then signed in
name: outer
correlation:
    type: temporal_ordered
    rules: [often, made]
    group-by: [account]
    timespan: 10m
---
title: Failed often
name: often
correlation:
    type: event_count
    rules: [denied]
    group-by: [user]
    timespan: 1m
    condition: {gte: 3}
"""


def chained(text: str = CHAIN) -> RuleSet:
    return compile_rules([RuleText("chain.yml", f"{BASES}---{text}")])
