"""The dataset `profiles`: what each session did in each hour, a file for each file of `cloud_audit_logs`.

Made by whoever evaluates alerts, not by ingestion: a file of events is read once for it, however often alerts are
evaluated. A profile is a function of its file of events alone and is created if absent, so that several evaluators
may make them side by side and be killed anywhere. Rows merge by minimum, maximum and sum: what the view `profiles`
says is a function of the set of events. Compaction makes a new file of events, of which a new profile is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, pairwise
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import sql
from schemas.datasets import EVENTS, PROFILES
from schemas.values import Partition
from transforms.stores.files import Store, opened
from transforms.stores.parquet import PROFILES_LAYOUT, conform, encode
from transforms.stores.tree import Numbered, folder_of

_TOLD = ("session_id", "hour", "first_seen", "last_seen", "first_event_id", "last_event_id", "recipient_account_id")
_COUNTED = ("events", "failures", "denials")
_KEPT = [it for it in PROFILES.arrow.names if it not in (*_TOLD, *_COUNTED)]
COLUMNS = ["session_id", "event_time", "event_id", "operation_status", "error_class", "enrichment_version", *_KEPT]
"""Columns of `cloud_audit_logs` that a profile is a function of."""

_THREADS = 4
_AT_ONCE = 32

Place = tuple[Partition, Numbered]


def profiled(files: Sequence[pa.Table]) -> list[pa.Table]:
    """The profile of each file of events, of which a table has `COLUMNS`; rows by time."""
    with duckdb.connect(config={"memory_limit": "512MB"}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        placed = [it.append_column("place", _repeated(place, len(it))) for place, it in enumerate(files)]
        connection.register("events", pa.concat_tables(placed))
        rows = connection.sql(sql.text("profiles/profiled")).to_arrow_table()
    starts = np.searchsorted(rows["place"].to_numpy(), np.arange(len(files) + 1))
    return [rows.slice(start, stop - start) for start, stop in pairwise(starts)]


def _repeated(place: int, times: int) -> pa.Array[Any]:
    return pa.array(np.full(times, place, np.int32))


def complete(store: Store, connection: duckdb.DuckDBPyConnection) -> int:
    """Make the profiles that lack for the files that the connection knows: how many those are."""
    absent = [
        (Partition(account, day), Numbered(first, last))
        for account, day, first, last in connection.execute(sql.text("profiles/absent")).fetchall()
    ]
    with ThreadPoolExecutor(_THREADS) as pool:
        for chunk in _chunks(absent):
            made = profiled([*pool.map(lambda place: _events(store, place), chunk)])
            [*pool.map(lambda pair: _create(store, *pair), zip(chunk, made, strict=True))]
    return len(absent)


def _chunks(places: Sequence[Place]) -> Iterator[list[Place]]:
    """Some files of single commits, which are small, or one that compaction made."""
    for is_range, found in groupby(places, key=lambda place: place[1].is_range):
        alike, size = [*found], 1 if is_range else _AT_ONCE
        yield from (alike[start : start + size] for start in range(0, len(alike), size))


def _events(store: Store, place: Place) -> pa.Table:
    partition, numbers = place
    with opened(store, f"{folder_of(EVENTS, partition)}/{numbers.name}") as source:
        rows = pq.ParquetFile(source).read(COLUMNS)
    # A file of an older version lacks columns.
    columns = {it: rows[it] if it in rows.column_names else pa.nulls(len(rows)) for it in COLUMNS}
    return pa.table(columns).cast(pa.schema([EVENTS.arrow.field(it).with_nullable(True) for it in COLUMNS]))


def _create(store: Store, place: Place, rows: pa.Table) -> None:
    partition, numbers = place
    columns: dict[str, Any] = {it: rows[it] for it in rows.column_names if it != "place"}
    columns["recipient_account_id"] = pa.repeat(partition.account, len(rows))
    content = encode(conform(columns, PROFILES), PROFILES_LAYOUT)
    store.create(f"{folder_of(PROFILES, partition)}/{numbers.name}", content)
