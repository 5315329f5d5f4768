"""ExplodeRecords: documents become records, one row each, the raw bytes of each record untouched.

The kind of log is told by content through the registry of providers. A slice that leaves this stage holds records of
one provider and of at most 64 partitions; the receipts ride on the last slice.
"""

from __future__ import annotations

import json
import uuid
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.partitions import partitions_of
from schemas.values import DeadLetter, Document, NoRecord, ObjectPart, ObjectRef, Slice
from transforms.decoding.records import NO_OBJECT, RawRecord, sort_out, split_records
from transforms.providers import PROVIDERS_BY_NAME, Provider, provider_of
from transforms.providers.rows import decode_rows
from transforms.stores.keys import facts
from transforms.stores.parquet import own_values

MAX_PARTITIONS = 64
MAX_LETTERS = 1_000
_MAX_LETTER_BYTES = 32_000_000
_UNKNOWN = "a record of no known kind of log"
_NOT_UTF8 = "a record is not in UTF-8 (RFC 8259, 8.1)"
_CHUNK = 1_024
_NAMESPACE = uuid.UUID("6f0c6a3e-3d0a-5d39-9f0e-0d5a6f1f6b1c")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Objects that share a trail's bucket, by a member that no record of a provider has: outcome and reason.
_FOREIGN = {
    b'"digestS3Object"': ("digest", "a digest file, kept for verification"),
    b'"configurationItems"': ("ignored", "an AWS Config history or snapshot, not a trail"),
    b'"configSnapshotId"': ("ignored", "an AWS Config history or snapshot, not a trail"),
}


@dataclass
class _Tally:
    """What was found of one object in this slice."""

    records: int = 0
    letters: list[DeadLetter] = field(default_factory=list)
    damage: str | None = None
    provider: str | None = None
    foreign: tuple[str, str] | None = None
    first: int | None = None
    final: int | None = None


class _Held:
    """Dead letters of an object that has not ended yet: all, or, being too many, the first without its text."""

    def __init__(self) -> None:
        self._letters: list[DeadLetter] = []
        self._bytes = 0
        self._are_many = False

    def add(self, letters: Sequence[DeadLetter]) -> None:
        """Letters of the object's next slice, in any order; those of earlier records stand in earlier slices."""
        for letter in sorted(letters, key=_place):
            if not self._are_many:
                self._letters.append(letter)
                self._bytes += len(letter.input or b"")
                self._are_many = len(self._letters) > MAX_LETTERS or self._bytes > _MAX_LETTER_BYTES
        if self._are_many:
            self._letters = [replace(self._letters[0], input=None)]

    def release(self) -> list[DeadLetter]:
        """The letters, or one of the object that says that they are many."""
        if not self._are_many:
            return self._letters
        reason = f"more than {MAX_LETTERS:,} bad records, or {_MAX_LETTER_BYTES:,} bytes of them; the first: "
        first = self._letters[0]
        return [replace(first, scope="object", reason=reason + first.reason, record_index=None)]


def _place(letter: DeadLetter) -> tuple[bool, int]:
    return letter.record_index is None, letter.record_index or 0


class Exploder:
    """Explodes the slices of a batch in order; dead letters of an object wait for its last slice."""

    def __init__(self, record_bytes: int, max_partitions: int = MAX_PARTITIONS) -> None:
        self._record_bytes = record_bytes
        self._max_partitions = max_partitions
        self._held: dict[ObjectRef, _Held] = {}

    def explode(self, filled: Slice) -> Iterator[Slice]:
        """The slice's records as one slice a provider, cut where they span too many partitions.

        A record that is no JSON, no text in UTF-8, of no known kind or without a readable time is a dead letter.
        """
        tallies = [_Tally() for _ in filled.objects]
        pieces = [
            (name, piece)
            for name, table in self._tables(filled, tallies)
            for piece in _cut(table, self._max_partitions)
        ]
        parts, letters = self._close(filled, tallies)
        rest = replace(filled, documents=(), objects=parts, dead_letters=(*filled.dead_letters, *letters))
        for name, piece in pieces[:-1]:
            yield _earlier(parts, name, piece)
        if pieces:
            name, piece = pieces[-1]
            rest = replace(rest, provider=name, records=piece)
        yield rest

    def _tables(self, filled: Slice, tallies: Sequence[_Tally]) -> list[tuple[str, pa.Table]]:
        gathered = _Gathered(filled, tallies)
        for document in filled.documents:
            self._open(document, gathered)
        return gathered.tables()

    def _open(self, document: Document, gathered: _Gathered) -> None:
        if document.rows is not None:
            gathered.add_rows(document.rows, document.object_index)
            return
        if document.records is not None:
            split = sort_out(document.records, document.first_record)
        else:
            split = split_records(document.text or b"", self._record_bytes)
        gathered.add(split.records, split.places, document.object_index)
        for place, bad in split.bad:
            gathered.reject(document.object_index, place, bad)

    def _close(self, filled: Slice, tallies: Sequence[_Tally]) -> tuple[tuple[ObjectPart, ...], list[DeadLetter]]:
        released: list[DeadLetter] = []
        parts = []
        for part, tally in zip(filled.objects, tallies, strict=True):
            if tally.letters or part.ref in self._held:
                self._held.setdefault(part.ref, _Held()).add(tally.letters)
                if part.last:
                    released += self._held.pop(part.ref).release()
            parts.append(_told(part, tally))
        return tuple(parts), released


def _earlier(parts: Sequence[ObjectPart], provider: str, records: pa.Table) -> Slice:
    """A slice of records whose objects end in a later one: it carries a part of each object of its records."""
    found, codes = np.unique(records["object_index"].combine_chunks().to_numpy(), return_inverse=True)
    place = records.schema.get_field_index("object_index")
    return Slice(
        objects=tuple(
            ObjectPart(it.source, it.ref, it.message, last=False) for it in (parts[n] for n in found.tolist())
        ),
        provider=provider,
        records=records.set_column(place, "object_index", pa.array(codes.astype(np.int32))),
    )


def _told(part: ObjectPart, tally: _Tally) -> ObjectPart:
    if tally.foreign and not tally.records:
        outcome, reason = tally.foreign
        return replace(part, outcome=outcome, reason=reason)  # type: ignore[arg-type]
    part = replace(
        part,
        records=part.records + tally.records,
        dead_letters=part.dead_letters + len(tally.letters),
        provider=tally.provider,
        first_event_time=_time(tally.first),
        last_event_time=_time(tally.final),
    )
    return replace(part, outcome="dead_letter", reason=tally.damage) if tally.damage else part


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else datetime.fromtimestamp(micros / 1e6, UTC)


class _Gathered:
    """Records of a slice, decoded in chunks while they are in the processor's cache."""

    def __init__(self, filled: Slice, tallies: Sequence[_Tally]) -> None:
        self._parts = filled.objects
        self._tallies = tallies
        self._waiting: dict[str, tuple[list[RawRecord], list[int], list[int]]] = {}
        # By provider, and apart from them the rows of raw trees, which have their sources and times already.
        self._chunks: dict[tuple[str, bool], list[pa.Table]] = {}

    def add(self, records: Sequence[RawRecord], places: Sequence[int], index: int) -> None:
        """Records of one object, with their places in it; the provider is told by the first."""
        if not records:
            return
        provider = provider_of(records[0])
        if provider is None:
            self._add_unknown(records, places, index)
            return
        self._tallies[index].provider = provider.name
        self._put(provider, records, places, [index] * len(records))

    def _put(
        self, provider: Provider, records: Sequence[RawRecord], places: Sequence[int], indices: Sequence[int]
    ) -> None:
        for start in range(0, len(records), _CHUNK):
            stop = start + _CHUNK
            # Anew for each chunk: decoding takes the lists away.
            waiting = self._waiting.setdefault(provider.name, ([], [], []))
            waiting[0].extend(records[start:stop])
            waiting[1].extend(places[start:stop])
            waiting[2].extend(indices[start:stop])
            if len(waiting[0]) >= _CHUNK // 2:
                self._decode(provider)

    def _add_unknown(self, records: Sequence[RawRecord], places: Sequence[int], index: int) -> None:
        """The first record is of no known kind: the object is foreign, or each record is told by itself."""
        if len(records) == 1 and places[0] == 0 and self._parts[index].last:
            text = bytes(records[0])
            self._tallies[index].foreign = next((it for mark, it in _FOREIGN.items() if mark in text), None)
            if self._tallies[index].foreign:
                return
        for record, place in zip(records, places, strict=True):
            provider = provider_of(record)
            if provider is None:
                self.reject(index, place, _stranger(bytes(record)))
            else:
                self._tallies[index].provider = provider.name
                self._put(provider, [record], [place], [index])

    def reject(self, index: int, place: int, bad: NoRecord) -> None:
        """One thing of an object that cannot be a row."""
        tally, ref = self._tallies[index], self._parts[index].ref
        tally.records += bool(bad.text)
        if bad.damage:
            tally.damage = bad.reason
            tally.letters.append(DeadLetter("explode_records", "object", bad.reason, ref))
        else:
            tally.letters.append(DeadLetter("explode_records", "record", bad.reason, ref, place, bad.text))

    def add_rows(self, rows: pa.Table, index: int) -> None:
        """Rows of another output's raw tree: their ids, provenance and ingestion time are kept."""
        for name in map(str, pc.unique(rows["provider"]).to_pylist()):
            provider = PROVIDERS_BY_NAME.get(name)
            mine = rows.filter(pc.equal(rows["provider"], pa.scalar(name)))
            if provider is None:
                raise ValueError(f"rows of the provider {name!r}, which this version does not know; upgrade it")
            records = decode_rows(mine, provider)
            self._tallies[index].provider = name
            records = records.append_column("object_index", pa.array(np.full(len(records), index, np.int32)))
            self._note(records["object_index"], records["event_time"])
            self._chunks.setdefault((name, True), []).append(records)

    def tables(self) -> list[tuple[str, pa.Table]]:
        """Each provider's records, every column in one piece."""
        for name in [*self._waiting]:
            self._decode(PROVIDERS_BY_NAME[name])
        found = []
        while self._chunks:
            (name, are_rows), chunks = self._chunks.popitem()
            found.append((name, self._joined(chunks, are_rows)))
        return found[::-1]

    def _joined(self, chunks: list[pa.Table], are_rows: bool) -> pa.Table:
        records = pa.concat_tables(chunks, promote_options="default").unify_dictionaries().combine_chunks()
        if are_rows:
            return records
        return _with_columns(records, self._sources(records["object_index"].combine_chunks()))

    def _decode(self, provider: Provider) -> None:
        records, places, indices = self._waiting.pop(provider.name, ([], [], []))
        if not records:
            return
        raw_json = _text_column(records)
        if raw_json is None:
            keep = [_is_utf8(record) for record in records]
            for record, place, index, good in zip(records, places, indices, keep, strict=True):
                if not good:
                    self.reject(index, place, _stranger(bytes(record)))
            kept = [it for it, good in zip(zip(records, places, indices, strict=True), keep, strict=True) if good]
            if kept:
                self._put(provider, *(list(column) for column in zip(*kept, strict=True)))
                self._decode(provider)
            return
        columns = {
            "raw_json": raw_json,
            "source_index": pa.array(places, pa.int64()),
            "object_index": pa.array(indices, pa.int32()),
        }
        self._keep(provider, _with_columns(provider.decode(records), columns))

    def _keep(self, provider: Provider, decoded: pa.Table) -> None:
        problems = decoded["problem"]
        if problems.null_count < len(problems):
            self._reject_rows(decoded.filter(pc.is_valid(problems)))
            decoded = decoded.filter(pc.is_null(problems))
        if not len(decoded):
            return
        self._note(decoded["object_index"], decoded["event_time"])
        self._chunks.setdefault((provider.name, False), []).append(self._spine(decoded))

    def _note(self, objects: Any, times: Any) -> None:
        """Count the records of each object, which stand together, and their first and last time."""
        indices = objects.combine_chunks().to_numpy()
        micros = times.combine_chunks().cast(pa.int64()).to_numpy()
        starts = np.flatnonzero(np.diff(indices, prepend=-1))
        counts = np.diff(starts, append=len(indices))
        firsts, finals = np.minimum.reduceat(micros, starts), np.maximum.reduceat(micros, starts)
        columns = (indices[starts], counts, firsts, finals)
        for index, count, first, final in zip(*(it.tolist() for it in columns), strict=True):
            tally = self._tallies[index]
            tally.records += count
            tally.first = first if tally.first is None else min(first, tally.first)
            tally.final = final if tally.final is None else max(final, tally.final)

    def _reject_rows(self, rows: pa.Table) -> None:
        columns = rows.select(["object_index", "source_index", "raw_json", "problem"]).to_pylist()
        for row in columns:
            text = row["raw_json"].encode()
            # As if it had come first: what is told of a record does not depend on its neighbours.
            bad = NoRecord(text, row["problem"]) if provider_of(text) else _stranger(text)
            self.reject(row["object_index"], row["source_index"], bad)

    def _spine(self, decoded: pa.Table) -> pa.Table:
        account: Any = decoded["record_account"]
        if account.null_count:
            keys = pa.array([facts(part.ref.key).account or "unknown" for part in self._parts], pa.string())
            account = pc.coalesce(account, keys.take(decoded["object_index"]))
        event_id: Any = decoded["event_id"]
        if event_id.null_count:
            event_id = _named(event_id, account, decoded["event_time"], decoded["raw_json"])
        decoded = decoded.drop_columns(["record_account", "problem"])
        return _with_columns(decoded, {"event_id": event_id, "recipient_account_id": account})

    def _sources(self, indices: Any) -> dict[str, Any]:
        parts = self._parts
        texts = {
            "source_name": [part.source for part in parts],
            "source_bucket": [part.ref.bucket for part in parts],
            "source_key": [part.ref.key for part in parts],
            "source_version": [part.ref.version for part in parts],
        }
        return {
            name: pa.DictionaryArray.from_arrays(indices, pa.array(values, pa.string()))
            for name, values in texts.items()
        }


def _stranger(text: bytes) -> NoRecord:
    if not text.startswith(b"{"):
        return NoRecord(text, NO_OBJECT)
    return NoRecord(text, _UNKNOWN if _is_utf8(text) else _NOT_UTF8)


def _with_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    return pa.table({**dict(zip(table.column_names, table.columns, strict=True)), **columns})


def _text_column(records: Sequence[RawRecord]) -> Any:
    """The records' bytes as one string array; None if any is not UTF-8."""
    offsets = array("i", accumulate(map(len, records), initial=0))
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(records))]
    try:
        return pa.Array.from_buffers(pa.binary(), len(records), buffers).cast(pa.string())
    except pa.ArrowInvalid:
        return None


def _is_utf8(record: RawRecord) -> bool:
    try:
        bytes(record).decode()
    except UnicodeDecodeError:
        return False
    return True


def _named(event_id: Any, account: Any, time: Any, raw_json: Any) -> Any:
    """Ids for records that carry none: a UUIDv5 of account, time and canonical JSON."""
    given = event_id.to_pylist()
    for row in np.flatnonzero(event_id.is_null().to_numpy(zero_copy_only=False)).tolist():
        name = f"{account[row].as_py()}\n{time[row].as_py().isoformat()}\n{_canonical(raw_json[row].as_py())}"
        given[row] = str(uuid.uuid5(_NAMESPACE, name))
    return pa.array(given, pa.string())


def _canonical(text: str) -> str:
    try:
        return json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    except (ValueError, RecursionError):
        return text


def _cut(records: pa.Table, max_partitions: int) -> list[pa.Table]:
    codes, partitions = partitions_of(records)
    if len(partitions) <= max_partitions:
        return [records]
    groups = codes // max_partitions
    order = np.argsort(groups, kind="stable")
    bounds = np.searchsorted(groups[order], np.arange(groups.max() + 2))
    return [own_values(records.take(order[start:stop])) for start, stop in pairwise(bounds.tolist())]


@dataclass(eq=False)
class ExplodeRecords(beam.PTransform[Any, Any]):
    """Slice of documents in, Slices of records out, in order; the last one carries what the slice carried."""

    record_bytes: int = 32_000_000

    def expand(self, slices: Any) -> Any:
        """Explode each slice."""
        return slices | beam.ParDo(_Explode(self.record_bytes)).with_output_types(Slice)


class _Explode(beam.DoFn):
    def __init__(self, record_bytes: int) -> None:
        self._record_bytes = record_bytes

    def start_bundle(self) -> None:
        self._exploder = Exploder(self._record_bytes)

    def process(self, filled: Slice) -> Iterator[Slice]:
        yield from self._exploder.explode(filled)
