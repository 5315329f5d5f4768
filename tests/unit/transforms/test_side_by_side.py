from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from transforms.stores import side_by_side as module
from transforms.stores.side_by_side import SideBySide


class Clock:
    """Time goes on as the work says: at work, or waiting."""

    def __init__(self) -> None:
        self.wall_s = self.worked_s = 0.0

    def perf_counter(self) -> float:
        return self.wall_s

    def thread_time(self) -> float:
        return self.worked_s

    def work(self, seconds: float) -> None:
        self.wall_s += seconds
        self.worked_s += seconds

    def wait(self, seconds: float) -> None:
        self.wall_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def patient(clock: Clock) -> Iterator[SideBySide]:
    """Waits of up to a tenth of a second are borne."""
    with SideBySide(4, "test", patience_s=0.1) as pool:
        yield pool


def own_thread(_: object) -> bool:
    return threading.current_thread() is threading.main_thread()


def test_work_that_does_not_wait_is_done_in_turn_in_the_callers_thread(patient: SideBySide) -> None:
    assert patient.map(own_thread, range(20)) == [True] * 20
    assert patient.in_turn


def test_work_that_takes_its_time_without_waiting_goes_on_in_turn(patient: SideBySide, clock: Clock) -> None:
    patient.map(clock.work, [60.0] * 20)
    assert patient.in_turn


def test_work_that_mostly_waits_goes_on_side_by_side(patient: SideBySide, clock: Clock) -> None:
    """Eight are waited for one by one; each of the next four waits until all four are under way."""
    together = threading.Barrier(4, timeout=30)
    patient.map(clock.wait, [0.2] * 8)
    assert not patient.in_turn
    assert sorted(patient.map(lambda n: (together.wait(), n)[1], range(4))) == [0, 1, 2, 3]
    assert patient.map(own_thread, range(3)) == [False] * 3


def test_what_is_left_when_waiting_shows_is_done_side_by_side(patient: SideBySide, clock: Clock) -> None:
    def work(n: int) -> bool:
        if n < 8:
            clock.wait(0.2)
        return own_thread(n)

    assert patient.map(work, range(12)) == [True] * 8 + [False] * 4


def test_one_long_wait_among_many_short_ones_changes_nothing(patient: SideBySide, clock: Clock) -> None:
    patient.map(clock.wait, [0.0] * 7 + [0.5] + [0.0] * 7)
    assert patient.in_turn


def test_without_patience_all_is_side_by_side() -> None:
    together = threading.Barrier(3, timeout=30)
    with SideBySide(3, "test") as pool:
        assert len({*pool.map(lambda _: together.wait(), range(3))}) == 3


@pytest.mark.parametrize("patience_s", [None, 1.0])
def test_what_one_raises_is_raised_and_results_keep_their_order(patience_s: float | None) -> None:
    with SideBySide(2, "test", patience_s) as pool:
        assert pool.map(lambda n: 10 // n, [1, 2, 5]) == [10, 5, 2]
        with pytest.raises(ZeroDivisionError):
            pool.map(lambda n: 10 // n, [1, 0, 2])
        assert pool.submit(lambda: 3).result() == 3


def test_what_has_not_begun_when_one_fails_is_left_undone() -> None:
    """Its only thread is at the second when the first has failed, until the others are cancelled."""
    begun: list[int] = []
    ended = threading.Event()

    def work(n: int) -> None:
        begun.append(n)
        if n == 0:
            raise ValueError(n)
        ended.wait(30)

    with SideBySide(1, "test") as pool:
        with pytest.raises(ValueError, match="0"):
            pool.map(work, range(50))
        ended.set()
    assert len(begun) <= 2
