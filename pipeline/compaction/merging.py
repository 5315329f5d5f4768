"""Many Parquet files of a dataset into one, sorted, in bounded memory. No row is merged with another or changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

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
    EVENTS.name: (EVENTS_LAYOUT, "event_time, event_id"),
    SESSIONS.name: (SESSIONS_LAYOUT, "kind, session_id, first_seen, last_seen, first_event_id, commit_number"),
    DETECTIONS.name: (DETECTIONS_LAYOUT, "event_time, event_id, rule_id, rule_version"),
}
_MEMORY_LIMIT = "512MB"
_ROWS = 4_096
# Of decompressed text, should records be large.
_GROUP_BYTES = 64 << 20
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
        return _concatenated(tables, target, int(Path(parts[0][0]).stem))
    layout, order = _ORDER[dataset.name]
    return _sorted(tables, dataset, layout, order, target)


def _concatenated(tables: Iterable[pa.Table], target: Path, first: int) -> int:
    """Raw rows. The footer tells the time range of all under the range's first number."""
    rows = size = 0
    group: list[pa.Table] = []
    low, high = [], []
    ranges: dict[int, TimeRange] = {}
    with open_writer(str(target), RAW.arrow, RAW_LAYOUT, ranges) as writer:

        def flush() -> None:
            if group:
                writer.write_table(pa.concat_tables(group), row_group_size=RAW_LAYOUT.row_group)
                group.clear()

        for table in tables:
            if len(table):
                times = pc.min_max(table["event_time"].cast(pa.int64()))
                low.append(times["min"].as_py())
                high.append(times["max"].as_py())
            rows, size = rows + len(table), size + table.nbytes
            group.append(table)
            if size >= _GROUP_BYTES or sum(map(len, group)) >= RAW_LAYOUT.row_group - _ROWS:
                flush()
                size = 0
        flush()
        if low:
            ranges[first] = (min(low), max(high))
    return rows


def _sorted(tables: Iterable[pa.Table], dataset: Dataset, layout: Layout, order: str, target: Path) -> int:
    """Rows in order: what outgrows the memory limit is spilled beside `target`."""
    given = written = 0
    failed: Exception | None = None

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal given, failed
        try:
            for table in tables:
                given += len(table)
                yield from table.to_batches()
        except Exception as error:
            # DuckDB would make an error of its own of it.
            failed = error
            raise

    config: Any = {
        "threads": 2,
        "memory_limit": _MEMORY_LIMIT,
        "temp_directory": str(target.parent),
        "TimeZone": "UTC",
        "autoinstall_known_extensions": False,
    }
    try:
        with duckdb.connect(config=config) as connection, open_writer(str(target), dataset.arrow, layout) as writer:
            connection.register("parts", pa.RecordBatchReader.from_batches(dataset.arrow, counted()))
            ordered = connection.sql(f"FROM parts ORDER BY {order}").to_arrow_reader(layout.row_group)
            for batch in ordered:
                writer.write_table(
                    pa.Table.from_batches([batch]).cast(dataset.arrow), row_group_size=layout.row_group
                )
                written += len(batch)
    except duckdb.Error as error:
        if failed:
            raise failed from None
        raise StoreError(
            f"{dataset.name} cannot be sorted in {target.parent}: {error}; name a roomier folder by TMPDIR"
        ) from error
    if given != written:
        raise StoreError(f"of {given:,} rows of {dataset.name} {written:,} were sorted; nothing is published")
    return written


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
