"""CommitRaw: new events become the next raw file of their partition, and that file is their commit.

The protocol stands in DESIGN.md, section 2; `transforms.stores.commit_log` holds what it knows of each partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
from apache_beam.metrics import Metrics
from numpy.typing import NDArray

from schemas import counters
from schemas.datasets import RAW
from schemas.dictionaries import dictionary
from schemas.digests import Digests, digests_of, first_of_each, order_by_time
from schemas.partitions import partitions_of
from schemas.texts import gathered, lengths
from schemas.values import Commit, ObjectPart, Partition, Slice
from transforms.dofn import StageFn
from transforms.providers import PROVIDERS_BY_NAME, Provider
from transforms.providers.rows import committed_slice
from transforms.stores.commit_log import CommitLog
from transforms.stores.files import Output, open_store, writers
from transforms.stores.parquet import RAW_LAYOUT, TimeRange, conform, encode, part
from transforms.stores.settings import Settings, commit_log
from transforms.stores.side_by_side import SideBySide

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a partition's events: the rows that were new, their commit, and the commits of the others."""

    partition: Partition
    rows: Rows
    number: int | None
    matched: frozenset[int] = frozenset()
    conflicts: int = 0
    is_expired: bool = False


@dataclass(frozen=True, slots=True)
class Candidates:
    """The records of a slice as commits take them, all of the same length.

    `table` has the columns of `aws_s3_raw`, the text by index and 0 as the commit's number; `places` says where each
    row stands in a file, so that like stands beside like; `times` are in microseconds.
    """

    provider: Provider
    table: pa.Table
    digests: Digests
    times: NDArray[np.int64]
    places: Rows


def candidates(records: pa.Table, provider: Provider) -> Candidates:
    """The records (every column in one piece) as candidates."""
    columns: dict[str, Any] = {name: records[name] for name in RAW.arrow.names if name in records.column_names}
    columns["provider"] = constant(provider.name, len(records))
    columns["commit_number"] = pa.array(np.zeros(len(records), np.int32))
    places = np.empty(len(records), np.int64)
    places[_clustered(records, provider)] = np.arange(len(records))
    times = records["event_time"].combine_chunks().cast(pa.int64()).to_numpy()
    return Candidates(provider, conform(columns, RAW), digests_of(records["event_id"]), times, places)


def commit_raw(
    filled: Slice, log: CommitLog, pool: SideBySide, now: datetime | None = None
) -> tuple[Slice, list[Committed]]:
    """The slice with its new rows alone, ordered by partition, time and id, each range durable as a raw file.

    Repeats inside the slice and events of earlier commits are dropped and counted on their objects. Partitions are
    committed side by side. Raises what the store raises: then nothing of the slice may be acknowledged.
    """
    if filled.records is None or filled.provider is None:
        return filled, []
    records = _with_ingestion_time(filled.records, now or datetime.now(UTC)).combine_chunks()
    codes, partitions = partitions_of(records)
    found = candidates(records, PROVIDERS_BY_NAME[filled.provider])
    first = first_of_each(found.digests, codes)
    order = order_by_time(found.digests, found.times, codes)
    order = order[first[order]]
    bounds = np.searchsorted(codes[order], np.arange(len(partitions) + 1))

    def commit(index: int) -> Committed:
        return commit_partition(log, partitions[index], found, order[bounds[index] : bounds[index + 1]])

    done = pool.map(commit, range(len(partitions)))
    kept = _rows(it.rows for it in done if it.number is not None)
    return (
        replace(
            filled,
            records=records.take(kept),
            commits=_commits(done),
            objects=_counted(filled, records, done, kept),
        ),
        done,
    )


def commit_partition(log: CommitLog, partition: Partition, found: Candidates, rows: Rows) -> Committed:
    """Steps 2 to 4 of the protocol for one partition: `rows` of the candidates, distinct, in order of time."""
    known = log.of(partition)
    conflicts = 0
    matched: frozenset[int] = frozenset()
    with known.lock:
        while True:
            digests = found.digests[rows]
            span = int(found.times[rows[0]]), int(found.times[rows[-1]])
            held = log.snapshot(partition, known, digests, span)
            if held.expired:
                return Committed(partition, rows, None, conflicts=conflicts, is_expired=True)
            matched |= held.matched
            rows, digests = rows[~held.held], digests[~held.held]
            if not len(rows):
                return Committed(partition, rows, None, matched, conflicts)
            number = held.highest + 1
            span = int(found.times[rows[0]]), int(found.times[rows[-1]])
            content = raw_file(found, rows, number, log.repeated_ranges(known, number, span))
            if log.create(partition, known, number, content, digests, span):
                return Committed(partition, rows, number, matched, conflicts)
            conflicts += 1


def raw_file(found: Candidates, rows: Rows, number: int, ranges: dict[int, TimeRange]) -> bytes:
    """The rows as a file of `aws_s3_raw`, clustered so that like stands beside like."""
    table = found.table.take(rows[np.argsort(found.places[rows])])
    texts = gathered(table["raw_json"].combine_chunks())
    own = {"raw_json": texts, "commit_number": pa.array(np.full(len(table), number, np.int32))}
    columns: list[Any] = [own[it] if it in own else table[it] for it in table.column_names]
    text = table.schema.get_field_index("raw_json")
    schema = table.schema.set(text, table.schema.field(text).with_type(texts.type))
    return encode(part(pa.Table.from_arrays(columns, schema=schema)), RAW_LAYOUT, ranges)


def constant(text: str, length: int) -> pa.Array[Any]:
    """A column of one text."""
    indices: Any = pa.array(np.zeros(length, np.int32))
    return dictionary(indices, pa.array([text], pa.string()))


def _clustered(records: pa.Table, provider: Provider) -> Rows:
    keys: list[NDArray[Any]] = [lengths(records["raw_json"].combine_chunks())]
    for name in reversed(provider.cluster_key(records)):
        column: Any = records[name].combine_chunks()
        column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        keys.append(column.indices.fill_null(-1).to_numpy())
    return np.lexsort(keys)


def _with_ingestion_time(records: pa.Table, now: datetime) -> pa.Table:
    if "ingestion_time" in records.column_names:
        return records
    micros = np.full(len(records), int(now.timestamp() * 1_000_000), np.int64)
    return records.append_column("ingestion_time", pa.array(micros).cast(pa.timestamp("us", tz="UTC")))


def _rows(rows: Iterable[Rows]) -> Rows:
    return np.concatenate([np.zeros(0, np.int64), *rows])


def _commits(done: Sequence[Committed]) -> tuple[Commit, ...]:
    commits, start = [], 0
    for it in done:
        if it.number is not None:
            commits.append(Commit(it.partition, it.number, start, len(it.rows)))
            start += len(it.rows)
    return tuple(commits)


def _counted(filled: Slice, records: pa.Table, done: Sequence[Committed], kept: Rows) -> tuple[ObjectPart, ...]:
    """The slice's objects with what became of their records."""
    objects = records["object_index"].combine_chunks().to_numpy()
    size = len(filled.objects)
    total = np.bincount(objects, minlength=size).tolist()
    written = np.bincount(objects[kept], minlength=size).tolist()
    expired = np.bincount(objects[_rows(it.rows for it in done if it.is_expired)], minlength=size).tolist()
    return tuple(
        part.but(
            written=part.written + new,
            expired=part.expired + old,
            duplicates=part.duplicates + found - new - old,
        )
        for part, found, new, old in zip(filled.objects, total, written, expired, strict=True)
    )


def left_behind(log: CommitLog, done: Sequence[Committed]) -> Iterator[Slice]:
    """Slices of earlier commits that hold events of this slice and are not complete.

    Their writer was killed, or is still at work. What is derived from them is written here too, from the raw file,
    before anything that carries receipts: "already there" is success.
    """
    for it in done:
        known = log.of(it.partition)
        for number in sorted(it.matched):
            if not log.is_complete(it.partition, known, number):
                yield committed_slice(log.read_commit(it.partition, number), it.partition, number)


@dataclass(eq=False)
class CommitRaw(beam.PTransform[Any, Any]):
    """Slice of records in; out the same with its new rows committed, after the slices of `left_behind`.

    At-least-once in, exactly once out: an event is in one raw file, whatever is repeated or runs beside.
    """

    output: Output
    settings: Settings

    def expand(self, slices: Any) -> Any:
        """Commit each slice."""
        return slices | beam.ParDo(_Commit(self.output, self.settings)).with_output_types(Slice)


class _Commit(StageFn):
    def __init__(self, output: Output, settings: Settings) -> None:
        self._output, self._settings = output, settings
        self._commits = Metrics.counter(counters.NAMESPACE, counters.COMMITS)
        self._conflicts = Metrics.counter(counters.NAMESPACE, counters.COMMIT_CONFLICTS)
        self._completed = Metrics.counter(counters.NAMESPACE, counters.COMMITS_COMPLETED)

    def setup(self) -> None:
        self._pool = writers(open_store(self._output), "commit")
        self._log = commit_log(self._output, self._settings)

    def teardown(self) -> None:
        self._pool.shutdown()

    def process(self, filled: Slice) -> Iterator[Slice]:
        committed, done = commit_raw(filled, self._log, self._pool)
        self._commits.inc(len(committed.commits))
        self._conflicts.inc(sum(it.conflicts for it in done))
        for behind in left_behind(self._log, done):
            self._completed.inc()
            yield behind
        yield committed
