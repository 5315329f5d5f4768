"""Repair derives what a killed writer left underived; settings belong to the output root."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.memory import SYNC
from support.records import NOW, OTHER, exploded, record

from pipeline.upkeep.repair import repair
from schemas.datasets import DETECTIONS, EVENTS, RAW
from schemas.errors import ConfigError
from schemas.values import Partition
from transforms.commit_raw import commit_raw
from transforms.enrich_events import enrich_events
from transforms.enrichment.book import NO_FILES
from transforms.normalize_records import normalize_records
from transforms.stores.commit_log import CommitLog
from transforms.stores.files import Output
from transforms.stores.local import LocalStore
from transforms.stores.parquet import RAW_LAYOUT, encode, read_table
from transforms.stores.settings import SETTINGS, Settings, agree, read_settings
from transforms.stores.tree import list_partitions
from transforms.write_parquet import write_parquet

NORMALIZED = Settings()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def output(store: LocalStore) -> Output:
    return Output(str(store.root))


def events_of(store: LocalStore) -> dict[str, list[dict[str, Any]]]:
    found = {}
    for path in sorted((store.root / EVENTS.name).rglob("*.parquet")):
        name = str(path.relative_to(store.root))
        with store.open(name) as file:
            found[name] = read_table(file).to_pylist()
    return found


def written(store: LocalStore, *, complete: bool) -> None:
    """Five commits in four partitions; the events of all or of none."""
    log = CommitLog(store, EVENTS)
    for number in range(3):
        account = OTHER if number % 2 else None
        records = [record(n, day=f"2024-03-0{4 + n % 2}", account=account) for n in range(number, number + 4)]
        committed, _ = commit_raw(exploded(records), log, SYNC, NOW)
        if complete:
            write_parquet(enrich_events(normalize_records(committed), NO_FILES), store, log, SYNC)


def test_what_is_missing_is_derived_as_its_writer_would_have(store: LocalStore, tmp_path: Path) -> None:
    written(store, complete=False)
    whole = LocalStore(tmp_path / "whole")
    written(whole, complete=True)
    count = len([*(store.root / RAW.name).rglob("*.parquet")])
    seen: list[None] = []
    assert repair(output(store), NORMALIZED, on_commit=lambda: seen.append(None)) == count == len(seen)
    assert events_of(store) == events_of(whole)
    assert count == len(events_of(store)) > 4


def test_repeats_find_nothing_and_change_nothing(store: LocalStore) -> None:
    written(store, complete=True)
    victim = next(iter(events_of(store)))
    before = events_of(store)
    (store.root / victim).unlink()
    assert repair(output(store), NORMALIZED) == 1
    times = {path: (store.root / path).stat().st_mtime_ns for path in before}
    assert repair(output(store), NORMALIZED) == 0
    assert repair(output(store), NORMALIZED) == 0
    assert events_of(store) == before
    assert times == {path: (store.root / path).stat().st_mtime_ns for path in before}


def test_a_start_looks_at_recent_days_only(store: LocalStore) -> None:
    written(store, complete=False)
    days = [it.day for it in list_partitions(store, RAW)]
    assert set(days) == {"2024-03-04", "2024-03-05"}
    recent = repair(output(store), NORMALIZED, since="2024-03-05")
    assert recent > 0
    assert {Path(path).parent.name for path in events_of(store)} == {"day=2024-03-05"}
    assert repair(output(store), NORMALIZED) > 0


def test_with_normalization_off_nothing_is_missing(store: LocalStore) -> None:
    written(store, complete=False)
    assert repair(output(store), Settings(normalize=False, sessions=False, detections=False)) == 0
    assert events_of(store) == {}


def test_with_rules_over_raw_records_alone_their_hits_mark_completeness(store: LocalStore) -> None:
    written(store, complete=False)
    settings = Settings(normalize=False, sessions=False)
    count = len([*(store.root / RAW.name).rglob("*.parquet")])
    assert repair(output(store), settings) == count
    assert repair(output(store), settings) == 0
    assert len([*(store.root / DETECTIONS.name).rglob("*.parquet")]) == count
    assert events_of(store) == {}


def test_commits_that_a_range_covers_are_not_derived(store: LocalStore) -> None:
    """A compacted range, and a void file that a killed writer left under it."""
    log = CommitLog(store, EVENTS)
    for name in "ab":
        committed, _ = commit_raw(exploded([record(name)]), log, SYNC, NOW)
        write_parquet(enrich_events(normalize_records(committed), NO_FILES), store, log, SYNC)
    (partition,) = list_partitions(store, RAW)
    for dataset in (RAW, EVENTS):
        folder = f"{dataset.name}/{partition.path}"
        with store.open(f"{folder}/00000001.parquet") as file:
            store.create(f"{folder}/00000001-00000002.parquet", encode(read_table(file), RAW_LAYOUT))
        (store.root / folder / "00000001.parquet").unlink()
    (store.root / EVENTS.name / partition.path / "00000002.parquet").unlink()
    assert repair(output(store), NORMALIZED) == 0


def test_an_empty_root_needs_no_repair(store: LocalStore) -> None:
    assert repair(output(store), NORMALIZED) == 0


def test_folders_of_others_are_left_alone(store: LocalStore) -> None:
    written(store, complete=False)
    for path in (
        "aws_s3_raw/readme/x",
        "aws_s3_raw/account_id=1/notes/x",
        "aws_s3_raw/account_id=1/day=2024-03-05/x.txt",
    ):
        store.create(path, b"")
    assert Partition("1", "2024-03-05") in list_partitions(store, RAW)
    assert repair(output(store), NORMALIZED) > 0


def test_the_first_writer_decides_the_settings_and_the_same_ones_agree(store: LocalStore) -> None:
    assert read_settings(store) is None
    agree(store, Settings(normalize=False))
    agree(store, Settings(normalize=False))
    assert read_settings(store) == Settings(normalize=False)


@pytest.mark.parametrize("there", [True, False])
def test_other_settings_are_refused_with_both_values(store: LocalStore, there: bool) -> None:
    agree(store, Settings(normalize=there))
    with pytest.raises(ConfigError, match=f"normalize is {there} there and {not there} here; use the same options"):
        agree(store, Settings(normalize=not there))
    assert read_settings(store) == Settings(normalize=there)


def test_a_writer_that_begins_at_the_same_moment_is_found(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = LocalStore.create

    def create(self: LocalStore, path: str, content: bytes) -> bool:
        honest(self, path, b'{"normalize": false}')
        return honest(self, path, content)

    monkeypatch.setattr(LocalStore, "create", create)
    with pytest.raises(ConfigError, match="normalize is False there and True here"):
        agree(store, Settings())


@pytest.mark.parametrize("content", [b"", b"nonsense", b'{"unknown": 1}', b"[]"])
def test_settings_that_cannot_be_read_are_told_with_their_path(store: LocalStore, content: bytes) -> None:
    store.create(SETTINGS, content)
    with pytest.raises(ConfigError, match=r"settings\.json holds settings that this version does not know"):
        read_settings(store)
