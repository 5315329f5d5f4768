"""A queue that has nothing, over HTTP: it is asked less and less often, and a signal ends the wait."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import pytest
from support.trails import event_ids, records, trail_key, trail_object
from support.world import World

from pipeline.ingestion import ingest
from pipeline.terminal.stopping import stopping
from schemas import counters
from transforms.receive_messages import STOP, Limits

BODY = trail_object(records(range(10)))


def test_an_idle_queue_is_asked_once_after_each_rest_until_it_has_something(
    faulty: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    asked: list[int] = []

    def wait(seconds: float) -> bool:
        rests.append(seconds)
        asked.append(len(faulty.proxy.calls("ReceiveMessage")))
        if len(rests) == 3:
            faulty.put(trail_key("late"), BODY)
        if len(rests) == 5:
            signal.raise_signal(signal.SIGTERM)
        return STOP.is_set()

    monkeypatch.setattr(STOP, "wait", wait)
    summary = ingest.ingest_until_stopped(faulty.plan(), Limits(wait_s=6.0, idle_s=1.0), quiet=True)

    assert rests == [1, 2, 4, 1, 2]
    assert (asked[1] - asked[0], asked[2] - asked[1]) == (1, 1)
    assert len(faulty.proxy.calls("ReceiveMessage")) == asked[-1]
    assert summary.counts[counters.EVENTS_WRITTEN] == 10
    assert faulty.ids() == sorted(event_ids(BODY))


def test_a_signal_ends_a_rest_however_long_it_is(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "_FIRST_REST_S", 86_400.0)
    monkeypatch.setattr(ingest, "_LONGEST_REST_S", 86_400.0)
    is_resting = threading.Event()
    honest = STOP.wait

    def wait(seconds: float) -> bool:
        is_resting.set()
        return honest(seconds)

    def stop() -> None:
        is_resting.wait()
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(STOP, "wait", wait)
    stopper = threading.Thread(target=stop)
    stopper.start()
    summary = ingest.ingest_until_stopped(aws.plan(), Limits(wait_s=200_000.0, idle_s=1.0), quiet=True)
    stopper.join()

    assert summary.counts[counters.MESSAGES_RECEIVED] == 0


def test_a_signal_may_come_at_any_step_of_a_wait() -> None:
    """At each line of it, as of a debugger: nothing that the waiting thread holds keeps the handler from its work."""

    def steps_until(last: int) -> int:
        steps = 0

        def trace(*_: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == last:
                sys.settrace(None)
                signal.raise_signal(signal.SIGTERM)
            return trace

        with stopping():
            sys.settrace(trace)
            try:
                STOP.wait(0.01)
            finally:
                sys.settrace(None)
            assert STOP.is_set() == (steps >= last)
        return steps

    steps = steps_until(1_000_000)
    assert steps > 5
    for step in range(1, steps + 1):
        steps_until(step)
