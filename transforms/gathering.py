"""The records of a slice, gathered from its documents and decoded by their providers while they are in the cache."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import compress
from math import ceil
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.dictionaries import dictionary, places, renumbered
from schemas.texts import by_index, joined, taken
from schemas.values import DeadLetter, NoRecord, Slice
from transforms.decoding.cutting import NO_OBJECT
from transforms.decoding.records import RawRecord, Split, sort_out
from transforms.providers import PROVIDERS_BY_NAME, Provider, provider_of
from transforms.providers.base import CHUNK_RECORDS
from transforms.providers.rows import decode_rows
from transforms.stores.keys import facts

_UNKNOWN = "a record of no known kind of log"
_NOT_UTF8 = "a record is not in UTF-8 (RFC 8259, 8.1)"
_NAMESPACE = uuid.UUID("6f0c6a3e-3d0a-5d39-9f0e-0d5a6f1f6b1c")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Objects that share a trail's bucket, by a member that no record of a provider has: outcome and reason.
_FOREIGN = {
    b'"digestS3Object"': ("digest", "a digest file, kept for verification"),
    b'"configurationItems"': ("ignored", "an AWS Config history or snapshot, not a trail"),
    b'"configSnapshotId"': ("ignored", "an AWS Config history or snapshot, not a trail"),
}


@dataclass
class Tally:
    """What was found of one object in this slice."""

    records: int = 0
    letters: list[DeadLetter] = field(default_factory=list)
    damage: str | None = None
    provider: str | None = None
    foreign: tuple[str, str] | None = None
    first: int | None = None
    final: int | None = None


@dataclass
class _Waiting:
    """Records that are not decoded yet, with their places and objects; their `texts` where these are known."""

    records: list[RawRecord] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    texts: list[Any] = field(default_factory=list)

    def add(
        self, records: Sequence[RawRecord], places: Sequence[int], indices: Sequence[int], texts: Any = None
    ) -> None:
        self.records += records
        self.places += places
        self.indices += indices
        if texts is not None:
            self.texts.append(texts)


class Gathered:
    """Records of a slice, decoded in chunks while they are in the processor's cache."""

    def __init__(self, filled: Slice, tallies: Sequence[Tally]) -> None:
        self._parts = filled.objects
        self._tallies = tallies
        # By provider, and apart from them the records whose texts are known as views of their documents.
        self._waiting: dict[tuple[str, bool], _Waiting] = {}
        # By provider, and apart from them the rows of raw trees, which have their sources and times already.
        self._chunks: dict[tuple[str, bool], list[pa.Table]] = {}

    def add(self, split: Split, index: int) -> None:
        """Records of one object, with their places in it; the provider is told by the first."""
        records, places = split.records, split.places
        for place, bad in split.bad:
            self.reject(index, place, bad)
        if not records:
            return
        provider = provider_of(records[0])
        if provider is None:
            self._add_unknown(records, places, index)
            return
        self._tallies[index].provider = provider.name
        self._put(provider, records, places, [index] * len(records), split.texts)

    def _put(
        self,
        provider: Provider,
        records: Sequence[RawRecord],
        places: Sequence[int],
        indices: Sequence[int],
        texts: Any = None,
    ) -> None:
        key = provider.name, texts is not None
        # Even parts: a short last one would cost as much as a whole.
        size = ceil(len(records) / ceil(len(records) / CHUNK_RECORDS))
        for start in range(0, len(records), size):
            part = slice(start, start + size)
            waiting = self._waiting.setdefault(key, _Waiting())
            waiting.add(records[part], places[part], indices[part], None if texts is None else texts[part])
            if len(waiting.records) >= CHUNK_RECORDS // 2:
                self._decode_waiting(key)

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
        if bad.damage:
            # What it left of a record is none: the object's own letter stands for it, so that the counts add up.
            tally.damage = bad.reason
            tally.letters.append(DeadLetter("explode_records", "object", bad.reason, ref))
        else:
            tally.records += bool(bad.text)
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
        while self._waiting:
            self._decode_waiting(next(iter(self._waiting)))
        found = []
        while self._chunks:
            (name, are_rows), chunks = self._chunks.popitem()
            found.append((name, self._joined(chunks, are_rows)))
        return found[::-1]

    def _joined(self, chunks: list[pa.Table], are_rows: bool) -> pa.Table:
        records = pa.concat_tables(chunks, promote_options="default").unify_dictionaries().combine_chunks()
        columns = {} if are_rows else self._sources(records["object_index"].combine_chunks())
        return _with_columns(records, columns | {"raw_json": by_index(records["raw_json"].combine_chunks())})

    def _decode_waiting(self, key: tuple[str, bool]) -> None:
        """Decode what waits; what is not UTF-8 is a dead letter."""
        waiting = self._waiting.pop(key)
        provider = PROVIDERS_BY_NAME[key[0]]
        texts = pa.concat_arrays(waiting.texts) if waiting.texts else _joined_texts(waiting.records)
        if texts is not None:
            self._decode(provider, waiting.records, waiting.places, waiting.indices, texts)
            return
        kept = _Waiting()
        for row in zip(waiting.records, waiting.places, waiting.indices, strict=True):
            record, place, index = row
            if _is_utf8(record):
                kept.add([record], [place], [index])
            else:
                self.reject(index, place, _stranger(bytes(record)))
        if kept.records:
            self._waiting[key] = kept
            self._decode_waiting(key)

    def _decode(
        self,
        provider: Provider,
        records: Sequence[RawRecord],
        places: Sequence[int],
        indices: Sequence[int],
        texts: Any,
    ) -> None:
        columns = {"source_index": pa.array(places, pa.int64()), "object_index": pa.array(indices, pa.int32())}
        decoded = _with_columns(provider.decode(records), columns)
        problems = decoded["problem"]
        if problems.null_count < len(problems):
            bad = np.asarray(problems.is_valid().to_numpy())
            self._reject_rows(decoded.filter(pa.array(bad)), list(compress(records, bad)))
            decoded, texts = decoded.filter(pa.array(~bad)), taken(texts, np.flatnonzero(~bad))
        if not len(decoded):
            return
        decoded = _with_columns(decoded, {"raw_json": texts})
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

    def _reject_rows(self, rows: pa.Table, records: Sequence[RawRecord]) -> None:
        columns = rows.select(["object_index", "source_index", "problem"]).to_pylist()
        for row, record in zip(columns, records, strict=True):
            index, place, text = row["object_index"], row["source_index"], bytes(record)
            # As if it had come first: what is told of a record does not depend on its neighbours.
            alone = sort_out([text], place)
            if alone.records and bytes(alone.records[0]) != text:
                self.add(alone, index)
                continue
            self.reject(index, place, NoRecord(text, row["problem"]) if provider_of(text) else _stranger(text))

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
        encoded: dict[str, Any] = {
            name: pa.array(values, pa.string()).dictionary_encode() for name, values in texts.items()
        }
        # Parquet writes no dictionary in which a value stands twice.
        rows = places(indices, len(parts))
        return {name: dictionary(renumbered(it.indices, rows), it.dictionary) for name, it in encoded.items()}


def _stranger(text: bytes) -> NoRecord:
    if not text.startswith(b"{"):
        return NoRecord(text, NO_OBJECT)
    return NoRecord(text, _UNKNOWN if _is_utf8(text) else _NOT_UTF8)


def _with_columns(table: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    return pa.table({**dict(zip(table.column_names, table.columns, strict=True)), **columns})


def _joined_texts(records: Sequence[RawRecord]) -> Any:
    """The records' bytes as one column of views; None if any is not UTF-8."""
    try:
        return joined(records).cast(pa.string()).cast(pa.string_view())
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
