from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from apache_beam.io.watermark_estimators import ManualWatermarkEstimator
from apache_beam.runners.sdf_utils import RestrictionTrackerView, ThreadsafeRestrictionTracker

from schemas.errors import AccessError
from schemas.values import Delivery
from transforms import receive_messages as module
from transforms.receive_messages import (
    STOP,
    Limits,
    PollTracker,
    Received,
    _Stream,
    receive_from_all,
    receive_messages,
)
from transforms.stores import queue
from transforms.stores.faults import CallFault
from transforms.stores.queue import QueueTraits
from transforms.stores.sources import Source

SOURCE = Source("trail", queue_url="https://sqs/1/q")
DENIED = CallFault("denied", "AccessDenied", "sqs:ReceiveMessage on queue 1/q was refused to me")


class Queue:
    """Answers receives from a script: numbers of messages, or faults; then with nothing."""

    def __init__(self, *script: int | CallFault) -> None:
        self._script = list(script)
        self._lock = threading.Lock()
        self.asked: list[dict[str, Any]] = []

    def receive(self, source: Source, **asked: Any) -> list[Delivery]:
        with self._lock:
            self.asked.append(asked)
            answer = self._script.pop(0) if self._script else 0
        if isinstance(answer, CallFault):
            raise answer
        return [Delivery(source.name, f"{len(self.asked)}-{n}", None) for n in range(answer)]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def install(*script: int | CallFault, visibility_s: int = 300) -> Queue:
        made = Queue(*script)
        monkeypatch.setattr(queue, "receive", made.receive)
        monkeypatch.setattr(queue, "traits", lambda _: QueueTraits(visibility_s))
        return made

    STOP.clear()
    yield install
    STOP.clear()


def test_a_batch_is_full_at_its_number_of_messages(use: Any) -> None:
    asked = use(10, 10, 10).asked

    received = receive_messages(SOURCE, Limits(messages=15, wait_s=5, idle_s=5))

    assert len(received.deliveries) >= 15
    assert asked[-1]["maximum"] == 5


def test_a_backlog_is_met_with_more_pollers_and_never_more_than_can_be_of_use(use: Any) -> None:
    made = use(*[10] * 40)

    received = receive_messages(SOURCE, Limits(messages=150, wait_s=5, idle_s=5))

    assert len(received.deliveries) == 150
    assert len(made.asked) == 1 + 2 + 4 + 8


def test_each_receive_hides_its_messages_for_the_queues_own_time(use: Any) -> None:
    made = use(1, visibility_s=77)

    receive_messages(SOURCE, Limits(messages=1))

    assert made.asked == [{"wait_s": 1, "visibility_s": 77, "maximum": 1}]


def test_the_wait_is_at_most_half_of_the_visibility(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10_000))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    made = use(1, *[0] * 100, visibility_s=20)

    receive_messages(SOURCE, Limits(messages=100, wait_s=1000, idle_s=1000))

    assert 8 <= len(made.asked) <= 12


def test_a_request_to_stop_ends_it_with_what_was_received(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = use()

    def receive(source: Source, **asked: Any) -> list[Delivery]:
        STOP.set()
        return [Delivery("trail", "x", None)]

    monkeypatch.setattr(queue, "receive", receive)

    assert len(receive_messages(SOURCE, Limits()).deliveries) == 1
    assert not made.asked


def test_a_fault_keeps_what_came_before(use: Any) -> None:
    use(3, DENIED)

    received = receive_messages(SOURCE, Limits(messages=100))

    assert (len(received.deliveries), received.fault) == (3, DENIED)


def test_a_fault_of_one_poller_keeps_what_the_others_received(use: Any) -> None:
    """They are hidden already: dropped they would come back late, and nearer to the dead-letter queue."""
    use(10, DENIED, 10)

    received = receive_messages(SOURCE, Limits(messages=100))

    assert (len(received.deliveries), received.fault) == (20, DENIED)


def test_a_source_that_fails_is_passed_over_while_another_gives(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    use()
    other = Source("other", queue_url="https://sqs/1/o")

    def receive(source: Source, **_: Any) -> list[Delivery]:
        if source is SOURCE:
            raise DENIED
        return [Delivery(source.name, "x", None)]

    monkeypatch.setattr(queue, "receive", receive)
    limits = Limits(messages=1)

    first, second = receive_from_all([(SOURCE, limits), (other, limits)])
    assert (first.fault, len(second.deliveries)) == (DENIED, 1)
    with pytest.raises(AccessError, match=r"sqs:ReceiveMessage on queue 1/q was refused to me"):
        receive_from_all([(SOURCE, limits)])


def test_what_the_engine_counts_of_the_output_is_no_progress_of_a_poller() -> None:
    """Beam puts it in, and it may be NaN as yet."""
    progress = PollTracker(True).current_progress().with_completed(math.nan)  # type: ignore[arg-type]

    assert progress.fraction_completed == 0


def test_a_poller_may_only_be_split_where_it_stands() -> None:
    tracker = PollTracker(True)

    assert tracker.try_split(0.5) is None
    assert tracker.try_claim(None)
    assert tracker.try_split(0) == (False, True)
    assert tracker.try_split(0) is None
    assert tracker.check_done()
    assert not tracker.is_bounded()
    with pytest.raises(ValueError, match="without a checkpoint"):
        PollTracker(True).check_done()


def test_of_the_pollers_of_a_bundle_the_first_alone_waits_for_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it received is held until the others are through."""
    asked: list[Limits] = []
    monkeypatch.setattr(module, "receive_messages", lambda _, limits: asked.append(limits) or Received())
    pollers = _Stream(Limits(messages=200, wait_s=10, idle_s=10))

    for _ in range(2):
        pollers.start_bundle()
        for number in range(3):
            tracker = RestrictionTrackerView(ThreadsafeRestrictionTracker(PollTracker(True)))
            assert [*pollers.process((SOURCE, number), tracker, ManualWatermarkEstimator(None))] == []

    assert [(it.messages, it.wait_s, it.idle_s) for it in asked] == 2 * [(200, 10, 10), (200, 1, 1), (200, 1, 1)]
