"""How long an idle queue is left alone, and how long one that fails."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingestion import ingest
from pipeline.ingestion.ingest import Rest
from schemas.errors import AccessError
from transforms.receive_messages import STOP, Limits
from transforms.stores.faults import CallFault

LIMITS = Limits(messages=100, wait_s=5.0)


def test_rests_double_up_to_nineteen_seconds_and_end_with_the_first_message() -> None:
    rest, rests = Rest.within(30.0), []
    assert rest.limits(LIMITS) == LIMITS
    for _ in range(7):
        rest = rest.longer()
        rests.append(rest.seconds)

    assert rests == [1, 2, 4, 8, 16, 19, 19]


@given(st.floats(0.01, 3_600), st.integers(1, 20))
def test_no_message_is_later_for_a_rest(wait_s: float, times: int) -> None:
    """It may come at the start of the rest: that and what is left of the wait are no longer than the wait alone."""
    rest = Rest.within(wait_s)
    for _ in range(times):
        rest = rest.longer()
    limits = rest.limits(Limits(wait_s=wait_s))

    assert rest.seconds > 0
    assert limits.wait_s > 0
    assert rest.seconds + limits.wait_s <= wait_s * 1.000001


def test_runs_that_fail_are_tried_again_after_pauses_that_double_and_the_tenth_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(STOP, "wait", pauses.append)
    fault, failures = CallFault("transient", "ServiceUnavailable", "sqs:ReceiveMessage failed for now"), 0
    for _ in range(9):
        failures = ingest._failed(fault, failures, ever=True)
    with pytest.raises(AccessError, match="sqs:ReceiveMessage failed for now"):
        ingest._failed(fault, failures, ever=True)
    assert pauses[0] >= 1
    longest = max(pauses)
    assert all(then == min(longest, 2 * first) for first, then in itertools.pairwise(pauses))
    with pytest.raises(AccessError):
        ingest._failed(AccessError("denied"), 0, ever=False)
