"""A simulated day loses no object, and more accounts or a shorter wait never mean fewer files."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.days import Costs, Organisation, day, deliveries

COSTS = Costs(2e-5, 3e-4, 1_400, 110, 270, 4, 0.13, 0.1, 0.0, 1.0, 0.3, 6e8)
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
    batch, account = deliveries(organisation, max_wait_s, max_messages)

    assert len(batch) == len(account) == organisation.objects
    assert np.bincount(batch).max() <= max_messages
    assert (np.bincount(batch) > 0).all()
    per_account = organisation.regions * organisation.deliveries
    assert np.bincount(account, minlength=organisation.accounts).tolist() == [per_account] * organisation.accounts


@given(ORGANISATIONS)
def test_a_commit_needs_an_object_and_compaction_never_makes_more_files(organisation: Organisation) -> None:
    found = day(organisation, COSTS)

    assert found.files <= organisation.objects * COSTS.files + found.batches
    assert found.merged <= found.files + organisation.accounts * COSTS.files


@pytest.mark.parametrize(("wait_s", "messages"), [(300.0, 1_000), (30.0, 100_000), (300.0, 100_000)])
def test_a_longer_wait_and_fuller_batches_make_no_more_files(wait_s: float, messages: int) -> None:
    assert day(SOME, COSTS, max_wait_s=wait_s, max_messages=messages).files <= day(SOME, COSTS).files


def test_twice_the_accounts_take_twice_the_cpu() -> None:
    few, many = day(SOME, COSTS), day(replace(SOME, accounts=40), COSTS)
    assert many.cores == pytest.approx(2 * few.cores)
    assert many.files > few.files


@pytest.mark.parametrize(
    ("accounts", "records", "limit"),
    [(1, 20, "nothing"), (10_000, 20, "small files"), (100, 2_000_000, "CPU: 23 workers, each at 70 % at most")],
)
def test_what_is_felt_first_is_named(accounts: int, records: int, limit: str) -> None:
    found = day(Organisation("it", accounts, 1, 288, records), COSTS)
    assert found.limit.split(":")[0] == limit.split(":")[0]
