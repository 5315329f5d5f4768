"""What the log of a partition knows, above all when its cache is old: compaction and retention remove files."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.memory import SYNC, MemoryStore
from support.records import ACCOUNT, DAY, NOW, event_id, exploded, record

from schemas.datasets import EVENTS, RAW, Dataset
from schemas.values import Partition, Slice
from transforms.commit_raw import Committed, commit_raw, left_behind
from transforms.normalize_records import normalize_records
from transforms.stores import commit_log as module
from transforms.stores.commit_log import FRESH_S, CommitLog
from transforms.stores.parquet import EVENTS_LAYOUT, RAW_LAYOUT, encode, read_ranges, read_table
from transforms.stores.tree import Numbered, folder_of, list_files, path_of
from transforms.write_parquet import write_parquet

PARTITION = Partition(ACCOUNT, DAY)
HOUR = 3_600.0


class Clock:
    """A clock that stands until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def log_of(store: MemoryStore, clock: Clock | None = None) -> CommitLog:
    return CommitLog(store, EVENTS, clock or Clock())


def commit(store: MemoryStore, log: CommitLog, *names: str, derive: bool = True) -> Committed:
    """Events by name through the commit, and, with `derive`, to their completeness marker."""
    committed, (done,) = commit_raw(exploded([record(name) for name in names]), log, SYNC, NOW)
    if derive:
        for each in [*left_behind(log, [done]), committed]:
            write_parquet(normalize_records(each), store, log, SYNC)
    return done


def paths(dataset: Dataset, *numbers: int) -> list[str]:
    return [path_of(dataset, PARTITION, number) for number in numbers]


def publish_range(store: MemoryStore, dataset: Dataset, first: int, last: int) -> None:
    """What compaction creates, removal of the parts apart."""
    parts = [read_table(store.open(path)) for path in paths(dataset, *range(first, last + 1))]
    layout = RAW_LAYOUT if dataset is RAW else EVENTS_LAYOUT
    name = Numbered(first, last).name
    assert store.create(f"{folder_of(dataset, PARTITION)}/{name}", encode(pa.concat_tables(parts), layout))


def remove(store: MemoryStore, dataset: Dataset, *numbers: int) -> None:
    for path in paths(dataset, *numbers):
        del store.files[path]


def compact(store: MemoryStore, first: int, last: int) -> None:
    """Both datasets compacted, and the parts removed: an hour has passed."""
    for dataset in (EVENTS, RAW):
        publish_range(store, dataset, first, last)
    for dataset in (EVENTS, RAW):
        remove(store, dataset, *range(first, last + 1))


def visible_ids(store: MemoryStore, dataset: Dataset) -> list[str]:
    """Event ids of a dataset as the views see them: without files that a range covers."""
    folder = folder_of(dataset, PARTITION)
    found: list[str] = []
    for file in list_files(store, dataset, PARTITION):
        found += read_table(store.open(f"{folder}/{file.name}"), ["event_id"])["event_id"].to_pylist()
    return sorted(found)


def ids(*names: str) -> list[str]:
    return sorted(event_id(name) for name in names)


def test_a_number_that_a_range_covers_is_void_and_its_events_are_committed_behind_the_range(
    store: MemoryStore, clock: Clock
) -> None:
    old = log_of(store, clock)
    commit(store, old, "a")
    other = log_of(store)
    for name in "bcd":
        commit(store, other, name)
    compact(store, 1, 4)
    clock.now = HOUR + 1

    done = commit(store, old, "x", "b")

    assert done.number == 5
    assert visible_ids(store, RAW) == visible_ids(store, EVENTS) == ids(*"abcdx")


def test_a_void_file_of_a_killed_writer_is_seen_by_nobody(store: MemoryStore) -> None:
    log = log_of(store)
    for name in "abc":
        commit(store, log, name)
    compact(store, 1, 3)
    void = exploded([record("x")])
    stale_store = MemoryStore()
    committed, _ = commit_raw(void, log_of(stale_store), SYNC, NOW)
    assert committed.commits[0].number == 1
    store.files[path_of(RAW, PARTITION, 2)] = stale_store.files[path_of(RAW, PARTITION, 1)]

    assert commit(store, log_of(store), "x").number == 4
    assert visible_ids(store, RAW) == ids(*"abcx")


def test_an_old_cache_forgets_the_parts_of_a_range_that_begins_with_the_same_number(
    store: MemoryStore, clock: Clock
) -> None:
    log = log_of(store, clock)
    commit(store, log, "a")
    commit(store, log, "a")  # the digests of the first file alone are in memory now
    other = log_of(store)
    commit(store, other, "b")
    commit(store, other, "c")
    compact(store, 1, 3)
    clock.now = HOUR + 1

    done = commit(store, log, "b", "c")

    assert done.number is None
    assert visible_ids(store, RAW) == ids(*"abc")


def test_an_old_cache_does_not_open_files_that_compaction_removed(store: MemoryStore, clock: Clock) -> None:
    writer = log_of(store)
    for name in "abc":
        commit(store, writer, name)
    log = log_of(store, clock)
    commit(store, log, "z")  # knows the ranges of the others
    log._digests.clear()
    compact(store, 1, 4)
    clock.now = HOUR + 1

    assert commit(store, log, "a", "c").number is None
    assert visible_ids(store, RAW) == visible_ids(store, EVENTS) == ids(*"abcz")


def test_conflicts_do_not_keep_a_cache_young_for_ever(store: MemoryStore, clock: Clock) -> None:
    """A listing of what is new does not show that older files are gone."""
    log, other = log_of(store, clock), log_of(store)
    commit(store, log, "a")
    for step, name in enumerate("bcdef", 1):
        clock.now = step * (FRESH_S - 1)
        commit(store, other, name)
        commit(store, log, name.upper())  # finds its number taken
        if name == "c":
            compact(store, 1, 4)
    log._digests.clear()

    assert commit(store, log, "a", "b").number is None


def test_a_matched_commit_whose_marker_was_compacted_is_complete(store: MemoryStore, clock: Clock) -> None:
    """Derived datasets are compacted before raw: for a while the raw part stands, its marker's part does not."""
    log = log_of(store, clock)
    commit(store, log, "a", derive=False)
    other = log_of(store)
    commit(store, other, "a")
    commit(store, other, "b")
    publish_range(store, EVENTS, 1, 2)
    remove(store, EVENTS, 1, 2)
    clock.now = HOUR

    commit(store, log, "a")

    assert paths(EVENTS, 1)[0] not in store.files
    assert visible_ids(store, EVENTS) == ids("a", "b")


def test_a_writer_that_lists_late_does_not_forget_who_came_after_it(store: MemoryStore, clock: Clock) -> None:
    """Between our create and the listing that an old cache needs, another writer made the next commit."""
    log, other = log_of(store, clock), log_of(store)
    commit(store, log, "a")
    clock.now = HOUR
    honest = store.create

    def create(path: str, content: bytes) -> bool:
        created = honest(path, content)
        if path == path_of(RAW, PARTITION, 2):
            store.create = honest  # type: ignore[method-assign]
            commit(store, other, "c", derive=False)
            clock.now += HOUR  # suspended meanwhile
        return created

    store.create = create  # type: ignore[method-assign]
    assert commit(store, log, "b", derive=False).number == 2
    assert commit(store, log, "d", derive=False).number == 4


def test_a_partition_emptied_by_retention_counts_its_events_as_expired(store: MemoryStore) -> None:
    first = log_of(store)
    commit(store, first, "a")
    remove(store, RAW, 1)

    committed, (done,) = commit_raw(exploded([record("a"), record("b")]), log_of(store), SYNC, NOW)

    assert done.is_expired
    assert done.number is None
    assert committed.commits == ()
    assert (committed.objects[0].expired, committed.objects[0].written, committed.objects[0].duplicates) == (2, 0, 0)
    assert paths(RAW, 2)[0] not in store.files
    assert len(committed.records) == 0  # type: ignore[arg-type]


def test_an_old_cache_learns_that_retention_has_emptied_the_partition(store: MemoryStore, clock: Clock) -> None:
    log = log_of(store, clock)
    commit(store, log, "a")
    remove(store, RAW, 1)
    clock.now = HOUR

    assert commit(store, log, "b").is_expired
    assert [path for path in store.files if path.startswith(RAW.name)] == []


def test_a_commit_is_complete_in_no_cache_that_has_not_listed_its_partition(store: MemoryStore) -> None:
    """The cache of a partition may be dropped, being one of thousands, between the commit and the derivation."""
    commit(store, log_of(store), "a", derive=False)
    log = log_of(store)
    _, done = commit_raw(exploded([record("a")]), log, SYNC, NOW)
    log._known.clear()

    assert [it.commits[0].number for it in left_behind(log, done)] == [1]


def test_each_footer_repeats_the_ranges_of_the_64_commits_before_it(store: MemoryStore) -> None:
    log = log_of(store)
    for number in range(70):
        commit(store, log, f"e{number}", derive=False)
    told: dict[int, Any] = read_ranges(store.open(path_of(RAW, PARTITION, 70)))
    assert sorted(told) == [*range(6, 71)]


def test_with_normalization_off_a_commit_is_complete_by_itself(store: MemoryStore) -> None:
    log = CommitLog(store, None)
    filled: Slice = exploded([record("a")])
    commit_raw(filled, log, SYNC, NOW)
    _, done = commit_raw(filled, log, SYNC, NOW)
    assert done[0].matched == {1}
    assert [*left_behind(log, done)] == []


def on_days(days: range, *names: str) -> Slice:
    """Events by name on each of some days of January 2026, each day a partition of its own."""
    return exploded(
        [record(f"{name}{day}", eventTime=f"2026-01-{day:02}T01:00:00Z") for day in days for name in names]
    )


def test_a_process_that_runs_for_months_forgets_the_partitions_that_it_no_longer_writes(
    store: MemoryStore, clock: Clock
) -> None:
    log = log_of(store, clock)
    for day in range(1, 29):
        commit_raw(on_days(range(day, day + 1), "a"), log, SYNC, NOW)
        clock.now += 24 * HOUR

    assert [it.day for it in log._known] == ["2026-01-28"]


def test_what_a_process_remembers_is_bounded(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forgetting costs a listing, and nothing else: what is delivered again is still known."""
    monkeypatch.setattr(module, "_MAX_BYTES", 8 * module._PARTITION_BYTES)
    monkeypatch.setattr(module, "_MAX_DIGESTS", 3 * (1 + module._DIGESTS_A_FILE))
    log = log_of(store)
    for day in range(1, 29):
        for name in "ab":
            commit_raw(on_days(range(day, day + 1), name), log, SYNC, NOW)
        assert len(log._known) < 8
        assert log._bytes == sum(it.counted for it in log._known.values())
        assert len(log._digests) <= 3

    again, _ = commit_raw(on_days(range(1, 29), "a", "b"), log, SYNC, NOW)
    assert again.records is not None
    assert len(again.records) == 0


def quiet_accounts(count: int) -> list[Partition]:
    return [Partition(f"{number:012d}", DAY) for number in range(count)]


def visit(log: CommitLog, partition: Partition, number: int) -> None:
    """One commit of two events, the file's content apart."""
    known = log.of(partition)
    digests = np.full((2, 2), number, np.uint64)
    with known.lock:
        held = log.snapshot(partition, known, digests, (number, number))
        assert held.highest == number - 1
        assert log.create(partition, known, number, b"", digests, (number, number))
    log.completed(partition, number)


def test_ten_thousand_accounts_are_listed_once(store: MemoryStore) -> None:
    log = log_of(store)
    for number in (1, 2):
        for partition in quiet_accounts(10_000):
            visit(log, partition, number)

    assert store.calls == {"names": 2 * 10_000, "create": 2 * 10_000}


def test_a_day_of_ten_thousand_accounts_stays_in_memory_which_is_what_the_bound_counts() -> None:
    """A commit every five minutes of the day, of each account; measured on one in twenty of them."""
    accounts, commits = 500, 288
    store = MemoryStore()
    store.create = lambda *_: True  # type: ignore[method-assign]
    log = log_of(store)
    tracemalloc.start()
    try:
        for partition in quiet_accounts(accounts):
            known = log.of(partition)
            log.refresh(partition, known)
            for number in range(1, commits + 1):
                with known.lock:
                    known.files.append(Numbered(number, number), (number, number))
                    log._count(partition, known)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(log._known) == accounts
    assert taken <= log._bytes
    assert log._bytes * (10_000 / accounts) < module._MAX_BYTES


def test_memory_is_bounded_however_many_accounts_there_are(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MAX_BYTES", 1_000_000)
    log = log_of(store)
    tracemalloc.start()
    try:
        for partition in quiet_accounts(3_000):
            log.refresh(partition, log.of(partition))
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert 900 <= len(log._known) <= 1_000
    assert taken < 1_000_000


def test_a_cache_that_has_grown_old_is_listed_again_and_no_file_is_opened_again(
    store: MemoryStore, clock: Clock
) -> None:
    log = log_of(store, clock)
    for name in "abc":
        commit(store, log, name)
    clock.now = HOUR
    store.calls.clear()

    commit(store, log, "d")

    assert store.calls == {"names": 2, "create": 2}
