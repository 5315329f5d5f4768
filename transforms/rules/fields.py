"""The values of fields, over some rows of a slice, from the cheapest place that has them.

A field is a path of members by dots into the record, as delivered, through lists (each element counts); or the name
of a column of `cloud_audit_logs`, where the slice has events. What a provider has decoded already is read from
there, per distinct value; only the rest takes a look into the record's JSON.

An entry is a field's value in one record: whether it is there, and its texts: a string as it is, a number by its
shortest form, a flag as true or false, an object as its JSON. Null and an empty list have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.datasets import EVENTS
from transforms.providers.base import Fields
from transforms.providers.cloudtrail.lenient import REFUSED, UnreadableError, loads, members
from transforms.rules.conditions import number_text

Rows = NDArray[np.int64]


class Entry(NamedTuple):
    """A field's value in one record."""

    present: bool
    texts: tuple[str, ...]


MISSING = Entry(False, ())
_NULL = Entry(True, ())


@dataclass(frozen=True, slots=True)
class Values:
    """A field over some rows: the entry of each is `entries[codes[i]]`."""

    codes: Rows
    entries: Sequence[Entry]

    def flags(self, holds: Callable[[Sequence[Entry]], Sequence[bool] | NDArray[np.bool_]]) -> NDArray[np.bool_]:
        """For each row whether its entry holds."""
        return np.asarray(holds(self.entries), np.bool_)[self.codes]


COLUMNS = frozenset(EVENTS.arrow.names)
_UNREAD, _ENTRY_BYTES = -1, 100
_LARGEST_KEPT, _MOST_KEPT = 16_384, 8_000_000

_decode = msgspec.json.Decoder().decode


def cost(field: str | None, known: Fields) -> int:
    """How much a look at the field costs, from 0: the cheapest tests come first."""
    if field is None:
        return 3
    head, _, rest = field.partition(".")
    if not rest and field in known.key_members:
        return 0
    if field in COLUMNS or (not rest and field in known.texts):
        return 1
    return 2 if head in known.parts else 4


def entry_of(value: Any) -> Entry:
    """The entry of a JSON value that is there."""
    if type(value) is str:
        return Entry(True, (value,))
    texts = tuple(_texts(value))
    return Entry(True, texts) if texts else _NULL


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, bool):
        yield "true" if value else "false"
    elif isinstance(value, int | float):
        yield number_text(value)
    elif isinstance(value, dict):
        yield msgspec.json.encode(value).decode()
    elif isinstance(value, list):
        for element in value:
            yield from _texts(element)


def find(value: Any, path: Sequence[str]) -> Entry:
    """What a path of members leads to in a JSON value, through lists; a member may have dots in its name."""
    if not path:
        return entry_of(value)
    if isinstance(value, list):
        found = [entry for entry in (find(element, path) for element in value) if entry.present]
        return Entry(True, tuple(text for entry in found for text in entry.texts)) if found else MISSING
    if isinstance(value, dict):
        if len(path) == 1:
            return entry_of(value[path[0]]) if path[0] in value else MISSING
        for length in range(1, len(path) + 1):
            name = ".".join(path[:length])
            if name in value:
                found_here = find(value[name], path[length:])
                if found_here.present:
                    return found_here
    return MISSING


def _any_json(text: bytes | msgspec.Raw | str) -> Any:
    """Any JSON value; None for what no parser follows, such as thousands of levels: it has no field."""
    try:
        return _decode(text)
    except REFUSED:
        try:
            return loads(text.encode() if isinstance(text, str) else text)
        except UnreadableError:
            return None


def _members_of(text: bytes, path: tuple[str, ...]) -> Sequence[tuple[str, bytes | msgspec.Raw]]:
    """Those of a record's members that a path may begin with, the shortest name first: name and JSON."""
    decode, names = _decoder(path)
    try:
        found = msgspec.structs.astuple(decode(text))
    except REFUSED:
        own = members(text)
        found = tuple(own.get(name, b"") for name in names)
    return [(name, member) for name, member in zip(names, found, strict=True) if len(member)]


@lru_cache(maxsize=4096)
def _decoder(path: tuple[str, ...]) -> tuple[Callable[[bytes], Any], tuple[str, ...]]:
    """A decoder that skips all other members, and the names of these."""
    names = tuple(".".join(path[:length]) for length in range(1, len(path) + 1))
    own = [f"member_{length}" for length in range(len(names))]
    fields: list[Any] = [(it, msgspec.Raw, msgspec.Raw(b"")) for it in own]
    shape = msgspec.defstruct("Members", fields, rename=dict(zip(own, names, strict=True)))
    return msgspec.json.Decoder(shape).decode, names


@dataclass(frozen=True, slots=True)
class _Read:
    """A field as far as it was read: of each row the code of its entry, and each entry's code."""

    codes: NDArray[np.int32]
    entries: dict[Entry, int]


class Table:
    """The fields of a slice's rows. Not for several threads."""

    def __init__(self, records: pa.Table, events: pa.Table | None, known: Fields) -> None:
        self._records, self._events, self._known = records, events, known
        self._columns: dict[str, tuple[Rows, Any]] = {}
        # Records of a slice come as a dictionary as well, whose scalars are slow.
        self._raw_codes, self._raw = _codes(_one(records["raw_json"]))
        self._parsed: dict[tuple[int | str, int | str], Any] = {}
        self._read: dict[str, _Read] = {}
        self._entries: dict[str, dict[int, Entry]] = {}
        self._kept = 0

    def keys(self) -> tuple[Rows, list[str]]:
        """Of each row the code of its key, and each key's text (a JSON array of `Fields.key_members`)."""
        codes, distinct = self._encoded(self._known.key, self._records)
        return codes, distinct.to_pylist()

    def values(self, field: str | None, rows: Rows) -> Values:
        """A field over some rows; None is the records' own text."""
        if field is None:
            return Values(np.arange(len(rows)), [Entry(True, (self._text(row),)) for row in rows.tolist()])
        head, _, rest = field.partition(".")
        if not rest and field in self._known.key_members:
            place = self._known.key_members.index(field)
            return self._distinct(field, self._known.key, self._records, rows, lambda text: _of_key(text, place))
        if not rest and field in self._known.texts:
            return self._distinct(field, self._known.texts[field], self._records, rows, _of_text)
        if head in self._known.parts:
            path = rest.split(".") if rest else []
            column = self._known.parts[head]
            return self._distinct(field, column, self._records, rows, lambda text: self._of_part(column, text, path))
        if self._events is not None and field in COLUMNS:
            return self._distinct(field, field, self._events, rows, entry_of_column)
        return self.delivered(field, rows)

    def is_decoded(self, field: str) -> bool:
        """Whether `values` reads the field from a column, which may not tell null from absent."""
        head, _, rest = field.partition(".")
        known = self._known
        own = head in known.parts or (not rest and (field in known.key_members or field in known.texts))
        return own or (self._events is not None and field in COLUMNS)

    def delivered(self, field: str, rows: Rows) -> Values:
        """A field over some rows, read from the records themselves, once for all rules."""
        if field not in self._read:
            self._read[field] = _Read(np.full(len(self._raw_codes), _UNREAD, np.int32), {})
        read = self._read[field]
        unread = rows[read.codes[rows] == _UNREAD]
        path = tuple(field.split("."))
        for row in unread.tolist():
            entry = self._of_record(row, path)
            known = len(read.entries)
            code = read.entries.setdefault(entry, known)
            if code == known:
                self._keep(_ENTRY_BYTES + sum(map(len, entry.texts)))
            read.codes[row] = code
        used, places = np.unique(read.codes[rows], return_inverse=True)
        entries = list(read.entries)
        return Values(places, [entries[code] for code in used.tolist()])

    def _distinct(
        self, field: str, column: str, table: pa.Table, rows: Rows, entry: Callable[[Any], Entry]
    ) -> Values:
        codes, distinct = self._encoded(column, table)
        used, places = np.unique(codes[rows], return_inverse=True)
        known = self._entries.setdefault(field, {-1: entry(None)})
        unread = [code for code in used.tolist() if code not in known]
        for code, value in zip(unread, distinct.take(pa.array(unread, pa.int64())).to_pylist(), strict=True):
            found = known[code] = entry(value)
            self._keep(_ENTRY_BYTES + sum(map(len, found.texts)))
        return Values(places, [known[code] for code in used.tolist()])

    def _encoded(self, column: str, table: pa.Table) -> tuple[Rows, Any]:
        if column not in self._columns:
            one = _one(table[column])
            is_plain = pa.types.is_list(one.type) or pa.types.is_dictionary(one.type)
            codes, distinct = _codes(one if is_plain else one.dictionary_encode())
            self._columns[column] = codes, distinct
        return self._columns[column]

    def _text(self, row: int) -> str:
        return self._bytes(row).decode()

    def _of_part(self, column: str, text: bytes | None, path: list[str]) -> Entry:
        if not text:
            return MISSING
        return find(self._kept_json((column, text.decode("utf-8", "replace")), text), path)

    def _of_record(self, row: int, path: tuple[str, ...]) -> Entry:
        # The member itself may have dots in its name: each that the path may begin with is asked for at once.
        for name, member in _members_of(self._bytes(row), path):
            found = find(self._kept_json((row, name), member), path[name.count(".") + 1 :])
            if found.present:
                return found
        return MISSING

    def _bytes(self, row: int) -> bytes:
        # Text is not decoded to be encoded again.
        text: bytes = self._raw[int(self._raw_codes[row])].as_buffer().to_pybytes()
        return text

    def _kept_json(self, place: tuple[int | str, int | str], text: bytes | msgspec.Raw) -> Any:
        if place in self._parsed:
            return self._parsed[place]
        value = _any_json(text)
        size = len(bytes(text))
        if size <= _LARGEST_KEPT:
            self._keep(size)
            self._parsed[place] = value
        return value

    def _keep(self, size: int) -> None:
        """What was parsed is kept for the next rule as long as it is small: memory is bounded by the slice."""
        self._kept += size
        if self._kept > _MOST_KEPT:
            self._parsed.clear()
            self._read.clear()
            self._entries.clear()
            self._kept = size


def _of_key(text: str | None, place: int) -> Entry:
    return _of_text(_any_json(text)[place]) if text else MISSING


def _of_text(value: Any) -> Entry:
    # Decoded columns do not tell null from absent.
    return MISSING if value is None else entry_of(value)


def entry_of_column(value: Any) -> Entry:
    """The entry of a value of a column; times as ISO 8601."""
    if value is None:
        return MISSING
    return entry_of(value.isoformat() if hasattr(value, "isoformat") else value)


def _one(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _codes(column: Any) -> tuple[Rows, Any]:
    """Of each row the place of its value (-1: null), and the values, as they are if the column is no dictionary."""
    if not pa.types.is_dictionary(column.type):
        return np.arange(len(column)), column
    return column.indices.fill_null(-1).to_numpy().astype(np.int64), column.dictionary
