"""From what events show to rows of `detections`: one per event and indicator, of kind `ioc`."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.values import Commit
from transforms.detections import by_commit, no_detections
from transforms.indicators.lists import Lists
from transforms.indicators.matching import IndicatorMatcher, Places

_HIGH, _MEDIUM = 75, 40
_MOST_NAMED = 3
_LONGEST_EVIDENCE = 256


def detections(
    matcher: IndicatorMatcher, records: pa.Table, events: pa.Table, commits: Sequence[Commit]
) -> tuple[pa.Table, ...]:
    """Rows of `detections` for each commit of a slice, perhaps none: one per event and indicator.

    `rule_id` is `ioc/<kind>/<value>`; the level is high for a confidence of 75 or more, medium for 40 or more and
    where no list tells one, else low. `evidence` names each column that shows the indicator, and what stands there.
    """
    sightings = list(matcher.sightings(records, events))
    if not sightings:
        return no_detections(commits)
    rows = np.concatenate([it.rows for it in sightings])
    indicators = np.concatenate([it.indicators for it in sightings])
    evidence = [f"{it.column}={text}"[:_LONGEST_EVIDENCE] for it in sightings for text in it.texts]
    order = np.lexsort((indicators, rows))
    pairs, starts = np.unique(np.stack([rows[order], indicators[order]]), axis=1, return_index=True)
    ends = np.append(starts[1:], len(order))
    told = [
        [evidence[place] for place in order[start:end].tolist()]
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    return by_commit(_described(matcher.lists, records, events, pairs[0], pairs[1], told), pairs[0], commits)


def _described(
    lists: Lists, records: pa.Table, events: pa.Table, rows: Places, indicators: Places, evidence: list[list[str]]
) -> pa.Table:
    shown, places = np.unique(indicators, return_inverse=True)
    taken, of_table, of_shown = (_indices(it) for it in (rows, shown, places.reshape(-1)))
    rules = pa.Table.from_pylist([_rule(lists, row) for row in lists.table.take(of_table).to_pylist()], _RULES)
    rules = rules.take(of_shown)
    count = len(rows)
    nothing = pa.array([[]] * count, _TEXTS)
    columns: dict[str, Any] = {
        **{name: rules[name] for name in _RULES.names},
        "kind": pa.repeat("ioc", count),
        "alerts": pa.array(np.full(count, True)),
        "event_id": records["event_id"].take(taken),
        "event_time": records["event_time"].take(taken),
        "session_id": events["session_id"].take(taken).cast(pa.string()),
        "group_fields": nothing,
        "group_values": nothing,
        "evidence": pa.array(evidence, _TEXTS),
    }
    return pa.table(columns)


def _indices(places: Places) -> Any:
    return pa.array(places)


_TEXTS: pa.DataType = pa.list_(pa.field("element", pa.string(), nullable=False))
_RULE_FIELDS: list[pa.Field[Any]] = [
    *(pa.field(name, pa.string()) for name in ("rule_id", "rule_version", "rule_title", "level")),
    pa.field("tags", _TEXTS),
]
_RULES = pa.schema(_RULE_FIELDS)


def _rule(lists: Lists, row: dict[str, Any]) -> dict[str, Any]:
    origins = [lists.origins[place] for place in row["origins"]]
    names = sorted({it.name for it in origins})
    tags = sorted({tag for it in origins for tag in it.tags})
    kind, value, confidence, end = row["kind"], row["value"], row["confidence"], row["valid_until"]
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return {
        "rule_id": f"ioc/{kind}/{value}",
        "rule_version": sha256(repr((names, tags, confidence, end and end.timestamp())).encode()).hexdigest()[:16],
        "rule_title": f"{kind.replace('_', ' ').capitalize()} {value} of list {', '.join(names[:_MOST_NAMED])}{more}",
        "level": _level(confidence),
        "tags": tags,
    }


def _level(confidence: int | None) -> str:
    if confidence is None:
        return "medium"
    return "high" if confidence >= _HIGH else "medium" if confidence >= _MEDIUM else "low"
