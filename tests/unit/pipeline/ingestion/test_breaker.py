"""The circuit breaker of a source whose objects are all denied."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingestion.breaker import Breaker
from schemas import counters
from transforms.receive_messages import Limits

LIMITS = Limits(messages=100, wait_s=5.0)
READ, DENIED = f"{counters.READ}/trail", f"{counters.DENIED}/trail"
denied = Counter({DENIED: 3, counters.MESSAGES_RECEIVED: 3})


def never() -> bool:
    return False


def test_it_opens_when_everything_was_denied_and_then_nothing_is_received() -> None:
    shut = Breaker().after("trail", denied, now=100.0)

    assert shut.open
    assert shut.limits(LIMITS, 100.0) is None
    assert Breaker().limits(LIMITS, 100.0) == LIMITS


def test_one_object_read_beside_the_denied_ones_keeps_it_closed() -> None:
    assert not Breaker().after("trail", Counter({READ: 1, DENIED: 99}), now=0.0).open


def test_another_source_does_not_matter() -> None:
    assert not Breaker().after("other", denied, now=0.0).open


def test_a_run_without_messages_changes_nothing() -> None:
    shut = Breaker().after("trail", denied, now=0.0)

    assert shut.after("trail", Counter(), now=1.0) == shut


def test_it_closes_when_what_was_denied_can_be_read() -> None:
    shut = Breaker().after("trail", denied, now=0.0)

    assert shut.tried(0.5, lambda: True) == shut  # not yet
    assert shut.tried(1.5, lambda: True) == Breaker()
    assert shut.tried(1.5, never).open


def test_the_pauses_double_up_to_five_minutes() -> None:
    state, pauses = replace(Breaker().after("trail", denied, now=0.0), sample_at=math.inf), []
    for _ in range(12):
        now = state.until
        state = state.tried(now, never)
        pauses.append(state.until - now)

    assert pauses[:5] == [2, 4, 8, 16, 32]
    assert pauses[-1] == 300


def test_an_outage_of_a_day_uses_up_a_few_messages_only() -> None:
    """The one message of a quiet queue is delivered at every sample, and four more times it may be."""
    state, now, receives = Breaker().after("trail", denied, now=0.0), 0.0, 1
    while now < 86_400:
        now = max(now, min(state.until, state.sample_at))
        state = state.tried(now, never)
        if state.limits(LIMITS, now):
            receives += 1
            state = state.after("trail", denied, now)
    assert receives <= 8


def test_a_sample_is_one_message_and_closes_it_when_it_can_be_read() -> None:
    shut = Breaker().after("trail", denied, now=0.0)
    sample = shut.limits(LIMITS, 601.0)

    assert sample is not None
    assert (sample.messages, shut.limits(LIMITS, 599.0)) == (1, None)
    assert shut.after("trail", Counter({READ: 1}), now=601.0) == Breaker()
    assert shut.after("trail", denied, now=601.0).sample_at == 601.0 + 1200.0


@given(st.lists(st.sampled_from([Counter(), denied, Counter({READ: 1})]), max_size=30), st.booleans())
def test_it_never_waits_for_ever(runs: list[Counter[str]], readable: bool) -> None:
    state, now = Breaker(), 0.0
    for counts in runs:
        now += 1.0
        state = state.tried(now, lambda: readable)
        if state.limits(LIMITS, now):
            state = state.after("trail", counts, now)
        assert not state.open or min(state.until, state.sample_at) < math.inf
    assert state.tried(now + 301, lambda: True).limits(LIMITS, now + 301)
