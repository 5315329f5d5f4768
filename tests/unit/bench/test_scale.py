"""What the page of scaling tells is what was measured: costs are recovered from runs that are made of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from bench.costs import Compared, Found, Replayed, Visit, Visits, Worked, asked_of, costs, cpu_of
from bench.measure import Measurement
from bench.scaling_page import page
from bench.stages import _timed

RECORD_S, OBJECT_S, COMMIT_S, FIRST_S, RUN_S = 2e-5, 1e-3, 1e-2, 3e-3, 0.1
STORED = {"aws_s3_raw": (1_600, 16_000_000), "cloud_audit_logs": (1_600, 48_000_000)}
STAGES = {"CommitRaw": 0.5, "WriteParquet": 0.6}


def visit(commits: int, *, is_first: bool) -> Visit:
    """400 objects of 12 records, at the costs above; the run with messages and one without beside it."""
    cpu_s = 2 * RUN_S + 400 * (OBJECT_S + 12 * RECORD_S) + commits * (COMMIT_S + is_first * FIRST_S)
    asked = {"GetObject": 400, "PutObject": 4 * commits, "ListObjectsV2": 2 * commits * is_first}
    return Visit(400, 4_800, commits, cpu_s, asked, STAGES)


def visits(commits: int) -> Visits:
    return Visits(tuple(visit(commits, is_first=number == 0) for number in range(4)), STORED, RUN_S)


def replayed(objects: int, records: int) -> Replayed:
    cpu_s = objects * OBJECT_S + records * RECORD_S
    return Replayed(Measurement(records, cpu_s, cpu_s, 1), objects, records * 1_400, records * 190, STAGES, STORED)


FOUND = Found(
    large=replayed(400, 400_000),
    tiny=replayed(12_000, 150_000),
    local=Compared(visits(4), visits(400)),
    queued=Compared(visits(4), visits(400)),
    replay=(Worked(1, 10.0, 10.0), Worked(1, 11.0, 5.5)),
    ingest=(Worked(1, 10.0, 10.0), Worked(1, 11.0, 5.5)),
)


def test_the_costs_of_a_record_an_object_a_commit_and_a_run_are_told_apart() -> None:
    known = costs(FOUND)
    assert known.record_cpu_s == pytest.approx(RECORD_S)
    assert FOUND.object_cpu_s == pytest.approx(OBJECT_S)
    assert known.object_cpu_s == pytest.approx(OBJECT_S)
    assert known.commit_cpu_s == pytest.approx(COMMIT_S)
    assert known.run_cpu_s == RUN_S
    assert known.gets == pytest.approx(1)
    assert known.files == pytest.approx(2)


def test_what_the_first_commit_of_a_partition_takes_is_no_part_of_the_others() -> None:
    lists = asked_of("ListObjectsV2")
    assert FOUND.queued.of_commit(lists) == 0
    assert FOUND.queued.of_commit(lists, is_first=True) == pytest.approx(2)
    assert FOUND.queued.of_commit(cpu_of, is_first=True) == pytest.approx(COMMIT_S + FIRST_S)


def test_the_page_holds_every_figure_it_speaks_of() -> None:
    told = page(FOUND)
    assert "{" not in told
    assert "| a commit | 10,000 | 10,000 |" in told
    assert "| `replay` | 10.0 | 5.5 | 10.0 | 11.0 | 1.82 | 1.10 |" in told


def test_what_follows_a_stage_is_none_of_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("bench.stages.time.process_time", lambda: clock[0])

    def process(_: object, element: int) -> Iterator[int]:
        clock[0] += 1
        yield element
        clock[0] += 2
        yield element
        clock[0] += 4

    spent: Counter[str] = Counter()
    for _ in _timed(process, "stage", spent)(None, 1):
        clock[0] += 100
    assert spent == {"stage": 7}
