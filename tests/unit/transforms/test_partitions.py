"""Which partition each row belongs to."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.partitions import partitions_of
from schemas.values import Partition

accounts = st.sampled_from(["111122223333", "012345678901", "unknown", "999999999999"])
times = st.datetimes(datetime(1970, 1, 1), datetime(2261, 12, 31), timezones=st.just(UTC))


def table(rows: list[tuple[str, datetime]], *, encoded: bool = False) -> pa.Table:
    names = pa.array([account for account, _ in rows], pa.string())
    moments = pa.array([time for _, time in rows], pa.timestamp("us", tz="UTC"))
    return pa.table({"recipient_account_id": names.dictionary_encode() if encoded else names, "event_time": moments})


@given(st.lists(st.tuples(accounts, times), max_size=20), st.booleans())
def test_each_row_is_in_the_partition_of_its_account_and_utc_day(
    rows: list[tuple[str, datetime]], encoded: bool
) -> None:
    codes, partitions = partitions_of(table(rows, encoded=encoded))
    assert [partitions[code] for code in codes.tolist()] == [
        Partition(account, time.date().isoformat()) for account, time in rows
    ]
    assert partitions == sorted(set(partitions))
    assert set(codes.tolist()) == set(range(len(partitions)))


@pytest.mark.parametrize(
    ("time", "day"),
    [
        (datetime(2024, 2, 29, 23, 59, 59, 999_999, UTC), "2024-02-29"),
        (datetime(2024, 3, 1, tzinfo=UTC), "2024-03-01"),
        (datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01"),
    ],
)
def test_midnight_begins_the_day(time: datetime, day: str) -> None:
    _, (partition,) = partitions_of(table([("1", time)]))
    assert partition == Partition("1", day)


def test_a_dictionary_with_values_of_no_row_names_no_partition() -> None:
    rows = table([("a", datetime(2024, 1, 1, tzinfo=UTC)), ("b", datetime(2024, 1, 1, tzinfo=UTC))], encoded=True)
    codes, partitions = partitions_of(rows.take([1]))
    assert [it.account for it in partitions] == ["b"]
    assert np.array_equal(codes, [0])


def test_a_partitions_path_is_what_readers_of_hive_layouts_expect() -> None:
    assert Partition("012345678901", "2024-03-05").path == "account_id=012345678901/day=2024-03-05"
