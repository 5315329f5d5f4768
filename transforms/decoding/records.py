"""Split the text of a small document into its records, whatever envelope they come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType

from schemas.texts import pieces
from schemas.values import NoRecord
from transforms.decoding.cutting import NO_OBJECT, cut_records, readable

RawRecord = bytes | Raw


class _Records(msgspec.Struct):
    Records: list[Raw]


class _Wrapped(
    msgspec.Struct, rename={"event": "CloudTrailEvent", "detail_type": "detail-type", "version": "eventVersion"}
):
    """One event of LookupEvents, or in an EventBridge event; `eventVersion` says that it is not wrapped at all."""

    event: str | UnsetType = UNSET
    detail_type: str | UnsetType = UNSET
    detail: Raw = Raw(b"")
    version: Raw = Raw(b"")


_records = msgspec.json.Decoder(_Records)
_array = msgspec.json.Decoder(list[Raw])
_wrapped = msgspec.json.Decoder(_Wrapped)
_HEAD, _TAIL = b'{"Records":[', b"]}"
# Of fewer records the texts are copied in the time that it takes to point at them.
_MANY = 256
_UNREADABLE = (msgspec.DecodeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Split:
    """Records in order, and what is no record with its place among them.

    `texts` are the records as views of the document, where that is known and worth it.
    """

    records: Sequence[RawRecord]
    places: Sequence[int]
    bad: Sequence[tuple[int, NoRecord]] = field(default=())
    texts: Any = None


def split_records(text: bytes | bytearray, record_bytes: int) -> Split:
    """The records of a document, in whatever form: one bad record does not harm its neighbours.

    Forms: `{"Records": [...]}`, a bare array, one record, JSON lines, LookupEvents and EventBridge envelopes.
    """
    if text.startswith(_HEAD):
        try:
            records = _records.decode(text).Records
            small = len(text) <= record_bytes or all(memoryview(it).nbytes <= record_bytes for it in records)
            if small and _are_all(text, records) and not _may_be_wrapped(bytes(records[0]) if records else b""):
                return Split(records, range(len(records)), texts=_views(text, records))
        except _UNREADABLE:
            pass
    return sort_out([*cut_records([bytes(text)], record_bytes)], 0)


def _are_all(text: bytes | bytearray, records: Sequence[RawRecord]) -> bool:
    """Whether the document has nothing but these, a comma between two and a line break at its end.

    Another list of records might be there: of members of one name, a decoder keeps the last (RFC 8259, 4).
    """
    least = len(_HEAD) + sum(map(len, records)) + max(len(records) - 1, 0) + len(_TAIL)
    return len(text) == least or text[least:].isspace()


def _views(text: bytes | bytearray, records: Sequence[RawRecord]) -> Any:
    """The records, which are all of their document, as views of it; None where they are few."""
    if len(records) < _MANY:
        return None
    lengths = np.fromiter(map(len, records), np.int32, len(records))
    return pieces(text, len(_HEAD) + np.cumsum(lengths + 1, dtype=np.int32) - lengths - 1, lengths)


def sort_out(found: Sequence[bytes | NoRecord], first: int) -> Split:
    """Unwrap each record and put aside what is none; the first is the `first`-th of its object."""
    records: list[RawRecord] = []
    places: list[int] = []
    bad: list[tuple[int, NoRecord]] = []
    for place, item in enumerate(found, first):
        record = item if isinstance(item, NoRecord) else _unwrap(item)
        if isinstance(record, NoRecord):
            bad.append((place, record))
        else:
            records.append(record)
            places.append(place)
    return Split(records, places, bad)


def _may_be_wrapped(record: bytes) -> bool:
    return b'"CloudTrailEvent"' in record or b'"detail-type"' in record


def _unwrap(record: bytes) -> RawRecord | NoRecord:
    try:
        return _opened(record)
    except msgspec.ValidationError:
        return record
    except RecursionError:
        return NoRecord(record, "a record is nested too deeply to be read")
    except (msgspec.DecodeError, UnicodeError) as error:
        return NoRecord(record, f"a record is no JSON ({error})")


def _opened(record: bytes) -> RawRecord | NoRecord:
    try:
        return _inner(record, record)
    except msgspec.DecodeError:
        return _inner(record, readable(record))


def _inner(record: bytes, text: bytes) -> RawRecord | NoRecord:
    """The record, without its envelope if it has one; `text` is what is read of it, byte for byte as long."""
    if _may_be_wrapped(record):
        wrapped = _wrapped.decode(text)
        if not bytes(wrapped.version):
            if isinstance(wrapped.event, str):
                return wrapped.event.encode()
            if isinstance(wrapped.detail_type, str) and bytes(wrapped.detail):
                return wrapped.detail if text is record else _delivered(record, text, bytes(wrapped.detail))
    if not record.startswith(b"{"):
        return NoRecord(record, NO_OBJECT)
    msgspec.json.decode(text, type=Raw)
    return record


def _delivered(record: bytes, text: bytes, part: bytes) -> bytes:
    """What stands in the record where the text has the part."""
    start = text.index(part)
    return record[start : start + len(part)]
