"""Compaction over its real step functions, beside writers and repair, through every interleaving and every hour.

Its processes compact while others write: that a partition is quiet only saves work.
"""

from __future__ import annotations

import pytest
from model.commit_model import Compactor, Message, Model, Protocol, explored
from model.explore import Violation

from pipeline.compaction import compact as compaction
from transforms.stores import commit_log
from transforms.stores.settings import Settings

A, B, C, D, Z = (Message(name, (name,)) for name in "abcdz")
BC = Message("bc", ("b", "c"))
ONCE, TWICE = Compactor(passes=1), Compactor(passes=2)


def test_a_compactor_that_is_killed_anywhere_and_begins_anew_loses_and_doubles_nothing() -> None:
    assert explored(Model({}, before=(A, B), compactors=(Compactor(3, faults=1),), hours=1)) >= 2_000


def test_two_compactors_at_once_publish_each_row_once() -> None:
    assert explored(Model({}, before=(A, B), compactors=(ONCE, ONCE))) >= 1_000


def test_a_writer_beside_a_compactor_finds_what_was_compacted_under_its_cache() -> None:
    assert explored(Model({"A": (BC,)}, before=(A, B), compactors=(TWICE,), hours=1, faults=(0,))) >= 20_000


def test_a_commit_that_nobody_derived_is_completed_by_repair_before_it_is_compacted() -> None:
    model = Model({}, before=(A, B), underived=(C,), compactors=(TWICE,), hours=1, repairs=True)
    assert explored(model) >= 500


def test_a_commit_that_nobody_derived_is_completed_by_a_writer_before_it_is_compacted() -> None:
    model = Model({"A": (C,)}, before=(A,), underived=(C,), compactors=(TWICE,), hours=1, faults=(0,))
    assert explored(model) >= 500


def test_a_cache_that_is_always_too_old_changes_nothing() -> None:
    model = Model({"A": (BC,)}, Protocol(is_clock_old=True), before=(A, B), compactors=(ONCE,), faults=(0,))
    assert explored(model) >= 500


def test_what_came_late_to_a_compacted_partition_is_merged_with_its_range() -> None:
    """Killed anywhere, and begun anew: the range of before and the wider one stand beside each other."""
    assert (
        explored(Model({}, before=(A, B), compacted=True, late=(C,), compactors=(Compactor(3, faults=1),), hours=1))
        >= 500
    )


def test_two_compactors_at_once_merge_what_came_late_once() -> None:
    assert explored(Model({}, before=(A, B), compacted=True, late=(C,), compactors=(ONCE, ONCE))) >= 500


def test_a_writer_beside_a_compactor_of_late_files_finds_what_was_compacted_twice() -> None:
    model = Model({"A": (BC,)}, before=(A, B), compacted=True, late=(C,), compactors=(TWICE,), hours=1, faults=(0,))
    assert explored(model) >= 5_000


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_two_compactors_of_late_files_of_which_one_removes_while_the_other_works() -> None:
    model = Model({}, before=(A, B), compacted=True, late=(C,), compactors=(TWICE, ONCE), hours=1)
    assert explored(model) >= 50_000


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_two_compactors_of_which_one_removes_while_the_other_works() -> None:
    assert explored(Model({}, before=(A, B), compactors=(TWICE, ONCE), hours=1)) >= 50_000


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_a_writer_with_a_warm_cache_beside_a_compactor() -> None:
    assert explored(Model({"A": (Z, BC)}, before=(A, B), compactors=(TWICE,), hours=1, faults=(0,))) >= 100_000


@pytest.mark.soak
@pytest.mark.timeout(1_800)
def test_a_writer_that_is_killed_beside_a_compactor() -> None:
    assert explored(Model({"A": (BC,)}, before=(A, B), compactors=(TWICE,), hours=1, faults=(1,))) >= 50_000


def test_the_model_catches_parts_removed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer whose cache ends before a part takes its number again, and believes that it has committed."""
    monkeypatch.setattr(compaction, "GRACE_S", 0.0)
    with pytest.raises(Violation, match=r"deleted while|dense"):
        Model({"A": (C,), "B": (D,)}, before=(A,), compactors=(TWICE,), faults=(0, 0)).explore()


def test_the_model_catches_a_cache_that_is_trusted_for_longer_than_parts_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit_log, "FRESH_S", 1e9)
    model = Model({"A": (C,), "B": (D,)}, before=(A,), compactors=(TWICE,), hours=1, faults=(0, 0))
    with pytest.raises(Violation, match=r"deleted while|dense"):
        model.explore()


def test_the_model_catches_incomplete_commits_compacted() -> None:
    raw_only = Compactor(1, settings=Settings(normalize=False, sessions=False, detections=False))
    model = Model({"A": (C,)}, before=(A,), underived=(C,), compactors=(raw_only,), faults=(0,))
    with pytest.raises(Violation, match="not in cloud_audit_logs"):
        model.explore()


def test_the_model_catches_parts_that_readers_count_beside_their_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """A range that covers only a part of what it holds leaves the rest to be counted twice."""
    honest = compaction.Numbered.name.fget
    assert honest is not None

    def short(file: compaction.Numbered) -> str:
        return honest(compaction.Numbered(file.first, file.last - 1) if file.last == file.first + 2 else file)

    monkeypatch.setattr(compaction.Numbered, "name", property(short))
    with pytest.raises(Violation, match="see events twice"):
        Model({}, before=(A, B, C), compactors=(ONCE,)).explore()
