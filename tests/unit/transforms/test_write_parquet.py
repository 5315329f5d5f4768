"""The events of each commit become a file under its number, which says that the commit is complete."""

from __future__ import annotations

import pytest
from support.memory import SYNC, MemoryStore
from support.records import ACCOUNT, DAY, NOW, OTHER, event_id, exploded, record

from schemas.datasets import EVENTS
from schemas.values import Partition, Slice
from transforms.commit_raw import commit_raw
from transforms.normalize_records import normalize_records
from transforms.stores.commit_log import CommitLog
from transforms.stores.parquet import read_table
from transforms.stores.tree import path_of
from transforms.write_parquet import write_parquet


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def log(store: MemoryStore) -> CommitLog:
    return CommitLog(store, EVENTS)


def derived(log: CommitLog, count: int = 40) -> Slice:
    records = [record(n, account=OTHER if n % 2 else ACCOUNT) for n in range(count)]
    return normalize_records(commit_raw(exploded(records), log, SYNC, NOW)[0])


@pytest.mark.parametrize("count", [2, 40])
def test_each_commit_has_its_own_rows_under_its_number(log: CommitLog, store: MemoryStore, count: int) -> None:
    whole = derived(log, count)
    assert write_parquet(whole, store, log, SYNC) is whole
    for account, first in ((ACCOUNT, 0), (OTHER, 1)):
        table = read_table(store.open(path_of(EVENTS, Partition(account, DAY), 1)))
        assert sorted(table["event_id"].to_pylist()) == sorted(event_id(n) for n in range(first, count, 2))
        assert set(table["recipient_account_id"].to_pylist()) == {account}
        assert set(table["commit_number"].to_pylist()) == {1}
        assert table.cast(EVENTS.arrow).schema.equals(EVENTS.arrow)


def test_a_file_that_is_there_is_success_and_stays(log: CommitLog, store: MemoryStore) -> None:
    whole = derived(log)
    path = path_of(EVENTS, Partition(ACCOUNT, DAY), 1)
    store.files[path] = b"of another writer"
    write_parquet(whole, store, log, SYNC)
    assert store.files[path] == b"of another writer"
    assert path_of(EVENTS, Partition(OTHER, DAY), 1) in store.files


def test_a_commit_is_complete_once_its_file_is_there(log: CommitLog, store: MemoryStore) -> None:
    whole = derived(log)
    partition = Partition(ACCOUNT, DAY)
    assert not log.is_complete(partition, log.of(partition), 1)
    write_parquet(whole, store, log, SYNC)
    checks = store.calls["exists"]
    assert log.is_complete(partition, log.of(partition), 1)
    assert store.calls["exists"] == checks


def test_a_store_that_fails_fails_the_slice_and_its_commit_is_not_complete(
    log: CommitLog, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = derived(log)

    def create(*_: object) -> bool:
        raise ConnectionError("gone")

    monkeypatch.setattr(store, "create", create)
    with pytest.raises(ConnectionError, match="gone"):
        write_parquet(whole, store, log, SYNC)
    partition = Partition(ACCOUNT, DAY)
    assert not log.is_complete(partition, log.of(partition), 1)


def test_a_slice_without_events_writes_nothing(log: CommitLog, store: MemoryStore) -> None:
    commit_raw(exploded([record("a")]), log, SYNC, NOW)
    again, _ = commit_raw(exploded([record("a")]), log, SYNC, NOW)
    before = dict(store.files)
    write_parquet(normalize_records(again), store, log, SYNC)
    write_parquet(Slice(), store, log, SYNC)
    assert store.files == before
