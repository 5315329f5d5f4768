"""Many files into one: every row, in order, in memory that does not grow with the partition."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.memory import SYNC, MemoryStore

from pipeline.compaction import merging
from pipeline.compaction.merging import merge
from pipeline.compaction.ranges import Part, Sizes, agree, next_range, read_plans
from schemas.datasets import EVENTS, RAW, Dataset
from schemas.errors import StoreError
from schemas.values import Partition
from transforms.stores.local import LocalStore
from transforms.stores.parquet import EVENTS_LAYOUT, RAW_LAYOUT, encode, read_ranges
from transforms.stores.tree import Numbered

PARTITION = Partition("111122223333", "2024-03-05")


def rows(dataset: Dataset, number: int, times: list[int], text: str = "x") -> pa.Table:
    """Rows with these times (seconds), of one commit; the longest column holds `text`."""
    made: dict[str, Any] = {
        "event_id": [f"{number:04d}-{n:06d}" for n in range(len(times))],
        "event_time": pa.array(np.array(times, np.int64) * 1_000_000).cast(pa.timestamp("us", tz="UTC")),
        "raw_json" if dataset is RAW else "user_agent": [f"{text}{n}" for n in range(len(times))],
        "commit_number": pa.array([number] * len(times), pa.int32()),
    }
    columns = []
    for field in dataset.arrow:
        if field.name in made:
            columns.append(pa.chunked_array([pa.array(made[field.name], field.type)]))
        elif field.nullable:
            columns.append(pa.chunked_array([pa.nulls(len(times), field.type)]))
        else:
            columns.append(pa.chunked_array([pa.array([_some(field.type)] * len(times)).cast(field.type)]))
    return pa.table(columns, schema=dataset.arrow)


def _some(kind: pa.DataType) -> Any:
    return [] if pa.types.is_list(kind) else "s" if pa.types.is_string(kind) else 0


def merged(tmp_path: Path, dataset: Dataset, tables: list[pa.Table], pool: Any = SYNC) -> pa.Table:
    layout = RAW_LAYOUT if dataset is RAW else EVENTS_LAYOUT
    files = {f"p/{n:08d}.parquet": encode(table, layout) for n, table in enumerate(tables, 1)}
    parts = [(path, len(content)) for path, content in files.items()]
    count = merge(MemoryStore(files), dataset, parts, tmp_path / "target.parquet", pool)
    found = pq.read_table(tmp_path / "target.parquet")
    assert count == len(found)
    assert [it.name for it in tmp_path.iterdir()] == ["target.parquet"]
    return found


@pytest.mark.parametrize(("most_rows", "most_bytes"), [(65_536, 24 << 20), (7, 24 << 20), (65_536, 2_000)])
def test_rows_are_sorted_by_time_and_id_through_any_number_of_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most_rows: int, most_bytes: int
) -> None:
    monkeypatch.setattr(merging, "_GROUP_ROWS", most_rows)
    monkeypatch.setattr(merging, "_GROUP_BYTES", most_bytes)
    random = np.random.default_rng(3)
    tables = [rows(EVENTS, n, sorted(random.integers(0, 40, 50).tolist())) for n in range(1, 9)]
    tables.append(rows(EVENTS, 9, []))

    with ThreadPoolExecutor(4) as pool:
        found = merged(tmp_path, EVENTS, tables, pool)

    wanted = pa.concat_tables(tables).sort_by([("event_time", "ascending"), ("event_id", "ascending")])
    assert found.equals(wanted)


def test_raw_records_stay_in_the_order_of_their_commits_and_the_footer_tells_their_times(tmp_path: Path) -> None:
    tables = [rows(RAW, 1, [50, 40]), rows(RAW, 2, [10]), rows(RAW, 3, [60])]

    found = merged(tmp_path, RAW, tables)

    assert found.equals(pa.concat_tables(tables))
    with pa.OSFile(str(tmp_path / "target.parquet")) as file:
        assert read_ranges(file) == {1: (10_000_000, 60_000_000)}


def test_a_column_that_older_files_lack_is_null(tmp_path: Path) -> None:
    old = rows(EVENTS, 1, [1]).drop_columns(["user_agent"])

    found = merged(tmp_path, EVENTS, [old, rows(EVENTS, 2, [2], "agent ")])

    assert found["user_agent"].to_pylist() == [None, "agent 0"]


def test_memory_does_not_grow_with_the_partition(tmp_path: Path) -> None:
    """1.2 GB of rows through less than a third of it, in a process of its own."""
    store = LocalStore(tmp_path / "root")
    table = rows(EVENTS, 1, list(range(10_000)), "a long text " * 250)
    content = encode(table, EVENTS_LAYOUT)
    parts = []
    for n in range(1, 41):
        parts.append((f"p/{n:08d}.parquet", len(content)))
        store.create(parts[-1][0], content)
    script = f"""
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pipeline.compaction.merging import merge
from schemas.datasets import EVENTS
from transforms.stores.local import LocalStore
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
with ThreadPoolExecutor(16) as pool:
    count = merge(LocalStore(Path({str(store.root)!r})), EVENTS, {parts!r}, Path({str(tmp_path / "target")!r}), pool)
print(count, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    count, grown_kb = map(int, done.stdout.split())
    assert count == 400_000
    assert 40 * table.nbytes > 1_200e6
    assert grown_kb * 1024 < 400e6


def test_ranges_end_when_they_are_large_enough_and_before_they_are_too_large() -> None:
    sizes = Sizes(least=100, most=300)

    def chosen(*given: int) -> Numbered | None:
        return next_range([Part(Numbered(n, n), size) for n, size in enumerate(given, 1)], sizes)

    assert chosen() is None
    assert chosen(10) is None
    assert chosen(500) is None
    assert chosen(10, 20) == Numbered(1, 2)
    assert chosen(10, 90, 10) == Numbered(1, 2)
    assert chosen(50, 280, 10) == Numbered(1, 1)
    assert chosen(500, 10) == Numbered(1, 1)
    assert chosen(50, 40, 200, 10) == Numbered(1, 3)


def test_the_plan_that_came_first_holds() -> None:
    store = MemoryStore()
    assert agree(store, PARTITION, Numbered(1, 5), 1) == Numbered(1, 5)
    assert agree(store, PARTITION, Numbered(1, 7), 1) == Numbered(1, 5)
    assert agree(store, PARTITION, Numbered(6, 6), 6) == Numbered(6, 6)
    assert read_plans(store, PARTITION) == [Numbered(1, 5), Numbered(6, 6)]


def test_a_plan_that_reaches_back_and_one_that_does_not_are_the_same_place_in_the_log_of_plans() -> None:
    """Were they not, 1 to 7 and 6 to 9 could both be published, with 6 and 7 in both."""
    store = MemoryStore()
    agree(store, PARTITION, Numbered(1, 5), 1)
    assert agree(store, PARTITION, Numbered(1, 7), 6) == Numbered(1, 7)
    assert agree(store, PARTITION, Numbered(6, 9), 6) == Numbered(1, 7)
    assert read_plans(store, PARTITION, [Numbered(1, 5)]) == [Numbered(1, 7)]
    assert read_plans(store, PARTITION, [Numbered(1, 7)]) == []


def test_late_parts_are_merged_with_the_ranges_before_them_that_are_not_much_larger() -> None:
    sizes = Sizes(least=1_000, most=3_000)

    def chosen(before: list[tuple[int, int, int]], *given: int) -> Numbered | None:
        live = [Part(Numbered(first, last), size) for first, last, size in before]
        start = live[-1].numbers.last + 1
        return next_range([Part(Numbered(n, n), size) for n, size in enumerate(given, start)], sizes, live)

    assert chosen([(1, 5, 40)], 10) == Numbered(1, 6)
    assert chosen([(1, 5, 41)], 10) is None
    assert chosen([(1, 5, 41)], 10, 10) == Numbered(1, 7)
    assert chosen([(1, 5, 400), (6, 7, 90)], 10, 20) == Numbered(1, 9)
    assert chosen([(1, 5, 500), (6, 7, 90)], 10, 20) == Numbered(6, 9)
    assert chosen([(1, 5, 1_001)], 900, 100) == Numbered(6, 7)
    assert chosen([(1, 5, 40), (6, 6, 10)], 10) is None


def test_a_late_file_each_day_leaves_few_files_and_is_written_few_times() -> None:
    sizes = Sizes(least=100_000, most=400_000)
    live: list[Part] = [Part(Numbered(1, 40), 40_000)]
    lone: list[Part] = []
    written = 0
    for number in range(41, 1_041):
        lone.append(Part(Numbered(number, number), 10))
        if wanted := next_range(lone, sizes, live):
            held = [it for it in (*live, *lone) if wanted.covers(it.numbers)]
            total = sum(it.size for it in held)
            written += total
            live = [it for it in live if it not in held] + [Part(wanted, total)]
            lone = []
        assert len(live) + len(lone) < 10
        spans = [it.numbers for it in (*live, *lone)]
        assert all(one.last + 1 == two.first for one, two in pairwise(spans))

    assert written < 10 * 1_000 * 10 + 40_000


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"last": 0}', b'{"first": 2, "last": 3}', b"[]", b"7", b'{"last": null}']
)
def test_a_plan_that_is_none_is_named(content: bytes) -> None:
    path = f".trailweave/compaction/{PARTITION.path}/00000001.json"
    with pytest.raises(StoreError, match=f"memory:{path} is no plan of a compaction"):
        read_plans(MemoryStore({path: content}), PARTITION)
