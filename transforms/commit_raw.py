"""CommitRaw: new events become the next raw file of their partition, and that file is their commit.

The protocol stands in DESIGN.md, section 2; `transforms.stores.commit_log` holds what it knows of each partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from numpy.typing import NDArray

from schemas import counters
from schemas.datasets import RAW
from schemas.digests import Digests, digests_of, first_of_each
from schemas.partitions import partitions_of
from schemas.values import Commit, ObjectPart, Partition, Slice
from transforms.providers import PROVIDERS_BY_NAME, Provider
from transforms.providers.rows import committed_slice
from transforms.stores.commit_log import CommitLog
from transforms.stores.files import Output
from transforms.stores.parquet import RAW_LAYOUT, TimeRange, conform, encode, part
from transforms.stores.settings import Settings, commit_log

Rows = NDArray[np.int64]
_WRITERS = 16


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of a partition's events: the rows that were new, their commit, and the commits of the others."""

    partition: Partition
    rows: Rows
    number: int | None
    matched: frozenset[int] = frozenset()
    conflicts: int = 0
    is_expired: bool = False


def commit_raw(
    filled: Slice, log: CommitLog, pool: ThreadPoolExecutor, now: datetime | None = None
) -> tuple[Slice, list[Committed]]:
    """The slice with its new rows alone, ordered by partition, time and id, each range durable as a raw file.

    Repeats inside the slice and events of earlier commits are dropped and counted on their objects. Partitions are
    committed side by side. Raises what the store raises: then nothing of the slice may be acknowledged.
    """
    if filled.records is None or filled.provider is None:
        return filled, []
    records = _with_ingestion_time(filled.records, now or datetime.now(UTC)).combine_chunks()
    codes, partitions = partitions_of(records)
    digests = digests_of(records["event_id"])
    times = records["event_time"].combine_chunks().cast(pa.int64()).to_numpy()
    first = first_of_each(digests, codes)
    provider = PROVIDERS_BY_NAME[filled.provider]
    order = np.lexsort((digests[:, 1], digests[:, 0], times, codes))
    order = order[first[order]]
    bounds = np.searchsorted(codes[order], np.arange(len(partitions) + 1))

    def commit(index: int) -> Committed:
        rows = order[bounds[index] : bounds[index + 1]]
        return commit_partition(log, partitions[index], records, rows, digests[rows], times, provider)

    done = [*pool.map(commit, range(len(partitions)))]
    kept = _rows(it.rows for it in done if it.number is not None)
    return (
        replace(
            filled,
            records=_taken(records, kept),
            commits=_commits(done),
            objects=_counted(filled, records, done, kept),
        ),
        done,
    )


def commit_partition(
    log: CommitLog,
    partition: Partition,
    records: pa.Table,
    rows: Rows,
    digests: Digests,
    times: NDArray[np.int64],
    provider: Provider,
) -> Committed:
    """Steps 2 to 4 of the protocol for one partition: `rows` of `records`, their `digests`, distinct already."""
    known = log.of(partition)
    conflicts = 0
    matched: frozenset[int] = frozenset()
    with known.lock:
        while True:
            span = int(times[rows[0]]), int(times[rows[-1]])
            found = log.snapshot(partition, known, digests, span)
            if found.expired:
                return Committed(partition, rows, None, conflicts=conflicts, is_expired=True)
            matched |= found.matched
            rows, digests = rows[~found.held], digests[~found.held]
            if not len(rows):
                return Committed(partition, rows, None, matched, conflicts)
            number = found.highest + 1
            span = int(times[rows[0]]), int(times[rows[-1]])
            content = raw_file(records, rows, number, provider, log.repeated_ranges(known, number, span))
            if log.create(partition, known, number, content, digests, span):
                return Committed(partition, rows, number, matched, conflicts)
            conflicts += 1


def raw_file(records: pa.Table, rows: Rows, number: int, provider: Provider, ranges: dict[int, TimeRange]) -> bytes:
    """The rows as a file of `aws_s3_raw`, clustered so that like stands beside like."""
    stored = [name for name in RAW.arrow.names if name in records.column_names]
    table = records.select(stored).take(_clustered(records, rows, provider))
    columns: dict[str, Any] = dict(zip(stored, table.columns, strict=True))
    columns["provider"] = constant(provider.name, len(table))
    columns["commit_number"] = pa.array(np.full(len(table), number, np.int32))
    return encode(part(conform(columns, RAW)), RAW_LAYOUT, ranges)


def constant(text: str, length: int) -> pa.Array[Any]:
    """A column of one text."""
    indices: Any = pa.array(np.zeros(length, np.int32))
    return pa.DictionaryArray.from_arrays(indices, pa.array([text], pa.string()))


def _clustered(records: pa.Table, rows: Rows, provider: Provider) -> Rows:
    keys: list[NDArray[Any]] = [_lengths(records["raw_json"])[rows]]
    for name in reversed(provider.cluster_key(records)):
        column: Any = records[name].combine_chunks()
        column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        keys.append(column.indices.fill_null(-1).to_numpy()[rows])
    return rows[np.lexsort(keys)]


def _lengths(texts: Any) -> NDArray[np.int32]:
    lengths: NDArray[np.int32] = pc.binary_length(texts).to_numpy()
    return lengths


def _taken(records: pa.Table, rows: Rows) -> pa.Table:
    """Some rows. Their raw text, the bulk, stays where it is: the column names it by index."""
    places: Any = pa.array(rows.astype(np.int32))
    by_index: Any = pa.DictionaryArray.from_arrays(places, records["raw_json"].combine_chunks())
    return records.drop_columns(["raw_json"]).take(rows).append_column("raw_json", by_index)


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
        replace(
            part,
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


class _Commit(beam.DoFn):
    def __init__(self, output: Output, settings: Settings) -> None:
        self._output, self._settings = output, settings
        self._commits = Metrics.counter(counters.NAMESPACE, counters.COMMITS)
        self._conflicts = Metrics.counter(counters.NAMESPACE, counters.COMMIT_CONFLICTS)
        self._completed = Metrics.counter(counters.NAMESPACE, counters.COMMITS_COMPLETED)

    def setup(self) -> None:
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="commit")
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
