"""The values of fields, over some rows of a slice, from the cheapest place that has them.

A field is a path of members by dots into the record, as delivered, through lists (each element counts); or the name
of a column of `cloud_audit_logs`, where the slice has events. What a provider has decoded already is read from
there, per distinct value; only the rest takes a look into the record's JSON.

An entry is a field's value in one record: whether it is there, and its texts: a string as it is, a number by its
shortest form, a flag as true or false, an object as its JSON. Null and an empty list have none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
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


class Column:
    """A field over the rows of a slice, read as far as it was asked for; entries that are equal have one code.

    Rows share sources (values of a dictionary), or each is its own. `fill` puts the entry of each source that it is
    given, perhaps of others and into other columns too.
    """

    def __init__(self, sources: Rows | None, count: int, fill: Callable[[list[int]], None]) -> None:
        self.entries: list[Entry] = []
        self._sources, self._fill = sources, fill
        self._codes = np.full(count, _UNREAD, np.int32)
        self._known: dict[str | Entry, int] = {}
        self._answers: dict[int, NDArray[np.int8]] = {}

    def put(self, source: int, found: str | Entry) -> int:
        """The entry of a source, or its only text; the bytes that it takes to keep it."""
        code = self._known.get(found)
        if code is not None:
            self._codes[source] = code
            return 0
        entry = Entry(True, (found,)) if isinstance(found, str) else found
        self._codes[source] = self._known[found] = len(self.entries)
        self.entries.append(entry)
        return _ENTRY_BYTES + sum(map(len, entry.texts))

    def codes(self, rows: Rows) -> NDArray[np.int32]:
        """Of each row the place of its entry in `entries`."""
        sources = rows if self._sources is None else self._sources[rows]
        unread = sources[self._codes[sources] == _UNREAD]
        if len(unread):
            self._fill(np.unique(unread).tolist())
        found: NDArray[np.int32] = self._codes[sources]
        return found

    def flags(self, question: object, rows: Rows, holds: Holds) -> NDArray[np.bool_]:
        """For each row whether its entry holds; each entry is asked once, as long as the question is this object."""
        codes = self.codes(rows)
        answers = self._answers.get(id(question))
        if answers is None or len(answers) < len(self.entries):
            known = answers
            answers = self._answers[id(question)] = np.full(len(self.entries), _UNASKED, np.int8)
            if known is not None:
                answers[: len(known)] = known
        found = answers[codes]
        unasked = codes[found == _UNASKED]
        if len(unasked):
            unasked = np.unique(unasked)
            answers[unasked] = holds([self.entries[code] for code in unasked.tolist()])
            found = answers[codes]
        held: NDArray[np.bool_] = found == 1
        return held


Holds = Callable[[Sequence[Entry]], "Sequence[bool] | NDArray[np.bool_]"]
"""Which of some entries hold."""

COLUMNS = frozenset(EVENTS.arrow.names)
_UNREAD, _UNASKED, _ENTRY_BYTES = -1, -1, 100
_LARGEST_KEPT, _MOST_KEPT = 16_384, 8_000_000
_MOST_KEYS = 100_000
_ABSENT = object()

_decode = msgspec.json.Decoder().decode


DEAREST = 4
"""The cost of a field that is read from the record itself."""


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


class _Reader:
    """Reads some fields of a record in one pass, which skips all members that none of them may begin with."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        paths = [tuple(field.split(".")) for field in fields]
        # The member itself may have dots in its name: each that a path may begin with is asked for, shortest first.
        ways = [[(".".join(path[:length]), path[length:]) for length in range(1, len(path) + 1)] for path in paths]
        self._names = tuple(dict.fromkeys(name for way in ways for name, _ in way))
        self._ways = [[(self._names.index(name), rest) for name, rest in way] for way in ways]
        own = [f"member_{number}" for number in range(len(self._names))]
        members: list[Any] = [(it, msgspec.Raw, None) for it in own]
        shape = msgspec.defstruct("Members", members, rename=dict(zip(own, self._names, strict=True)))
        self._decode = msgspec.json.Decoder(shape).decode

    def read(self, text: memoryview) -> list[str | Entry]:
        """Of each field its entry, or its only text."""
        try:
            found = msgspec.structs.astuple(self._decode(text))
        except REFUSED:
            own = members(bytes(text))
            found = tuple(own.get(name) for name in self._names)
        values = [_ABSENT if member is None else _any_json(member) for member in found]
        return [_first(values, ways) for ways in self._ways]


def _first(values: Sequence[Any], ways: Sequence[tuple[int, tuple[str, ...]]]) -> str | Entry:
    for place, path in ways:
        value = values[place]
        if value is _ABSENT:
            continue
        if len(path) == 1 and type(value) is dict:
            value = value.get(path[0], _ABSENT)
            if value is _ABSENT:
                continue
            path = ()
        if not path and type(value) is str:
            return value
        found = find(value, path)
        if found.present:
            return found
    return MISSING


_reader = lru_cache(maxsize=4096)(_Reader)


class Table:
    """The fields of a slice's rows. Not for several threads."""

    def __init__(self, records: pa.Table, events: pa.Table | None, known: Fields) -> None:
        self._records, self._events, self._known = records, events, known
        self._encodings: dict[str, tuple[Rows, Any]] = {}
        # Records of a slice come as a dictionary as well, whose scalars are slow.
        self._raw_codes, raw = _codes(_one(records["raw_json"]))
        self._raw = _Texts(raw)
        self._groups: list[tuple[str, ...]] = [()]
        self._group_of = np.zeros(len(records), np.int32)
        self._keys: list[tuple[Any, ...]] = []
        self._parsed: dict[tuple[str, int], Any] = {}
        self._columns: dict[str, Column] = {}
        self._delivered: dict[str, Column] = {}
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

    def column(self, field: str) -> Column:
        """A field, from the cheapest place."""
        self._forget()
        found = self._columns.get(field)
        if found is None:
            found = self._columns[field] = self._new(field)
        return found

    def is_decoded(self, field: str) -> bool:
        """Whether `column` reads the field from a column, which may not tell null from absent."""
        head, _, rest = field.partition(".")
        known = self._known
        own = head in known.parts or (not rest and (field in known.key_members or field in known.texts))
        return own or (self._events is not None and field in COLUMNS)

    def delivered(self, field: str) -> Column:
        """A field, read from the records themselves."""
        self._forget()
        return self._of_records(field)

    def texts(self, rows: Rows) -> list[Entry]:
        """The records' own texts."""
        return [Entry(True, (bytes(self._text(row)).decode(),)) for row in rows.tolist()]

    def _new(self, field: str) -> Column:
        head, _, rest = field.partition(".")
        known = self._known
        if not rest and field in known.key_members:
            place = known.key_members.index(field)
            codes, keys = self.keys()
            return self._over(codes, len(keys), lambda sources: [_of_text(keys[code][place]) for code in sources])
        if not rest and field in known.texts:
            return self._of_column(known.texts[field], self._records, _of_text)
        if head in known.parts:
            return self._of_part(known.parts[head], tuple(rest.split(".")) if rest else ())
        if self._events is not None and field in COLUMNS:
            return self._of_column(field, self._events, entry_of_column)
        return self._of_records(field)

    def _over(self, codes: Rows, count: int, read: Callable[[list[int]], Iterable[Entry]]) -> Column:
        def fill(sources: list[int]) -> None:
            self._kept += sum(map(column.put, sources, read(sources)))

        column = Column(codes, count, fill)
        return column

    def _of_column(self, name: str, table: pa.Table, entry: Callable[[Any], Entry]) -> Column:
        codes, distinct = self._encoded(name, table)
        return self._over(codes, len(distinct) + 1, lambda sources: map(entry, _taken(distinct, sources)))

    def _of_part(self, name: str, path: tuple[str, ...]) -> Column:
        codes, distinct = self._encoded(name, self._records)

        def read(sources: list[int]) -> Iterable[Entry]:
            for code, text in zip(sources, _taken(distinct, sources), strict=True):
                yield find(self._json(name, code, text), path) if text else MISSING

        return self._over(codes, len(distinct) + 1, read)

    def _of_records(self, field: str) -> Column:
        found = self._delivered.get(field)
        if found is None:
            found = Column(None, len(self._group_of), lambda rows: self._read(field, rows))
            self._delivered[field] = found
        return found

    def _read(self, field: str, rows: list[int]) -> None:
        head = field.partition(".")[0]
        by_group: dict[int, list[int]] = defaultdict(list)
        for group, row in zip(self._group_of[rows].tolist(), rows, strict=True):
            by_group[group].append(row)
        for group, own in by_group.items():
            fields = tuple(it for it in self._groups[group] if it.partition(".")[0] == head)
            self._read_together(fields if field in fields else (field,), own)

    def _read_together(self, fields: tuple[str, ...], rows: list[int]) -> None:
        read = _reader(fields).read
        puts = [self._of_records(field).put for field in fields]
        for row in rows:
            for put, found in zip(puts, read(self._text(row)), strict=True):
                self._kept += put(row, found)

    def _encoded(self, column: str, table: pa.Table) -> tuple[Rows, Any]:
        if column not in self._encodings:
            one = _one(table[column])
            is_plain = pa.types.is_list(one.type) or pa.types.is_dictionary(one.type)
            self._encodings[column] = _codes(one if is_plain else one.dictionary_encode())
        return self._encodings[column]

    def _text(self, row: int) -> memoryview:
        return self._raw[int(self._raw_codes[row])]

    def _json(self, column: str, code: int, text: bytes) -> Any:
        if (column, code) in self._parsed:
            return self._parsed[column, code]
        value = _any_json(text)
        if len(text) <= _LARGEST_KEPT:
            self._kept += len(text)
            self._parsed[column, code] = value
        return value

    def _forget(self) -> None:
        """What was read is kept for the next rule as long as it is small: memory is bounded by the slice."""
        if self._kept > _MOST_KEPT:
            self._parsed.clear()
            self._columns.clear()
            self._delivered.clear()
            self._kept = 0


class _Texts:
    """The texts of an array where they lie, without a copy."""

    def __init__(self, values: Any) -> None:
        texts = values.cast(pa.large_binary())
        _, offsets, data = texts.buffers()
        self._offsets = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1].tolist()
        self._data = memoryview(data or b"")

    def __getitem__(self, place: int) -> memoryview:
        return self._data[self._offsets[place] : self._offsets[place + 1]]


@lru_cache(maxsize=_MOST_KEYS)
def _key(text: str) -> tuple[Any, ...]:
    return tuple(_any_json(text))


def _taken(values: Any, places: list[int]) -> list[Any]:
    """The values at some places; None for the place after the last one."""
    end = len(values)
    taken: list[Any] = values.take(pa.array([None if it == end else it for it in places], pa.int64())).to_pylist()
    return taken


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
    """Of each row the place of its value (null: the place after the last), and the values: the column or its own."""
    if not pa.types.is_dictionary(column.type):
        return np.arange(len(column)), column
    return column.indices.fill_null(len(column.dictionary)).to_numpy().astype(np.int64), column.dictionary
