"""The commit protocol over its real step functions, through every interleaving and every crash.

A protocol with a part taken out must be caught: a model that cannot fail proves nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from model.commit_model import Message, Model, Protocol, explored
from model.explore import Violation

from schemas.datasets import EVENTS, RAW
from schemas.errors import AccessError
from transforms.stores import commit_log
from transforms.stores.commit_log import CommitLog
from transforms.stores.tree import list_files

AB = Message("ab", ("a", "b"))
BC = Message("bc", ("b", "c"))
OVERLAPPING = {"A": (AB,), "B": (BC,)}


def test_an_event_is_in_one_raw_file_whatever_the_interleaving_and_the_crashes() -> None:
    assert explored(Model(OVERLAPPING)) >= 10_000


def test_repair_beside_two_writers_changes_nothing() -> None:
    assert explored(Model(OVERLAPPING, repairs=True, faults=(1, 0))) >= 10_000


@pytest.mark.soak
def test_repair_beside_two_writers_that_both_crash_changes_nothing() -> None:
    assert explored(Model(OVERLAPPING, repairs=True)) >= 100_000


def test_a_read_that_fails_leaves_no_cache_that_misses_a_commit() -> None:
    assert explored(Model(OVERLAPPING, faults=(0, 1), reads_fail=True)) >= 3_000


def test_a_message_received_by_two_processes_at_once_is_kept_once() -> None:
    twice = Message("ab", ("a", "b"), bad=True)
    assert explored(Model({"A": (twice,), "B": (twice,)})) >= 5_000


def test_a_process_with_a_warm_cache_sees_the_others_commits() -> None:
    assert explored(Model({"A": (Message("z", ("z",)), AB), "B": (BC,)}, faults=(0, 0))) >= 500


@pytest.mark.soak
def test_a_process_with_a_warm_cache_sees_the_commits_of_one_that_crashes() -> None:
    workers = {"A": (Message("z", ("z",)), AB), "B": (Message("b", ("b",)),)}
    assert explored(Model(workers, faults=(0, 1), reads_fail=True)) >= 5_000


def test_a_cache_that_is_always_too_old_changes_nothing() -> None:
    assert explored(Model(OVERLAPPING, Protocol(is_clock_old=True), faults=(1, 0))) >= 4_000


def test_slices_over_two_partitions_commit_each_by_itself() -> None:
    both = Message("ax", ("a", "x@06"))
    assert explored(Model({"A": (both,), "B": (Message("x", ("x@06",)),)}, faults=(1, 0))) >= 2_000


def test_the_model_catches_overwriting() -> None:
    with pytest.raises(Violation, match=r"lost|deleted while"):
        Model(OVERLAPPING, overwrites=True).explore()


def test_the_model_catches_a_delete_before_the_write() -> None:
    with pytest.raises(Violation, match="is deleted while"):
        Model({"A": (AB,)}, Protocol(deletes_first=True)).explore()


def test_the_model_catches_that_each_batch_derives_only_its_own_commit() -> None:
    with pytest.raises(Violation, match="not in cloud_audit_logs"):
        Model(OVERLAPPING, Protocol(derives_matched=False)).explore()


def test_the_model_catches_a_marker_that_nobody_looks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CommitLog, "is_complete", lambda *_: True)
    with pytest.raises(Violation, match="not in cloud_audit_logs"):
        Model(OVERLAPPING).explore()


def test_the_model_catches_a_conflict_after_which_nothing_is_compared_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit_log, "found_in", lambda digests, _: np.zeros(len(digests), np.bool_))
    with pytest.raises(Violation, match="double"):
        Model(OVERLAPPING).explore()


def test_the_model_catches_a_lost_answer_taken_for_a_conflict_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    def skip_the_number(log: CommitLog, partition: Any, known: Any, *_: Any) -> bool:
        known.highest += 1
        return False

    honest = CommitLog.create

    def create(log: CommitLog, partition: Any, known: Any, *rest: Any) -> bool:
        return honest(log, partition, known, *rest) or skip_the_number(log, partition, known)

    monkeypatch.setattr(CommitLog, "create", create)
    monkeypatch.setattr(CommitLog, "refresh", refresh_once(CommitLog.refresh))
    with pytest.raises(Violation, match=r"raw has|double|dense"):
        Model({"A": (AB,)}).explore()


def refresh_once(honest: Any) -> Any:
    def refresh(log: CommitLog, partition: Any, known: Any) -> None:
        if known.listed is None:
            honest(log, partition, known)

    return refresh


def test_the_model_catches_a_cache_that_never_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CommitLog, "refresh", refresh_once(CommitLog.refresh))
    with pytest.raises(Violation, match=r"come to an end|double|lost|deleted"):
        Model(OVERLAPPING).explore()


def test_the_model_catches_a_footer_that_cannot_be_read_taken_for_one_of_no_events(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = CommitLog._times_of

    def times_of(log: CommitLog, partition: Any, files: Any) -> Any:
        try:
            return honest(log, partition, files)
        except AccessError:
            return dict.fromkeys(files, (1, 0))

    monkeypatch.setattr(CommitLog, "_times_of", times_of)
    with pytest.raises(Violation, match=r"double|is deleted while"):
        Model(OVERLAPPING, faults=(0, 1), reads_fail=True).explore()


def test_the_model_catches_commits_listed_before_their_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit made between the two listings looks like a marker whose commit retention has removed."""
    monkeypatch.setattr(CommitLog, "refresh", refresh_in_the_wrong_order)
    with pytest.raises(Violation, match="is deleted while"):
        Model(OVERLAPPING).explore()


def refresh_in_the_wrong_order(log: Any, partition: Any, known: Any) -> None:
    files, markers = (list_files(log._store, dataset, partition) for dataset in (RAW, EVENTS))
    log._learn(partition, known, files, markers)
    known.listed = 0.0
