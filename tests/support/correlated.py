"""Sigma correlations decided plainly and slowly: every window is looked at, in Python."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt, ne

from transforms.rules.correlations import Correlation

OPERATORS = {"gt": gt, "gte": ge, "lt": lt, "lte": le, "eq": eq, "neq": ne}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Hit:
    """A hit of a base rule, `second` seconds after 1970."""

    rule: str
    event: str
    second: int
    fields: tuple[tuple[str, str | None], ...]


Match = tuple[tuple[str, ...], int, int, int, tuple[str, ...]]


def matches(rule: Correlation, hits: set[Hit], settled: int) -> set[Match]:
    """Group, bucket, first and last second, and event ids by time, for each match."""
    groups: dict[tuple[str, ...], list[tuple[int, Hit]]] = defaultdict(list)
    for position, base in enumerate(rule.bases):
        for hit in hits:
            values = [dict(hit.fields).get(name) for name in base.group_by]
            if hit.rule == base.rule_id and None not in values:
                groups[tuple(str(value) for value in values)].append((position, hit))
    span = int(rule.timespan.total_seconds())
    found: dict[tuple[tuple[str, ...], int], set[Hit]] = defaultdict(set)
    for group, members in groups.items():
        for _, end in members:
            bucket = end.second // span
            if rule.rising:
                window = [(p, h) for p, h in members if end.second - span <= h.second <= end.second]
            elif (bucket + 1) * span <= settled:
                window = [(p, h) for p, h in members if h.second // span == bucket]
            else:
                continue
            if rule.kind == "temporal_ordered":
                begins = _begins(rule, window, end.second)
                if begins:
                    found[group, bucket] |= {h for _, h in members if max(begins) <= h.second <= end.second}
            elif _holds(rule, window):
                found[group, bucket] |= {h for _, h in window}
    return {(group, bucket * span, *_told(events)) for (group, bucket), events in found.items()}


def _begins(rule: Correlation, window: list[tuple[int, Hit]], end: int) -> list[int]:
    """Where chains begin whose last hit is at `end`."""
    chains = [(h.second, h.second) for p, h in window if p == 0]
    for position in range(1, len(rule.bases)):
        chains = [
            (begin, h.second) for begin, last in chains for p, h in window if p == position and h.second >= last
        ]
    return [begin for begin, last in chains if last == end]


def _holds(rule: Correlation, window: list[tuple[int, Hit]]) -> bool:
    by_event = {h.event: dict(h.fields).get(rule.field or "") for _, h in window}
    values = [value for value in by_event.values() if value is not None]
    numbers = [float(value) for value in values if value.lstrip("-").isdigit()]
    seen: float
    match rule.kind:
        case "event_count":
            seen = len(by_event)
        case "value_count":
            seen = len(set(values))
        case "temporal":
            seen = len({position for position, _ in window})
        case _ if not numbers:
            return False
        case "value_sum":
            seen = sum(numbers)
        case "value_avg":
            seen = sum(numbers) / len(numbers)
        case "value_median":
            seen = statistics.median(numbers)
        case _:
            raise ValueError(rule.kind)
    return bool(OPERATORS[rule.operator](seen, rule.count))


def _told(hits: set[Hit]) -> tuple[int, int, tuple[str, ...]]:
    times = sorted((hit.second, hit.event) for hit in hits)
    return times[0][0], times[-1][0], tuple(dict.fromkeys(event for _, event in times))
