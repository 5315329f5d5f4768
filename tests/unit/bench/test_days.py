"""A simulated day loses no object, and more accounts or a shorter wait never mean fewer files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.days import Costs, Organisation, day, deliveries, idle

COSTS = Costs(
    record_cpu_s=2e-5,
    object_cpu_s=3e-4,
    commit_cpu_s=1e-2,
    run_cpu_s=0.1,
    text_bytes=1_400,
    gzip_bytes=110,
    stored=270,
    commit_bytes=50_000,
    files=4,
    deletes=0.1,
    extensions=0.0,
    gets=1.0,
    worker_bytes=6e8,
)
SOME = Organisation("some", 20, 2, 100, 20)
ORGANISATIONS = st.builds(
    Organisation,
    st.just("any"),
    accounts=st.integers(1, 30),
    regions=st.integers(1, 3),
    deliveries=st.integers(1, 100),
    records=st.integers(1, 100),
)


@given(ORGANISATIONS, st.floats(1, 3_600), st.integers(1, 500))
def test_every_object_is_in_one_batch_which_is_never_over_full(
    organisation: Organisation, max_wait_s: float, max_messages: int
) -> None:
    times, batch, account = deliveries(organisation, max_wait_s, max_messages)

    assert (np.diff(times) >= 0).all()
    assert len(batch) == len(account) == organisation.objects
    assert np.bincount(batch).max() <= max_messages
    assert (np.bincount(batch) > 0).all()
    per_account = organisation.regions * organisation.deliveries
    assert np.bincount(account, minlength=organisation.accounts).tolist() == [per_account] * organisation.accounts


@given(ORGANISATIONS)
def test_a_commit_needs_an_object_and_compaction_never_makes_more_files(organisation: Organisation) -> None:
    found = day(organisation, COSTS)

    assert found.batches <= found.commits <= organisation.objects
    assert found.files <= organisation.objects * COSTS.files + found.commits
    assert found.merged <= found.files + organisation.accounts * COSTS.files
    assert found.merged_bytes < found.stored


@pytest.mark.parametrize(("wait_s", "messages"), [(300.0, 1_000), (30.0, 100_000), (300.0, 100_000)])
def test_a_longer_wait_and_fuller_batches_make_no_more_files(wait_s: float, messages: int) -> None:
    assert day(SOME, COSTS, max_wait_s=wait_s, max_messages=messages).files <= day(SOME, COSTS).files


def test_twice_the_accounts_take_twice_the_cpu_of_records_and_objects() -> None:
    few, many = day(SOME, COSTS), day(replace(SOME, accounts=40), COSTS)
    for cause in ("records", "objects"):
        assert many.cores[cause] == pytest.approx(2 * few.cores[cause])
    assert many.cores["commits"] > few.cores["commits"]
    assert many.files > few.files


def test_of_ten_thousand_quiet_accounts_nearly_every_object_is_a_commit() -> None:
    quiet = Organisation("quiet", 10_000, 1, 50, 12)
    found = day(quiet, COSTS)
    assert found.commits > 0.99 * quiet.objects
    assert found.cores["commits"] == pytest.approx(found.commits * COSTS.commit_cpu_s / 86_400)


def test_an_idle_queue_is_asked_every_twenty_seconds_at_last() -> None:
    polls, runs = idle(np.array([0.5, 5.0, 7.0, 10.0, 24.0, 86_400.0]), 30.0)
    assert polls.tolist()[:5] == [0, 5, 6, 7, 9]
    assert runs.tolist()[:5] == [0, 1, 2, 3, 5]
    assert 4_300 < polls[-1] < 4_340


def test_messages_that_trickle_in_are_requests_of_their_own() -> None:
    organisation = Organisation("one", 1, 1, 288, 20)
    found = day(organisation, replace(COSTS, deletes=0.0))
    assert 288 < found.sqs_requests < 288 * (1 + 30 + 25)


@pytest.mark.parametrize(
    ("accounts", "records", "limit"),
    [(1, 20, "nothing"), (10_000, 20, "small files"), (100, 2_000_000, "CPU: 23 workers, each at 70 % at most")],
)
def test_what_is_felt_first_is_named(accounts: int, records: int, limit: str) -> None:
    found = day(Organisation("it", accounts, 1, 288, records), COSTS)
    assert found.limit.split(":")[0] == limit.split(":")[0]
