"""A slice's new events become the next raw file of each partition; the rest is counted and dropped."""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.memory import SYNC, MemoryStore
from support.records import ACCOUNT, DAY, NOW, OTHER, event_id, exploded, record

from schemas.datasets import EVENTS, RAW
from schemas.values import ObjectPart, Partition, Slice
from transforms.commit_raw import commit_raw, left_behind
from transforms.normalize_records import normalize_records
from transforms.stores.commit_log import CommitLog
from transforms.stores.local import LocalStore
from transforms.stores.parquet import RAW_LAYOUT, encode, read_table
from transforms.stores.side_by_side import SideBySide
from transforms.stores.tree import path_of
from transforms.write_parquet import write_parquet

PARTITION = Partition(ACCOUNT, DAY)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def log(store: MemoryStore) -> CommitLog:
    return CommitLog(store, EVENTS)


def counts(part: ObjectPart) -> tuple[int, int, int, int]:
    return part.records, part.written, part.duplicates, part.expired


def test_repeats_in_the_slice_and_of_earlier_commits_are_dropped_and_counted(log: CommitLog) -> None:
    commit_raw(exploded([record("a"), record("b")]), log, SYNC, NOW)
    committed, (done,) = commit_raw(exploded([record(name) for name in "bccad"]), log, SYNC, NOW)
    assert committed.records is not None
    assert sorted(committed.records["event_id"].to_pylist()) == sorted([event_id("c"), event_id("d")])
    assert counts(committed.objects[0]) == (5, 2, 3, 0)
    assert (done.number, done.matched) == (2, {1})


def test_each_partition_has_a_commit_of_its_own_and_its_range_of_rows(log: CommitLog, store: MemoryStore) -> None:
    days = ["2024-03-06", "2024-03-05", "2024-03-05", "1970-01-01"]
    records = [record(n, day=day, account=account) for n, day in enumerate(days) for account in (OTHER, ACCOUNT)]
    for number, it in enumerate(records):
        it["eventID"] = event_id(f"e{number}")
    committed, done = commit_raw(exploded(records), log, SYNC, NOW)
    assert [(it.partition.account, it.partition.day, it.number, it.start, it.length) for it in committed.commits] == [
        (ACCOUNT, "1970-01-01", 1, 0, 1),
        (ACCOUNT, "2024-03-05", 1, 1, 2),
        (ACCOUNT, "2024-03-06", 1, 3, 1),
        (OTHER, "1970-01-01", 1, 4, 1),
        (OTHER, "2024-03-05", 1, 5, 2),
        (OTHER, "2024-03-06", 1, 7, 1),
    ]
    assert len(done) == 6
    for it in committed.commits:
        held = read_table(store.open(path_of(RAW, it.partition, it.number)))
        assert committed.records is not None
        mine = committed.records.slice(it.start, it.length)
        assert sorted(held["event_id"].to_pylist()) == sorted(mine["event_id"].to_pylist())
        assert set(held["commit_number"].to_pylist()) == {1}


def test_a_slice_without_records_is_passed_on(log: CommitLog) -> None:
    empty = Slice()
    assert commit_raw(empty, log, SYNC) == (empty, [])


def test_a_failing_store_fails_the_slice_and_a_second_try_commits_once(log: CommitLog, store: MemoryStore) -> None:
    honest, failures = store.create, [True]

    def create(path: str, content: bytes) -> bool:
        if failures.pop() if failures else False:
            raise ConnectionError("gone")
        return honest(path, content)

    store.create = create  # type: ignore[method-assign]
    filled = exploded([record("a"), record("b", account=OTHER)])
    with pytest.raises(ConnectionError, match="gone"):
        commit_raw(filled, log, SYNC, NOW)
    committed, _ = commit_raw(filled, log, SYNC, NOW)
    assert len([path for path in store.files if path.startswith(RAW.name)]) == 2
    assert committed.objects[0].written == 2 - committed.objects[0].duplicates


def test_what_is_left_behind_is_the_writers_own_slice_again(log: CommitLog, store: MemoryStore) -> None:
    """The same rows in the same order, so that the same events are derived from it."""
    records = [
        record(n, time=f"1{n % 9}:00:0{n % 7}", eventID=None if n % 3 == 0 else event_id(n)) for n in range(40)
    ]
    own, _ = commit_raw(exploded(records), log, SYNC, NOW)
    _, done = commit_raw(exploded(records[:1]), log, SYNC, NOW + timedelta(days=1))
    (behind,) = left_behind(log, done)
    assert behind.commits == own.commits
    assert behind.receipts == behind.objects == behind.dead_letters == ()
    mine, theirs = normalize_records(own).events, normalize_records(behind).events
    assert mine is not None
    assert theirs is not None
    assert mine.to_pylist() == theirs.to_pylist()
    write_parquet(normalize_records(behind), store, log, SYNC)
    assert [*left_behind(log, done)] == []


def test_rows_are_sorted_by_time_and_ids_agree_with_their_digests(log: CommitLog) -> None:
    names = [*"hgfedcba"]
    committed, _ = commit_raw(
        exploded([record(it, time=f"0{n}:00:00") for n, it in enumerate(names)]), log, SYNC, NOW
    )
    assert committed.records is not None
    assert committed.records["event_id"].to_pylist() == [event_id(it) for it in names]


def test_ids_of_any_form_are_compared_whole(log: CommitLog) -> None:
    odd = ["x", "X" * 36, event_id("a").upper(), event_id("a"), event_id("a").replace("-", "_"), "é", "x" * 5_000]
    first, _ = commit_raw(exploded([record("r", eventID=it) for it in odd]), log, SYNC, NOW)
    again, _ = commit_raw(exploded([record("r", eventID=it) for it in reversed(odd)]), log, SYNC, NOW)
    assert first.objects[0].written == again.objects[0].duplicates == len(odd)


def test_many_threads_over_one_log_commit_each_event_once(log: CommitLog, store: MemoryStore) -> None:
    slices = [exploded([record(n, day=f"2024-03-0{1 + n % 4}") for n in range(k, k + 12)]) for k in range(0, 40, 2)]
    with ThreadPoolExecutor(8) as workers, SideBySide(4, "commit") as pool:
        done = [*workers.map(lambda it: commit_raw(it, log, pool, NOW), slices)]
    held: Counter[str] = Counter()
    for path in store.files:
        held.update(read_table(store.open(path))["event_id"].to_pylist())
    assert held == Counter({event_id(n): 1 for n in range(50)})
    assert sum(it.objects[0].written for it, _ in done) == 50


FILES = 5_000
SLOT_US = 86_400_000_000 // FILES
MIDNIGHT = datetime(2024, 3, 5, tzinfo=UTC)


class Counting:
    """A local store that counts what is opened and listed."""

    def __init__(self, store: LocalStore) -> None:
        self._store, self.opened, self.calls = store, [], Counter()  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        self.calls[name] += 1
        return getattr(self._store, name)

    def open(self, path: str) -> pa.NativeFile:
        self.opened.append(path)
        return self._store.open(path)


def at(number: int) -> str:
    """A time of day in the slot of a commit."""
    moment = MIDNIGHT + timedelta(microseconds=(number - 1) * SLOT_US + SLOT_US // 2)
    return moment.strftime("%H:%M:%S.%f")


def micros(number: int) -> int:
    return int(MIDNIGHT.timestamp()) * 1_000_000 + (number - 1) * SLOT_US


def file_of(number: int) -> bytes:
    """A real raw file of one event, its footer telling of the 64 commits before it."""
    store = MemoryStore()
    commit_raw(exploded([record(f"old{number}", time=at(number))]), CommitLog(store, EVENTS), SYNC, NOW)
    (content,) = store.files.values()
    table = read_table(pa.BufferReader(content))
    place = table.schema.get_field_index("commit_number")
    table = table.set_column(place, RAW.arrow.field("commit_number"), pa.array([number], pa.int32()))
    told = {n: (micros(n), micros(n + 1) - 1) for n in range(max(1, number - 64), number + 1)}
    return encode(table, RAW_LAYOUT, told)


@pytest.fixture
def busy(tmp_path: Path) -> Counting:
    """A partition of 5,000 commits, complete. Files whose footers a cold start does not need are links to one."""
    folders = [tmp_path / dataset.name / PARTITION.path for dataset in (RAW, EVENTS)]
    for folder in folders:
        folder.mkdir(parents=True)
    template = tmp_path / "template"
    template.write_bytes(file_of(1))
    for number in range(1, FILES + 1):
        path = folders[0] / f"{number:08d}.parquet"
        if number % 65 in (FILES % 65, (FILES + 1) % 65) or number == 4_321:
            path.write_bytes(file_of(number))
        else:
            os.link(template, path)
        os.link(template, folders[1] / path.name)
    return Counting(LocalStore(tmp_path))


def test_a_cold_start_and_the_next_commit_in_a_partition_of_5000_commits_open_few_files(busy: Counting) -> None:
    store: Any = busy
    log = CommitLog(store, EVENTS)
    filled = exploded([record("old4321", time=at(4_321)), record("new", time=at(4_321))])
    started = time.perf_counter()
    committed, (done,) = commit_raw(filled, log, SYNC, NOW)
    cold_s = time.perf_counter() - started

    assert (done.number, done.matched) == (FILES + 1, {4_321})
    assert counts(committed.objects[0]) == (2, 1, 1, 0)
    assert len(busy.opened) <= 80
    assert busy.calls == Counter(names=2, create=1)
    assert [*left_behind(log, [done])] == []

    opened, calls = len(busy.opened), busy.calls.total()
    started = time.perf_counter()
    committed, (done,) = commit_raw(exploded([record("next", time=at(4_321))]), log, SYNC, NOW)
    print(f"cold start and commit {cold_s:.3f} s, the next commit {time.perf_counter() - started:.3f} s")
    assert done.number == FILES + 2
    assert len(busy.opened) == opened
    assert busy.calls.total() == calls + 1


def test_the_footer_of_the_commit_after_5000_tells_of_the_64_before_it(busy: Counting) -> None:
    store: Any = busy
    commit_raw(exploded([record("new", time=at(10))]), CommitLog(store, EVENTS), SYNC, NOW)
    other = CommitLog(store, EVENTS)
    opened = len(busy.opened)
    commit_raw(exploded([record("other", time=at(20))]), other, SYNC, NOW)
    assert len(busy.opened) - opened <= 80
    ranges = other.of(PARTITION).files.ranges(0)
    assert len(ranges) == FILES + 2
    assert [n for n in range(1, FILES + 1) if ranges[n][0] != micros(n)] == []
