"""Sigma correlations decided plainly and slowly: every window is looked at, in Python."""

from __future__ import annotations

import statistics
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt, ne

from transforms.rules.correlations import Absent, All, Correlation, Expression, Seen, Some

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
    found, _ = _decided(rule, hits, settled)
    return {(group, bucket, *_told(events)) for (group, bucket), events in found.items()}


Events = set[tuple[int, str]]
Found = dict[tuple[tuple[str, ...], int], Events]


def _decided(rule: Correlation, hits: set[Hit], settled: int) -> tuple[Found, set[Hit]]:
    """The events of each match by group and bucket, and the matches as hits of the rule."""
    members: dict[str, Events] = {}
    for base in rule.bases:
        if base.correlation is not None:
            inner, closing = _decided(base.correlation, hits, settled)
            members |= {_match(base.correlation, *key): events for key, events in inner.items()}
            hits = hits | closing
    settled -= int(rule.unsettled.total_seconds())
    groups: dict[tuple[str, ...], list[tuple[int, Hit]]] = defaultdict(list)
    for position, base in enumerate(rule.bases):
        for hit in hits:
            values = [dict(hit.fields).get(name) for name in base.group_by]
            if hit.rule == base.rule_id and None not in values:
                groups[tuple(str(value) for value in values)].append((position, hit))
    span = int(rule.timespan.total_seconds())
    found: dict[tuple[tuple[str, ...], int], set[Hit]] = defaultdict(set)
    closing = set()
    for group, of_group in groups.items():
        for _, end in of_group:
            bucket = end.second // span * span
            if rule.expression is not None:
                if not rule.rising and end.second + span > settled:
                    continue
                window = [(p, h) for p, h in of_group if end.second - span <= h.second <= end.second]
                around = {p for p, h in of_group if abs(h.second - end.second) <= span}
                if not _true(rule.expression, {p for p, _ in window}, around):
                    continue
            elif rule.rising:
                window = [(p, h) for p, h in of_group if end.second - span <= h.second <= end.second]
            elif bucket + span <= settled:
                window = [(p, h) for p, h in of_group if h.second // span * span == bucket]
            else:
                continue
            last = max(h.second for _, h in window)
            if rule.kind == "temporal_ordered":
                begins = _begins(rule, window, end.second)
                if not begins:
                    continue
                found[group, bucket] |= {h for _, h in of_group if max(begins) <= h.second <= end.second}
            elif rule.expression is not None or _holds(rule, window):
                found[group, bucket] |= {h for _, h in window}
            else:
                continue
            own = tuple(zip(rule.group_names, group, strict=True))
            closing |= {
                Hit(rule.rule_id, _match(rule, group, bucket), last, (*h.fields, *own))
                for _, h in of_group
                if h.second == last
            }
    events = {
        key: {it for h in its for it in members.get(h.event, {(h.second, h.event)})} for key, its in found.items()
    }
    return events, closing


def _match(rule: Correlation, group: tuple[str, ...], bucket: int) -> str:
    return repr((rule.rule_id, group, bucket))


def _begins(rule: Correlation, window: list[tuple[int, Hit]], end: int) -> list[int]:
    """Where chains begin whose last hit is at `end`."""
    chains = [(h.second, h.second) for p, h in window if p == 0]
    for position in range(1, len(rule.bases)):
        chains = [
            (begin, h.second) for begin, last in chains for p, h in window if p == position and h.second >= last
        ]
    return [begin for begin, last in chains if last == end]


def _true(expression: Expression, before: set[int], around: set[int]) -> bool:
    match expression:
        case Seen(place):
            return place in before
        case Absent(place):
            return place not in around
        case All(parts):
            return all(_true(it, before, around) for it in parts)
        case Some(parts):
            return any(_true(it, before, around) for it in parts)


def _holds(rule: Correlation, window: list[tuple[int, Hit]]) -> bool:
    seen = _seen(rule, window)
    return seen is not None and all(OPERATORS[operator](seen, count) for operator, count in rule.conditions)


def _seen(rule: Correlation, window: list[tuple[int, Hit]]) -> float | None:
    found = {(h.event, tuple(dict(h.fields).get(name) for name in rule.fields)) for _, h in window}
    values = [value for _, value in found if None not in value]
    numbers = [float(value[0]) for value in values if value and str(value[0]).lstrip("-").isdigit()]
    match rule.kind:
        case "event_count":
            return len({event for event, _ in found})
        case "value_count":
            return len(set(values))
        case "temporal":
            return len({position for position, _ in window})
        case _ if not numbers:
            return None
        case "value_sum":
            return sum(numbers)
        case "value_avg":
            return sum(numbers) / len(numbers)
        case "value_median":
            return statistics.median(numbers)
    raise ValueError(rule.kind)


def _told(events: Events) -> tuple[int, int, tuple[str, ...]]:
    # An event has one time.
    times = sorted(events)
    return times[0][0], times[-1][0], tuple(dict.fromkeys(event for _, event in times))
