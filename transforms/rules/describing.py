"""Hits as rows of `detections`: what a rule's fields held in the event, and whose group the event is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from transforms.rules.columns import Rows
from transforms.rules.entries import Entry
from transforms.rules.fields import Table
from transforms.rules.sigma import Rule

MOST_EVIDENCE, LONGEST_EVIDENCE = 32, 256

_TEXTS: pa.DataType = pa.list_(pa.field("element", pa.string(), nullable=False))


@dataclass(frozen=True, slots=True)
class Hits:
    """Rows of the slice, ascending, for which a rule holds."""

    rule: Rule
    rows: Rows


def described(hits: Sequence[Hits], records: pa.Table, events: pa.Table | None, table: Table) -> pa.Table:
    """A row for each row of each of the hits, in their order: `detections` but for what the commit tells.

    `evidence` has the fields that a rule names, as `field=text`, `group_fields` those that correlations ask for, and
    `group_values` the first text of each; none has a field without any text.
    """
    rows = np.concatenate([hit.rows for hit in hits])
    rules = [hit.rule for hit in hits]
    of_row: Any = pa.array(np.repeat(np.arange(len(hits)), [len(hit.rows) for hit in hits]))
    places: Any = pa.array(rows)
    evidence, group_fields, group_values = _Lists(), _Lists(), _Lists()
    for hit in hits:
        evidence.add(hit.rows, hit.rule.fields[:MOST_EVIDENCE], table, _shown)
        group_fields.add(hit.rows, hit.rule.group_fields, table, lambda field, _: field)
        group_values.add(hit.rows, hit.rule.group_fields, table, lambda _, entry: entry.texts[0])

    def of_rules(values: list[Any], kind: pa.DataType) -> Any:
        return pa.array(values, kind).take(of_row)

    return pa.table(
        {
            "rule_id": of_rules([rule.id for rule in rules], pa.string()),
            "rule_version": of_rules([rule.version for rule in rules], pa.string()),
            "rule_title": of_rules([rule.title for rule in rules], pa.string()),
            "kind": pa.repeat("sigma", len(rows)),
            "level": of_rules([rule.level for rule in rules], pa.string()),
            "tags": of_rules([list(rule.tags) for rule in rules], _TEXTS),
            "alerts": of_rules([rule.alerts for rule in rules], pa.bool_()),
            "event_id": records["event_id"].take(places),
            "event_time": records["event_time"].take(places),
            "session_id": _plain(events["session_id"].take(places)) if events else pa.nulls(len(rows), pa.string()),
            "group_fields": group_fields.array(),
            "group_values": group_values.array(),
            "evidence": evidence.array(),
        }
    )


def _shown(field: str, entry: Entry) -> str:
    return f"{field}={', '.join(entry.texts)}"[:LONGEST_EVIDENCE]


class _Lists:
    """Lists of texts, one a row, made from distinct entries of columns: no text is made twice for a rule."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._places: list[NDArray[np.int64]] = []
        self._lengths: list[NDArray[np.int64]] = []

    def add(self, rows: Rows, fields: Sequence[str], table: Table, text: Callable[[str, Entry], str]) -> None:
        """A list for each row: a text for each field that has any there, in the order of the fields."""
        places = np.full((len(rows), len(fields)), _NONE, np.int64)
        for number, field in enumerate(fields):
            column = table.column(field, rows)
            codes = column.codes(rows)
            of_code = np.full(len(column.entries), _NONE, np.int64)
            for code in np.unique(codes).tolist():
                entry = column.entries[code]
                if entry.texts:
                    of_code[code] = len(self._texts)
                    self._texts.append(text(field, entry))
            places[:, number] = of_code[codes]
        has_any = places != _NONE
        self._places.append(places[has_any])
        self._lengths.append(has_any.sum(axis=1))

    def array(self) -> Any:
        """The lists of all rows that were added."""
        ends = np.cumsum(np.concatenate(self._lengths), dtype=np.int32)
        offsets: Any = pa.array(np.append(np.zeros(1, np.int32), ends))
        places: Any = pa.array(np.concatenate(self._places))
        texts: Any = pa.array(self._texts, pa.string()).take(places)
        lists: Any = pa.ListArray
        return lists.from_arrays(offsets, texts, _TEXTS)


_NONE = -1


def _plain(column: Any) -> Any:
    return column.cast(pa.string())
