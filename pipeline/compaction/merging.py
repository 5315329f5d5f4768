"""Many Parquet files of a dataset into one, sorted, in bounded memory. No row is merged with another or changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from schemas.datasets import DETECTIONS, EVENTS, RAW, SESSIONS, Dataset
from schemas.errors import StoreError
from transforms.stores.files import Store
from transforms.stores.parquet import (
    DETECTIONS_LAYOUT,
    EVENTS_LAYOUT,
    RAW_LAYOUT,
    SESSIONS_LAYOUT,
    Layout,
    TimeRange,
    open_writer,
)

_ORDER = {
    EVENTS.name: (EVENTS_LAYOUT, ("event_time", "event_id")),
    SESSIONS.name: (SESSIONS_LAYOUT, ("first_seen", "last_seen", "kind", "session_id", "commit_number")),
    DETECTIONS.name: (DETECTIONS_LAYOUT, ("event_time", "event_id", "rule_id", "rule_version")),
}
_ROWS = 4_096
# What is worked on at once, decompressed: rows until one of both is reached.
_GROUP_ROWS = 65_536
_GROUP_BYTES = 24 << 20
# Files up to so many bytes are read whole, several at once: it is their number that takes the time.
_SMALL_BYTES = 2 << 20
_AT_ONCE = 16


def merge(store: Store, dataset: Dataset, parts: Sequence[tuple[str, int]], target: Path, pool: Executor) -> int:
    """Write the rows of the parts (path and bytes of each) into the local file `target`: how many.

    Raw records stay in the order of their commits, clustered as these are; other rows are sorted, audit rows by time
    and id. Raises `StoreError` for a part with a column that this version does not know, `FileNotFoundError` for one
    that was removed.
    """
    tables = _tables(store, dataset, parts, pool)
    if dataset == RAW:
        return _concatenated(tables, target, int(Path(parts[0][0]).stem.partition("-")[0]))
    layout, keys = _ORDER[dataset.name]
    return _sorted(tables, dataset, layout, keys, target)


def _concatenated(tables: Iterable[pa.Table], target: Path, first: int) -> int:
    """Raw rows. The footer tells the time range of all under the range's first number."""
    rows = 0
    times: list[TimeRange] = []
    ranges: dict[int, TimeRange] = {}
    with open_writer(str(target), RAW.arrow, RAW_LAYOUT, ranges) as writer:
        for group in _regrouped(tables, RAW_LAYOUT.row_group):
            micros = group["event_time"].cast(pa.int64()).to_numpy()
            times.append((int(micros.min()), int(micros.max())))
            rows += len(group)
            writer.write_table(group, row_group_size=RAW_LAYOUT.row_group)
        if times:
            ranges[first] = (min(low for low, _ in times), max(high for _, high in times))
    return rows


def _sorted(tables: Iterable[pa.Table], dataset: Dataset, layout: Layout, keys: Sequence[str], target: Path) -> int:
    """Rows in order of the keys, the first of which is a time: one bucket of time after the other."""
    rows = 0
    with open_writer(str(target), dataset.arrow, layout) as writer:
        for bucket in _buckets(_regrouped(tables, _GROUP_ROWS), dataset.arrow, keys[0], target.parent):
            rows += len(bucket)
            ordered = bucket.sort_by([(key, "ascending") for key in keys])
            writer.write_table(ordered, row_group_size=layout.row_group)
    return rows


def _buckets(groups: Iterator[pa.Table], schema: pa.Schema, time: str, folder: Path) -> Iterator[pa.Table]:
    """The rows of all groups as tables, each later than the one before; more than one group goes through `folder`."""
    start = [*islice(groups, 2)]
    if len(start) < 2:
        yield from start
        return
    spool, given, size = folder / "spool", [], 0
    with _spooling(spool, schema) as writer:
        for group in chain(start, groups):
            writer.write_table(group)
            given.append(_micros(group, time))
            size += group.nbytes
    start.clear()
    times = np.sort(np.concatenate(given))
    rows = min(_GROUP_ROWS, len(times) * _GROUP_BYTES // size + 1)
    cuts = np.unique(times[rows::rows])
    paths = [folder / f"bucket-{number}" for number in range(len(cuts) + 1)]
    with ExitStack() as stack:
        writers = [stack.enter_context(_spooling(path, schema)) for path in paths]
        for group in _spooled(spool):
            places = np.searchsorted(cuts, _micros(group, time), side="right")
            order = np.argsort(places, kind="stable")
            bounds = np.searchsorted(places[order], np.arange(len(paths) + 1))
            ordered = group.take(pa.array(order, pa.int64()))
            for number, writer in enumerate(writers):
                low, high = int(bounds[number]), int(bounds[number + 1])
                if low < high:
                    writer.write_table(ordered.slice(low, high - low))
    spool.unlink()
    written = 0
    for path in paths:
        bucket = pa.concat_tables([schema.empty_table(), *_spooled(path)])
        written += len(bucket)
        yield bucket
        path.unlink()
    if written != len(times):
        raise StoreError(f"of {len(times):,} rows {written:,} came back from {folder}; nothing is published")


def _micros(table: pa.Table, time: str) -> NDArray[np.int64]:
    return table[time].cast(pa.int64()).to_numpy()


@contextmanager
def _spooling(path: Path, schema: pa.Schema) -> Iterator[Any]:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema, options=options) as writer:
        yield writer


def _spooled(path: Path) -> Iterator[pa.Table]:
    with pa.OSFile(str(path), "rb") as source:
        reader = pa.ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(number)])


def _regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of up to so many, or of `_GROUP_BYTES`; none of them is empty."""
    group: list[pa.Table] = []
    count = size = 0
    for table in tables:
        if group and (count + len(table) > rows or size >= _GROUP_BYTES):
            yield pa.concat_tables(group).combine_chunks()
            group, count, size = [], 0, 0
        if len(table):
            group.append(table)
            count, size = count + len(table), size + table.nbytes
    if group:
        yield pa.concat_tables(group).combine_chunks()


def _tables(store: Store, dataset: Dataset, parts: Sequence[tuple[str, int]], pool: Executor) -> Iterator[pa.Table]:
    """The rows in order of the parts; a column that a part of an older version lacks is null."""
    for start in range(0, len(parts), _AT_ONCE):
        some = parts[start : start + _AT_ONCE]
        for (path, _), opened in zip(some, pool.map(partial(_opened, store), some), strict=True):
            with opened:
                file = pq.ParquetFile(opened)
                unknown = set(file.schema_arrow.names) - set(dataset.arrow.names)
                if unknown:
                    raise StoreError(
                        f"{store.describe(path)} has a column {min(unknown)!r} that this version does not know and"
                        " would lose; compact with the version that wrote it"
                    )
                for batch in file.iter_batches(_ROWS):
                    yield _completed(pa.Table.from_batches([batch]), dataset.arrow)


def _opened(store: Store, part: tuple[str, int]) -> pa.NativeFile:
    path, size = part
    if size > _SMALL_BYTES:
        return store.open(path)
    content = store.read(path)
    if content is None:
        raise FileNotFoundError(path)
    return pa.BufferReader(content)


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in schema
    ]
    return pa.table(columns, names=schema.names).cast(schema)
