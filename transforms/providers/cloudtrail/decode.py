"""Records to columns: the spine, and the provider's own columns for `normalize`.

Own columns, each from the record's bytes alone:

| column | holds |
|---|---|
| `event_key` | JSON array of the scalars in `KEY`: input of most rules, and what raw rows cluster by |
| `user_identity`, `resources`, `tls_details` | the text of these parts, empty where absent |
| `source_ip_address`, `user_agent`, `vpc_endpoint_id`, `vpc_endpoint_account_id`, `error_message` | as delivered |
| `request_id`, `shared_event_id` | as delivered |
| `has_event_id` | whether the spine's `event_id` is the provider's |
| `addendum_of_event_id`, `addendum_reason` | of an addendum |
| `notes` | which fields hold a kind of value that cannot be read; null where there are none |

Columns that repeat are dictionary encoded.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence
from itertools import count, repeat
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from schemas.dictionaries import dictionary
from schemas.texts import joined
from transforms.providers.base import CHUNK_RECORDS, Fields, RawRecord
from transforms.providers.cloudtrail.columns import Array, Encoded
from transforms.providers.cloudtrail.event_facts import KEY
from transforms.providers.cloudtrail.lenient import REFUSED, UnreadableError
from transforms.providers.cloudtrail.record import (
    MEMBERS,
    Addendum,
    Record,
    decode_record,
    instead,
    is_notification,
    json_name,
    missing,
    read_record,
)
from transforms.providers.cloudtrail.times import END, FIRST, MICROS_UTC, parse_times
from transforms.providers.cloudtrail.unusual import complete
from transforms.providers.cloudtrail.user_identity import account, known, read_user_identity

_PARTS = ("user_identity", "resources", "tls_details")
_REPEATING = ("source_ip_address", "user_agent", "vpc_endpoint_id", "vpc_endpoint_account_id", "error_message")

FIELDS = Fields(
    key="event_key",
    key_members=tuple(map(json_name, KEY)),
    texts={json_name(name): name for name in (*_REPEATING, "shared_event_id")},
    parts={json_name(name): name for name in _PARTS},
    members=MEMBERS,
)
"""The members of a record that have a column here."""

_LOW, _HIGH = pa.scalar(FIRST, MICROS_UTC), pa.scalar(END, MICROS_UTC)

Key = tuple[Any, ...]
"""Values of the fields in `KEY`."""

Members = dict[str, Sequence[Any]]
"""The values of each field of the records, one a record."""

Texts = dict[int, str]
"""A text for a few rows."""


def decode(raws: Sequence[RawRecord]) -> pa.Table:
    """One row per record: `SPINE`, then the columns above; in chunks, while their text is in the cache."""
    starts = range(0, len(raws), CHUNK_RECORDS) or range(1)
    return pa.concat_tables([_decode(raws[start : start + CHUNK_RECORDS]) for start in starts])


def _decode(raws: Sequence[RawRecord]) -> pa.Table:
    problems: Texts = {}
    notes: Texts = {}
    records = _read(raws, problems, notes)
    members = _members(records)
    codes, keys = _interned(members)
    if any(map(_is_unnamed, keys)):
        _complete(records, raws, problems)
        members = _members(records)
        codes, keys = _interned(members)
    ids = _ids(members["event_id"])
    return pa.table(
        {
            "event_id": ids,
            "event_time": _times(members["event_time"], raws, problems),
            "record_account": _accounts(members["recipient_account_id"], members["user_identity"]),
            "problem": _sparse(problems, len(raws)),
            "event_key": _event_keys(codes, keys),
            **{name: joined(members[name]).dictionary_encode() for name in _PARTS},
            **{name: _text(members[name]).dictionary_encode() for name in _REPEATING},
            "request_id": _text(members["request_id"]),
            "shared_event_id": _text(members["shared_event_id"]),
            "has_event_id": ids.is_valid(),
            **_addenda(members["addendum"]),
            "notes": _sparse(notes, len(raws)),
        }
    )


def recognises(text: RawRecord) -> bool:
    """Whether a record is CloudTrail's: complete, or known by two of the members that every one has."""
    try:
        record = read_record(text, [])
    except UnreadableError:
        return False
    marks = (record.event_version, record.event_source, record.event_name, record.event_id, record.aws_region)
    if sum(mark is not None for mark in marks) >= 2:
        return not is_notification(record)
    complete(record, text)
    return missing(record, text) is None


def _read(raws: Sequence[RawRecord], problems: Texts, notes: Texts) -> list[Record]:
    try:
        return list(map(decode_record, raws))
    except REFUSED:
        return [_read_one(row, raw, problems, notes) for row, raw in enumerate(raws)]


def _read_one(row: int, raw: RawRecord, problems: Texts, notes: Texts) -> Record:
    found: list[str] = []
    try:
        record = read_record(raw, found)
    except UnreadableError as error:
        problems[row] = f"not a CloudTrail record: {error}"
        return Record()
    if found:
        notes[row] = "; ".join(found)
    return record


def _members(records: list[Record]) -> Members:
    columns = zip(*map(msgspec.structs.astuple, records), strict=True) if records else repeat(())
    return dict(zip(Record.__struct_fields__, columns, strict=False))


def _ids(ids: Sequence[str | None]) -> Array:
    """An empty id is none: it would make all records that have it the same event."""
    return _text([id_ or None for id_ in ids] if "" in ids else ids)


def _text(texts: Sequence[str | None]) -> Array:
    return pa.array(texts, pa.string())


def _interned(members: Members) -> tuple[array[int], list[Key]]:
    """Each record's code, and the key of each code."""
    codes: defaultdict[Key, int] = defaultdict(count().__next__)
    return array("i", map(codes.__getitem__, zip(*map(members.__getitem__, KEY), strict=True))), list(codes)


def _is_unnamed(key: Key) -> bool:
    source, name = key[:2]
    return not name or not source or source.startswith("aws:")


def _complete(records: list[Record], raws: Sequence[RawRecord], problems: Texts) -> None:
    for row, (record, raw) in enumerate(zip(records, raws, strict=True)):
        if row in problems:
            continue
        if not (record.event_name and record.event_source):
            complete(record, raw)
        problem = missing(record, raw)
        if problem:
            problems[row] = problem


def _times(texts: Sequence[str | None], raws: Sequence[RawRecord], problems: Texts) -> Any:
    times: Any = parse_times(texts)
    usable: Any = pc.and_(pc.greater_equal(times, _LOW), pc.less(times, _HIGH))
    if usable.null_count == 0 and usable.true_count == len(usable):
        return times
    for row, is_usable in enumerate(usable.to_pylist()):
        if not is_usable:
            problems.setdefault(row, _time_problem(is_usable, texts[row], raws[row]))
    return pc.if_else(usable, times, pa.scalar(None, MICROS_UTC))


def _time_problem(is_usable: bool | None, text: str | None, raw: RawRecord) -> str:
    if is_usable is False:
        return f"eventTime is out of range: years {FIRST.year} to {END.year - 1} can be stored"
    kind = instead("eventTime", raw)
    return "eventTime is not a readable time" if text and kind == "a string" else f"eventTime is {kind}"


def _accounts(recipients: Sequence[str | None], identities: Sequence[msgspec.Raw]) -> Array:
    """The recipient's account; where the record names none, the account of the caller."""
    accounts = {text: account(text) for text in set(recipients)}
    values = list(map(accounts.__getitem__, recipients))
    if None in accounts.values():
        callers: dict[bytes, str | None] = {}
        for row, value in enumerate(values):
            if value is None:
                values[row] = _caller_account(bytes(identities[row]), callers)
    return pa.array(values, pa.string())


def _caller_account(identity: bytes, callers: dict[bytes, str | None]) -> str | None:
    if identity not in callers:
        callers[identity] = account(read_user_identity(identity, "userIdentity", []).account_id)
    return callers[identity]


def _event_keys(codes: array[int], keys: list[Key]) -> Encoded:
    return dictionary(
        pa.Array.from_buffers(pa.int32(), len(codes), [None, pa.py_buffer(codes)]),
        pa.array([msgspec.json.encode(key).decode() for key in keys], pa.string()),
    )


def _addenda(addenda: Sequence[Addendum | None]) -> dict[str, Array]:
    if addenda.count(None) == len(addenda):
        nothing = pa.nulls(len(addenda), pa.string())
        return {"addendum_of_event_id": nothing, "addendum_reason": nothing}
    events = [known(addendum.original_event_id) if addendum else None for addendum in addenda]
    reasons = [known(addendum.reason) if addendum else None for addendum in addenda]
    return {
        "addendum_of_event_id": pa.array(events, pa.string()),
        "addendum_reason": pa.array(reasons, pa.string()),
    }


def _sparse(texts: Texts, length: int) -> Array:
    return pa.array(map(texts.get, range(length)), pa.string()) if texts else pa.nulls(length, pa.string())
