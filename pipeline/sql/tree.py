"""The files of an output root as relations of a DuckDB connection: schema `tree`, on which the views stand.

Local Parquet files are read by DuckDB itself. Its httpfs extension would have to be downloaded, so files in buckets
are read through pyarrow, to which DuckDB hands the same filters and columns; Avro (dead letters) through fastavro.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import duckdb
import fastavro
import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import (
    AwsStandardS3RetryStrategy,
    FileSelector,
    FileSystem,
    GcsFileSystem,
    LocalFileSystem,
    S3FileSystem,
)

from pipeline import sql
from schemas.datasets import (
    ALERTS,
    ALL,
    DEAD_LETTERS,
    DELIVERIES,
    DETECTIONS,
    EVENTS,
    HUNTS,
    INGEST_LOG,
    PROFILES,
    RAW,
    SESSIONS,
    STORIES,
    Dataset,
)
from schemas.errors import AccessError, ConfigError, StoreError
from transforms.stores import gcloud
from transforms.stores.bucket_access import bucket_access
from transforms.stores.faults import CallFault
from transforms.stores.files import Output, Store, open_store
from transforms.stores.gcs import GcsStore
from transforms.stores.local import LocalStore, walk
from transforms.stores.s3 import S3Store
from transforms.stores.settings import read_settings

PARQUET = (RAW, EVENTS, SESSIONS, DETECTIONS, PROFILES, HUNTS, STORIES, ALERTS, DELIVERIES, INGEST_LOG)
_DAY = pa.schema([pa.field("day", pa.date32())])
_ACCOUNT_AND_DAY = pa.schema([pa.field("account_id", pa.string()), *_DAY])
_RULE_SET_ACCOUNT_AND_DAY = pa.schema([pa.field("ruleset", pa.string()), *_ACCOUNT_AND_DAY])
_SQL_TYPES = {
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.bool_(): "BOOLEAN",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.date32(): "DATE",
    pa.timestamp("us", tz="UTC"): "TIMESTAMP WITH TIME ZONE",
}
_BATCH_BYTES = 16 << 20
_LIKE_PARTITION = re.compile(r"(^|/)(account_id|day|ruleset)=")


def open_tree(output: Output) -> Store:
    """The store of an output root that holds trailweave data.

    Raises ConfigError, naming the root and the remedy, when nothing in it is ours; AccessError when it cannot be
    reached.
    """
    store = open_store(output)
    names = [dataset.name for dataset in ALL]
    if set(names).isdisjoint(store.folders("")) and read_settings(store) is None:
        raise ConfigError(
            f"output {output.uri!r} holds no trailweave data (no {names[0]} or the like);"
            " name the root that `trailweave ingest` or `trailweave replay` wrote"
        )
    return store


def attach(connection: duckdb.DuckDBPyConnection, store: Store, views: Iterable[str]) -> None:
    """Define `tree.files`, `tree.<dataset>` for every dataset, and the views, over the files that are there now."""
    if isinstance(store, LocalStore):
        whole = str(store.root)
        reader: _Reader = _Bucket("file", whole, LocalFileSystem()) if below_partition(whole) else _Folder(store.root)
    elif isinstance(store, S3Store):
        reader = _Bucket("s3", _root(store), _s3_files(store))
    elif isinstance(store, GcsStore):
        reader = _Bucket("gs", _root(store), _google_files())
    else:
        raise ConfigError(f"{store.describe('')} is no folder, s3:// or gs://; queries read no other store")
    connection.execute("CREATE SCHEMA tree")
    connection.register("listing", _table(reader.list()))
    connection.execute(sql.text("files/files"))
    connection.unregister("listing")
    for dataset in PARQUET:
        reader.define(connection, dataset)
    connection.register("dead_letter_files", DeadLetters(store))
    connection.execute("CREATE VIEW tree.dead_letters AS FROM dead_letter_files")
    for view in views:
        connection.execute(view)
    for dataset in PARQUET:
        connection.execute(snapshot(dataset))


def below_partition(root: str) -> bool:
    """Whether a folder above the tree, as of dated copies, is named as our partitions are.

    DuckDB takes the first such folder of a whole path for the partition; pyarrow is told where the tree begins.
    """
    return _LIKE_PARTITION.search(root) is not None


def relation(dataset: Dataset) -> str:
    """SQL that defines `tree.<dataset>` with the columns that the schema gives, as yet without files."""
    fields = [*dataset.arrow, *_partition(dataset)]
    columns = (
        f"'{field.name}': {{'name': '{field.name}', 'type': '{_sql_type(field.type)}', 'default_value': NULL}}"
        for field in dataset.arrow
    )
    partition = (f"'{field.name}': {_sql_type(field.type)}" for field in _partition(dataset))
    return sql.text(
        "files/relation",
        dataset=dataset.name,
        names=", ".join(field.name for field in fields),
        nulls=", ".join(f"NULL::{_sql_type(field.type)} AS {field.name}" for field in fields),
        columns=",\n            ".join(columns),
        partition=", ".join(partition),
    )


def snapshot(dataset: Dataset) -> str:
    """SQL that hands the files of `tree.files` to what `relation` defined."""
    return sql.text("files/snapshot", dataset=dataset.name)


def _partition(dataset: Dataset) -> pa.Schema:
    if dataset in (INGEST_LOG, STORIES, ALERTS, DELIVERIES):
        return _DAY
    return _RULE_SET_ACCOUNT_AND_DAY if dataset == HUNTS else _ACCOUNT_AND_DAY


def _sql_type(type_: pa.DataType) -> str:
    return f"{_sql_type(type_.value_type)}[]" if isinstance(type_, pa.ListType) else _SQL_TYPES[type_]


def _table(listing: Iterable[tuple[str, str]]) -> pa.Table:
    rows = list(listing)
    columns = [pa.array([row[position] for row in rows], pa.string()) for position in (0, 1)]
    return pa.table(columns, names=["dataset", "file"])


class _Reader(Protocol):
    """How the Parquet files of one kind of store are listed and read."""

    def list(self) -> Iterator[tuple[str, str]]:
        """(dataset, file) for everything that may be a Parquet file of ours."""

    def define(self, connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
        """Define `tree.<dataset>` over the files of `tree.files` that are not void."""


@dataclass(frozen=True)
class _Folder:
    root: Path

    def list(self) -> Iterator[tuple[str, str]]:
        for dataset in PARQUET:
            for folder, _, names in walk(self.root / dataset.name):
                yield from ((dataset.name, f"{folder}/{name}") for name in names if name.endswith(".parquet"))

    def define(self, connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
        connection.execute(relation(dataset))


def _root(store: S3Store | GcsStore) -> str:
    return "/".join(part for part in (store.bucket, store.prefix) if part)


def _s3_files(store: S3Store) -> S3FileSystem:
    try:
        granted = bucket_access(store.bucket, store.access)
    except CallFault as fault:
        raise AccessError(str(fault)) from fault
    return S3FileSystem(
        access_key=granted.access_key,
        secret_key=granted.secret_key,
        session_token=granted.token,
        region=granted.region,
        endpoint_override=granted.endpoint_url,
        connect_timeout=5,
        request_timeout=60,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=6),
    )


def _google_files() -> GcsFileSystem:
    patience = timedelta(seconds=60)
    if endpoint := gcloud.emulator():
        where = urlsplit(endpoint)
        return GcsFileSystem(
            anonymous=True, scheme=where.scheme, endpoint_override=where.netloc, retry_time_limit=patience
        )
    return GcsFileSystem(retry_time_limit=patience)


@dataclass(frozen=True)
class _Bucket:
    scheme: str
    root: str
    files: FileSystem

    def list(self) -> Iterator[tuple[str, str]]:
        for dataset in PARQUET:
            selector = FileSelector(f"{self.root}/{dataset.name}", recursive=True, allow_not_found=True)
            try:
                found = self.files.get_file_info(selector)
            except OSError as error:
                raise AccessError(f"{self.scheme}://{selector.base_dir} cannot be listed: {error}") from error
            yield from ((dataset.name, info.path) for info in found if info.is_file)

    def define(self, connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> None:
        query = "SELECT file FROM tree.files WHERE dataset = $name AND NOT void ORDER BY file"
        paths = [path for (path,) in connection.execute(query, {"name": dataset.name}).fetchall()]
        partition = _partition(dataset)
        hive = ds.partitioning(partition, flavor="hive")
        rows = ds.FileSystemDataset.from_paths(
            paths,
            schema=pa.schema([*dataset.arrow, *partition]),
            format=ds.ParquetFileFormat(),
            filesystem=self.files,
            partitions=[hive.parse(path.removeprefix(self.root)) for path in paths],
        )
        connection.register(f"{dataset.name}_in_bucket", rows)
        connection.execute(f"CREATE VIEW tree.{dataset.name} AS FROM {dataset.name}_in_bucket")


@dataclass(frozen=True)
class DeadLetters:
    """The Avro files of dead letters as an Arrow stream that begins anew whenever it is asked for.

    One file is held at a time: it was created whole, and its content is bounded per object.
    """

    store: Store

    @property
    def schema(self) -> pa.Schema:
        """The dead letters' columns and `day`, the day of the object's key or `unknown`."""
        return DEAD_LETTERS.arrow.append(pa.field("day", pa.string()))

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        reader: Any = pa.RecordBatchReader.from_batches(self.schema, self._batches())
        return reader.__arrow_c_stream__(requested_schema)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        rows: list[dict[str, Any]] = []
        size = 0
        for row in self._rows():
            rows.append(row)
            size += 500 + len(row["input"] or b"")
            if size > _BATCH_BYTES:
                yield pa.RecordBatch.from_pylist(rows, schema=self.schema)
                rows, size = [], 0
        yield pa.RecordBatch.from_pylist(rows, schema=self.schema)

    def _rows(self) -> Iterator[dict[str, Any]]:
        for folder in self.store.folders(DEAD_LETTERS.name):
            for name in self.store.names(f"{DEAD_LETTERS.name}/{folder}"):
                if name.endswith(".avro"):
                    yield from self._file(f"{DEAD_LETTERS.name}/{folder}/{name}", folder.removeprefix("day="))

    def _file(self, path: str, day: str) -> Iterator[dict[str, Any]]:
        content = self.store.read(path) or b""
        try:
            for row in fastavro.reader(io.BytesIO(content), reader_schema=DEAD_LETTERS.avro):
                yield {**row, "day": day}
        except (ValueError, EOFError, StopIteration) as error:
            raise StoreError(f"{self.store.describe(path)} is no readable Avro file: {error}") from error
