"""How tables become Parquet bytes, and how the files of a commit are read again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.datasets import Dataset
from schemas.dictionaries import dictionary, places, renumbered

SCHEMA_VERSION = "1"
_RANGES = "trailweave.ranges"
_VERSION = "trailweave.schema_version"

# Below so many rows a file has no dictionaries, and Snappy: setting up zstd and a dictionary takes 20 us and more a
# column, of a hundred columns, and saves a tenth of the bytes. Compaction makes one large file of many such.
FEW = 64
# Arrow looks after so many rows whether a page is full; by default after a quarter of it, which costs a thirtieth.
_WRITE_BATCH = 4_096
# A column of so few values is a few bits a row already: the same holds for it in any file.
_FEW_VALUES = 16

TimeRange = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Layout:
    """How a dataset's files are written.

    `plain` columns get no dictionary, `indexed` ones get statistics, `bulky` ones are compressed in every file.
    """

    row_group: int
    plain: frozenset[str]
    indexed: frozenset[str]
    bulky: frozenset[str] = frozenset()


# Raw rows are clustered, so a small row group finds its like at the lowest level of compression.
RAW_LAYOUT = Layout(
    row_group=16_384,
    plain=frozenset({"raw_json", "event_id", "event_time", "source_index"}),
    indexed=frozenset({"event_time", "recipient_account_id", "commit_number"}),
    bulky=frozenset({"raw_json"}),
)
EVENTS_LAYOUT = Layout(
    row_group=131_072,
    plain=frozenset(
        {"event_id", "event_time", "request_id", "ingestion_time"}
        | {"cloud_provider_event_id", "cloud_correlation_id", "shared_event_id"}
    ),
    indexed=frozenset(
        {"event_time", "recipient_account_id", "identity_name", "identity_uuid", "operation_name_orig", "caller_ip"}
        | {"access_key_id", "session_id", "event_id", "commit_number"}
    ),
)
SESSIONS_LAYOUT = Layout(
    row_group=131_072,
    plain=frozenset(),
    indexed=frozenset({"kind", "first_seen", "last_seen", "session_id"}),
)
DETECTIONS_LAYOUT = Layout(
    row_group=131_072,
    plain=frozenset(),
    indexed=frozenset({"rule_id", "event_id", "event_time", "session_id"}),
)
PROFILES_LAYOUT = Layout(
    row_group=131_072, plain=frozenset({"first_event_id", "last_event_id"}), indexed=frozenset({"session_id", "hour"})
)
STORIES_LAYOUT = Layout(row_group=131_072, plain=frozenset(), indexed=frozenset({"session_id", "story_id"}))
ALERTS_LAYOUT = Layout(
    row_group=131_072, plain=frozenset(), indexed=frozenset({"evaluated_time", "alert_id", "story_id", "last_seen"})
)
DELIVERIES_LAYOUT = Layout(row_group=131_072, plain=frozenset(), indexed=frozenset({"alert_id"}))
LOG_LAYOUT = Layout(row_group=131_072, plain=frozenset(), indexed=frozenset({"logged_time"}))


def encode(table: pa.Table, layout: Layout, ranges: Mapping[int, TimeRange] | None = None) -> bytes:
    """The table as a Parquet file. `ranges` are the time ranges (microseconds) that its footer repeats."""
    sink = pa.BufferOutputStream()
    are_few = len(table) < FEW
    light = () if are_few else [it for it in table.column_names if _is_light(table[it])]
    schema = table.schema.remove_metadata()
    with open_writer(sink, schema, layout, ranges, light=light, are_few=are_few) as writer:
        writer.write_table(table.replace_schema_metadata(), row_group_size=layout.row_group)
    return sink.getvalue().to_pybytes()


@contextmanager
def open_writer(
    sink: Any,
    schema: pa.Schema,
    layout: Layout,
    ranges: Mapping[int, TimeRange] | None = None,
    *,
    light: Collection[str] = (),
    are_few: bool = False,
) -> Iterator[pq.ParquetWriter]:
    """A writer of a Parquet file into `sink`, closed at the end: zstd; Snappy of a few rows (`are_few`).

    `light` columns are not compressed. What the layout has as bulky is zstd in any case. `ranges` may be filled while
    rows are written: the footer comes last.
    """
    names = schema.names
    zstd = [_path(schema.field(it)) for it in names if it in layout.bulky or not (are_few or it in light)]
    compression: Any = "snappy" if are_few else "none"
    # One word for all columns is read much faster than one for each.
    if zstd:
        compression = dict.fromkeys(map(_path, schema), compression) | dict.fromkeys(zstd, "zstd")
    dictionary: Any = False if are_few else [_path(it) for it in schema if it.name not in layout.plain]
    with pq.ParquetWriter(
        sink,
        schema,
        compression=compression,
        compression_level=dict.fromkeys(zstd, 1) or None,
        use_dictionary=dictionary,
        write_batch_size=_WRITE_BATCH,
        write_statistics=[name for name in names if name in layout.indexed],
        store_schema=False,
    ) as writer:
        # Without the stored Arrow schema, a schema's own metadata would not be written either.
        yield writer
        metadata = {_VERSION: SCHEMA_VERSION}
        if ranges is not None:
            metadata[_RANGES] = json.dumps(ranges)
        writer.add_key_value_metadata(metadata)


def _path(field: pa.Field[Any]) -> str:
    """The column as Parquet names it."""
    return f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name


def _is_light(column: Any) -> bool:
    if column.null_count == len(column) or pa.types.is_boolean(column.type):
        return True
    return pa.types.is_dictionary(column.type) and len(column.chunk(0).dictionary) <= _FEW_VALUES


def part(table: pa.Table) -> pa.Table:
    """A part of a larger table as it is written: with the values of its own rows, and, of a few rows, flat."""
    return flat(table) if len(table) < FEW else own_values(table)


def own_values(table: pa.Table) -> pa.Table:
    """The table, its dictionary columns cut to the values that its own rows have.

    A part of a larger table brings the whole's dictionaries along, and Parquet would write all of their values: those
    of other partitions too.
    """
    columns = [
        _own_values(column.combine_chunks()) if pa.types.is_dictionary(column.type) else column
        for column in table.columns
    ]
    return pa.Table.from_arrays(columns, schema=table.schema)


def flat(table: pa.Table) -> pa.Table:
    """The table, each row of its dictionary columns with its value."""
    if not any(map(pa.types.is_dictionary, table.schema.types)):
        return table
    fields, columns = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        if pa.types.is_dictionary(field.type):
            column = column.cast(field.type.value_type)
        fields.append(pa.field(field.name, column.type, field.nullable))
        columns.append(column)
    return pa.table(columns, schema=pa.schema(fields))


def _own_values(column: Any) -> Any:
    indices, values = column.indices, column.dictionary
    # Long texts are named by index, and gathered for writing.
    if len(values) <= 1 or not len(indices) or pa.types.is_string_view(values.type):
        return column
    rows = places(indices, len(values))
    used = np.zeros(len(values) + 1, np.bool_)
    used[rows] = True
    used = used[:-1]
    if used.all():
        return column
    numbers = pa.array(np.cumsum(used, dtype=np.int32) - 1)
    return dictionary(renumbered(numbers, rows), values.filter(pa.array(used)))


def conform(columns: Mapping[str, Any], dataset: Dataset) -> pa.Table:
    """The columns in the dataset's order; dictionaries and views stay so, since the file's type is the same."""
    arrays, fields = [], []
    for field in dataset.arrow:
        column = columns[field.name]
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        if kind != (pa.string_view() if pa.types.is_string_view(kind) else field.type):
            column = column.cast(field.type)
        arrays.append(column)
        fields.append(pa.field(field.name, column.type, field.nullable))
    return pa.table(arrays, schema=pa.schema(fields))


def read_ranges(file: pa.NativeFile) -> dict[int, TimeRange]:
    """The time ranges (microseconds) that the footer of a raw file repeats, by commit number."""
    metadata = pq.ParquetFile(file).metadata.metadata or {}
    told: dict[str, list[int]] = json.loads(metadata.get(_RANGES.encode(), b"{}"))
    return {int(number): (low, high) for number, (low, high) in told.items()}


def read_table(file: pa.NativeFile, columns: list[str] | None = None) -> pa.Table:
    """The file's rows."""
    return pq.ParquetFile(file).read(columns)
