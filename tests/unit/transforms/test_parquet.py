"""Tables become Parquet that any reader understands, and come back as they were."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.memory import SYNC, MemoryStore
from support.records import NOW, exploded, record

from schemas.datasets import ALL, EVENTS, INGEST_LOG, RAW, Dataset
from schemas.values import Partition
from transforms.commit_raw import commit_raw
from transforms.normalize_records import normalize_records
from transforms.stores.commit_log import CommitLog
from transforms.stores.parquet import (
    EVENTS_LAYOUT,
    FEW,
    LOG_LAYOUT,
    RAW_LAYOUT,
    conform,
    encode,
    read_ranges,
    read_table,
)
from transforms.stores.tree import Numbered, list_files, list_partitions, parse_name, path_of
from transforms.write_parquet import write_parquet

COUNTS = [1, 3, FEW - 1, FEW, FEW + 1, 300]


def stored(count: int) -> dict[str, bytes]:
    """A raw file and an events file of so many events, by dataset."""
    store = MemoryStore()
    log = CommitLog(store, EVENTS)
    committed, _ = commit_raw(exploded([record(n) for n in range(count)]), log, SYNC, NOW)
    write_parquet(normalize_records(committed), store, log, SYNC)
    return {path.split("/")[0]: content for path, content in store.files.items()}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("dataset", [RAW, EVENTS])
def test_a_file_has_the_columns_of_its_avro_schema_in_order(dataset: Dataset, count: int) -> None:
    content = stored(count)[dataset.name]
    table = read_table(pa.BufferReader(content))
    assert table.schema.equals(dataset.arrow)
    assert len(table) == count
    assert table.validate(full=True) is None


@pytest.mark.parametrize("count", COUNTS)
def test_another_reader_sees_the_same_values(count: int, tmp_path: object) -> None:
    for name, content in stored(count).items():
        path = f"{tmp_path}/{name}.parquet"
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(content)
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            seen = connection.execute(f"select event_id, event_time from '{path}' order by event_id").fetchall()
        table = read_table(pa.BufferReader(content), ["event_id", "event_time"]).sort_by("event_id")
        assert [id_ for id_, _ in seen] == table["event_id"].to_pylist()
        assert [time.astimezone(UTC) for _, time in seen] == table["event_time"].to_pylist()


def columns_of(content: bytes) -> dict[str, pq.ColumnChunkMetaData]:
    group = pq.read_metadata(io.BytesIO(content)).row_group(0)
    return {it.path_in_schema: it for it in map(group.column, range(group.num_columns))}


@pytest.mark.parametrize("count", [1, 300])
def test_columns_are_encoded_as_every_reader_knows(count: int) -> None:
    """The encodings of Parquet's first version, and the dictionaries that all have learned since."""
    for content in stored(count).values():
        encodings = {it for column in columns_of(content).values() for it in column.encodings}
        assert encodings <= {"PLAIN", "RLE", "BIT_PACKED", "PLAIN_DICTIONARY", "RLE_DICTIONARY"}


def test_a_file_of_a_few_rows_has_no_dictionaries_and_any_larger_one_is_zstd() -> None:
    few, many = (stored(count) for count in (FEW - 1, FEW))
    for dataset in (RAW, EVENTS):
        columns = columns_of(few[dataset.name])
        assert not any(it.has_dictionary_page for it in columns.values())
        assert {it.compression for name, it in columns.items() if name != "raw_json"} == {"SNAPPY"}
        assert {it.compression for it in columns_of(many[dataset.name]).values()} == {"ZSTD", "UNCOMPRESSED"}
        assert len(many[dataset.name]) < 1.1 * len(few[dataset.name])
    for files in (few, many):
        assert columns_of(files[RAW.name])["raw_json"].compression == "ZSTD"


def test_the_same_table_gives_the_same_bytes() -> None:
    table = pa.table({"event_time": [NOW] * 40, "text": [str(n) for n in range(40)]})
    assert encode(table, LOG_LAYOUT) == encode(table, LOG_LAYOUT)


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("ranges", [{}, {1: (5, 9)}, {n: (n, n + 1) for n in range(65)}, {7: (-(1 << 60), 1 << 60)}])
def test_the_footer_tells_the_ranges_that_were_given(ranges: dict[int, tuple[int, int]], rows: int) -> None:
    content = encode(pa.table({"event_time": [1] * rows}), RAW_LAYOUT, ranges)
    assert read_ranges(pa.BufferReader(content)) == ranges
    metadata = pq.read_metadata(io.BytesIO(content)).metadata
    assert metadata[b"trailweave.schema_version"] == b"1"


def test_a_file_without_ranges_tells_none() -> None:
    assert read_ranges(pa.BufferReader(encode(pa.table({"a": [1]}), EVENTS_LAYOUT))) == {}
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}), sink)
    assert read_ranges(pa.BufferReader(sink.getvalue())) == {}


def test_columns_are_put_in_order_and_cast_and_dictionaries_stay() -> None:
    columns = {field.name: pa.nulls(1, field.type) for field in INGEST_LOG.arrow}
    columns["logged_time"] = pa.array([datetime(2024, 1, 1, tzinfo=UTC)], pa.timestamp("ms", tz="UTC"))
    columns["object_key"] = pa.array(["k"]).dictionary_encode()
    table = conform(dict(reversed(columns.items())), INGEST_LOG)
    assert table.column_names == INGEST_LOG.arrow.names
    assert table.schema.field("logged_time").type == pa.timestamp("us", tz="UTC")
    assert pa.types.is_dictionary(table.schema.field("object_key").type)


def test_a_column_that_is_missing_is_an_error() -> None:
    with pytest.raises(KeyError, match="logged_time"):
        conform({}, INGEST_LOG)


@pytest.mark.parametrize("dataset", ALL)
def test_every_column_is_documented_and_has_an_arrow_type(dataset: Dataset) -> None:
    assert all(field.get("doc") for field in dataset.avro["fields"])
    assert dataset.arrow.names == [field["name"] for field in dataset.avro["fields"]]


def test_names_of_commits_and_ranges() -> None:
    assert parse_name("00000042.parquet") == Numbered(42, 42)
    assert parse_name("00000001-00000042.parquet") == Numbered(1, 42)
    assert [parse_name(it.name) for it in (Numbered(7, 7), Numbered(7, 9))] == [Numbered(7, 7), Numbered(7, 9)]
    for other in (
        "42.parquet",
        "00000042.parquet.tmp",
        ".00000042.parquet",
        "x00000042.parquet",
        "00000042.parquet\n",
    ):
        assert parse_name(other) is None
    assert path_of(RAW, Partition("1", "2024-03-05"), 3) == "aws_s3_raw/account_id=1/day=2024-03-05/00000003.parquet"


def test_parts_that_a_range_covers_are_not_listed() -> None:
    partition = Partition("1", "2024-03-05")
    folder = f"aws_s3_raw/{partition.path}"
    names = ["00000001-00000003.parquet", "00000001.parquet", "00000003.parquet", "00000004.parquet", "notes.txt"]
    store = MemoryStore({f"{folder}/{name}": b"" for name in names})
    assert list_files(store, RAW, partition) == [Numbered(1, 3), Numbered(4, 4)]
    assert list_files(store, RAW, partition, 3) == [Numbered(4, 4)]
    assert list_files(store, EVENTS, partition) == []
    assert list_partitions(store, RAW) == [partition]
