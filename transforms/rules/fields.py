"""The values of fields, over some rows of a slice, from the cheapest place that has them.

A field is a path of members by dots into the record, as delivered; or the name of a column of `cloud_audit_logs`,
where the slice has events. What a provider has decoded already is read from there, per distinct value; only the rest
takes a look into the record's JSON.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.datasets import EVENTS
from schemas.texts import Texts
from transforms.providers.base import Fields
from transforms.rules.columns import Column, Rows
from transforms.rules.entries import MISSING, Entry, any_json, entry_of_column, find
from transforms.rules.reading import reader

COLUMNS = frozenset(EVENTS.arrow.names)
DEAREST = 4
"""The cost of a field that is read from the record itself."""

_LARGEST_KEPT, _MOST_KEPT = 16_384, 8_000_000
_MOST_KEYS = 100_000

Read = Callable[[list[int]], Iterable[Entry]]
"""The entries of some sources."""


def cost(field: str | None, known: Fields) -> int:
    """How much a look at the field costs, from 0: the cheapest tests come first."""
    if field is None:
        return 3
    head, _, rest = field.partition(".")
    if not rest and field in known.key_members:
        return 0
    if field in COLUMNS or (not rest and field in known.texts):
        return 1
    return 2 if head in known.parts else DEAREST


class Table:
    """The fields of a slice's rows. Not for several threads.

    Nothing in it refers back to it: a slice is gone with its last user, without a wait for the collector of cycles.
    """

    def __init__(self, records: pa.Table, events: pa.Table | None, known: Fields) -> None:
        self._records, self._events, self._known = records, events, known
        self._raw = Texts(records["raw_json"])
        self._keys: list[tuple[Any, ...]] = []
        self._encodings: dict[str, tuple[Rows, Any]] = {}
        self._groups: list[tuple[str, ...]] = [()]
        self._group_of = np.zeros(len(records), np.int32)
        self._decoded: dict[str, tuple[Column, Read]] = {}
        self._delivered: dict[str, Column] = {}
        self._parsed = _Parsed()
        self._kept = 0

    def keys(self) -> tuple[Rows, list[tuple[Any, ...]]]:
        """Of each row the code of its key, and each key: the values of `Fields.key_members`."""
        codes, distinct = self._encoded(self._known.key, self._records)
        if not self._keys:
            missing = (None,) * len(self._known.key_members)
            self._keys = [*map(_key, distinct.to_pylist()), missing]
        return codes, self._keys

    def together(self, rows: Rows, fields: tuple[str, ...]) -> None:
        """Whoever reads one of the fields of these rows from the records wants the others of the same member too."""
        self._group_of[rows] = len(self._groups)
        self._groups.append(fields)

    def is_decoded(self, field: str) -> bool:
        """Whether `column` reads the field from a column, which may not tell null from absent."""
        head, _, rest = field.partition(".")
        known = self._known
        own = head in known.parts or (not rest and (field in known.key_members or field in known.texts))
        return own or (self._events is not None and field in COLUMNS)

    def column(self, field: str, rows: Rows) -> Column:
        """A field from the cheapest place, read as far as these rows."""
        if not self.is_decoded(field):
            return self.delivered(field, rows)
        self._forget()
        if field not in self._decoded:
            self._decoded[field] = self._begun(field)
        column, read = self._decoded[field]
        unread = column.unread(rows)
        if unread:
            self._kept += sum(map(column.put, unread, read(unread)))
        return column

    def delivered(self, field: str, rows: Rows) -> Column:
        """A field from the records themselves, read as far as these rows."""
        self._forget()
        column = self._of_records(field)
        head = field.partition(".")[0]
        by_group: dict[int, list[int]] = defaultdict(list)
        unread = column.unread(rows)
        for group, row in zip(self._group_of[unread].tolist(), unread, strict=True):
            by_group[group].append(row)
        for group, own in by_group.items():
            fields = tuple(it for it in self._groups[group] if it.partition(".")[0] == head)
            self._read(fields if field in fields else (field,), own)
        return column

    def texts(self, rows: Rows) -> list[Entry]:
        """The records' own texts."""
        return [Entry(True, (bytes(self._raw[row]).decode(),)) for row in rows.tolist()]

    def _begun(self, field: str) -> tuple[Column, Read]:
        head, _, rest = field.partition(".")
        known = self._known
        if not rest and field in known.key_members:
            place = known.key_members.index(field)
            codes, keys = self.keys()
            return Column(len(keys), codes), lambda found: [entry_of_column(keys[code][place]) for code in found]
        if head in known.parts:
            name, path = known.parts[head], tuple(rest.split(".")) if rest else ()
            codes, distinct = self._encoded(name, self._records)
            return Column(len(distinct) + 1, codes), _in_parts(name, distinct, path, self._parsed)
        if not rest and field in known.texts:
            codes, distinct = self._encoded(known.texts[field], self._records)
        else:
            codes, distinct = self._encoded(field, self._events)
        return Column(len(distinct) + 1, codes), lambda found: map(entry_of_column, _taken(distinct, found))

    def _of_records(self, field: str) -> Column:
        found = self._delivered.get(field)
        if found is None:
            found = self._delivered[field] = Column(len(self._group_of))
        return found

    def _read(self, fields: tuple[str, ...], rows: list[int]) -> None:
        read = reader(fields).read
        puts = [self._of_records(field).put for field in fields]
        for row in rows:
            for put, found in zip(puts, read(self._raw[row]), strict=True):
                self._kept += put(row, found)

    def _encoded(self, column: str, table: Any) -> tuple[Rows, Any]:
        if column not in self._encodings:
            one = _one(table[column])
            is_plain = pa.types.is_list(one.type) or pa.types.is_dictionary(one.type)
            self._encodings[column] = _codes(one if is_plain else one.dictionary_encode())
        return self._encodings[column]

    def _forget(self) -> None:
        """What was read is kept for the next rule as long as it is small: memory is bounded by the slice."""
        if self._kept + self._parsed.size > _MOST_KEPT:
            self._decoded.clear()
            self._delivered.clear()
            self._parsed = _Parsed()
            self._kept = 0


class _Parsed:
    """JSON of distinct parts that was parsed, but for the largest."""

    def __init__(self) -> None:
        self.size = 0
        self._values: dict[tuple[str, int], Any] = {}

    def value(self, column: str, code: int, text: bytes) -> Any:
        place = column, code
        if place in self._values:
            return self._values[place]
        value = any_json(text)
        if len(text) <= _LARGEST_KEPT:
            self.size += len(text)
            self._values[place] = value
        return value


def _in_parts(column: str, distinct: Any, path: tuple[str, ...], parsed: _Parsed) -> Read:
    def read(codes: list[int]) -> Iterable[Entry]:
        for code, text in zip(codes, _taken(distinct, codes), strict=True):
            yield find(parsed.value(column, code, text), path) if text else MISSING

    return read


@lru_cache(maxsize=_MOST_KEYS)
def _key(text: str) -> tuple[Any, ...]:
    return tuple(any_json(text))


def _taken(values: Any, places: list[int]) -> list[Any]:
    """The values at some places; None for the place after the last one."""
    end = len(values)
    taken: list[Any] = values.take(pa.array([None if it == end else it for it in places], pa.int64())).to_pylist()
    return taken


def _one(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _codes(column: Any) -> tuple[Rows, Any]:
    """Of each row the place of its value (null: the place after the last), and the values: the column or its own."""
    if not pa.types.is_dictionary(column.type):
        return np.arange(len(column)), column
    return column.indices.fill_null(len(column.dictionary)).to_numpy().astype(np.int64), column.dictionary
