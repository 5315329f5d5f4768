"""Analytics: what is unusual is told once, with its evidence; what is usual is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.credentials import assume, use, user
from support.records import ACCOUNT, OTHER, event_id
from support.replaying import replay_records

from pipeline.alerting import alerts
from pipeline.commands import load
from pipeline.config import Config
from transforms.rules.sigma import RuleSet

NO_RULES = RuleSet((), (), (), ())
THIRD = "555566667777"


def at(day: int, hour: int = 1) -> str:
    return f"{date(2024, 1, 1) + timedelta(days=day)}T{hour:02}:00:00Z"


def call(id_: str, day: int, identity: dict[str, Any] | None = None, hour: int = 1, **members: Any) -> Any:
    return use(id_, 1, identity or user(), eventTime=at(day, hour), **members)


def daily(days: int, **members: Any) -> list[Any]:
    return [call(f"usual-{day}", day, **members) for day in range(days)]


def keep(output: Path, *objects: Sequence[Any]) -> Config:
    return replay_records(load(output=str(output)), *objects)


def told(config: Config) -> list[dict[str, Any]]:
    alerts.evaluate(config.root(), NO_RULES)
    with alerts.connect(config.root()) as connection:
        found = connection.sql("FROM alerts WHERE kind = 'analytics' ORDER BY rule_id, first_seen").to_arrow_table()
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def test_a_region_is_told_the_first_time_that_an_identity_with_history_is_there(tmp_path: Path) -> None:
    config = keep(
        tmp_path / "out",
        daily(21),
        [call("early", 5, awsRegion="sa-east-1"), call("new", 20, hour=2, awsRegion="ap-south-1")],
        [call("again", 21, awsRegion="ap-south-1"), call("more", 20, hour=3, awsRegion="ap-south-1")],
    )
    (row,) = told(config)
    assert (row["rule_id"], row["root_identity"], row["level"]) == ("first-region", "ana", "low")
    assert row["seen"] == ["region=ap-south-1", "peers_before=0 of 0", "others_before=0", "score=1.00"]
    assert row["evidence"] == [event_id("new")]
    assert "14 days of history" in row["explanation"]


def test_a_service_is_told_the_first_time(tmp_path: Path) -> None:
    config = keep(tmp_path / "out", daily(21), [call("new", 20, hour=2, eventSource="kms.amazonaws.com")])
    (row,) = told(config)
    assert row["rule_id"] == "first-service"
    assert row["seen"][0] == "service=kms.amazonaws.com"
    assert row["evidence"] == [event_id("new")]


def test_a_key_that_slept_is_told_when_it_wakes(tmp_path: Path) -> None:
    bob = user("bob", "AKIABOB")
    steady = [call(f"s-{day}", day) for day in range(0, 200, 30)]
    keep(tmp_path / "out", [call("first", 0, bob), call("last", 10, bob)], [call("woken", 110, bob)], steady)
    # A run of its own: another fragment of the day.
    config = keep(tmp_path / "out", [call("more", 110, bob, hour=2)])
    (row,) = told(config)
    assert (row["events"], row["last_seen"].hour) == (2, 2)
    assert row["rule_id"] == "dormant-key"
    assert row["root_identity"] == "bob"
    assert row["seen"][:2] == ["access_key_id=AKIABOB", "last_used=2024-01-11"]
    assert row["evidence"] == [event_id("woken")]


@pytest.mark.parametrize(("usual", "count", "expected"), [(0, 25, 1), (0, 19, 0), (5, 25, 0), (5, 40, 1)])
def test_denials_are_told_when_they_are_far_beyond_the_usual(
    tmp_path: Path, usual: int, count: int, expected: int
) -> None:
    refused = {"errorCode": "AccessDenied"}
    before = [call(f"b-{day}-{n}", day, **refused) for day in range(20) for n in range(usual)]
    odd = [call(f"odd-{n:02}", 20, hour=2, **refused) for n in range(count)]
    found = told(keep(tmp_path / "out", daily(21), before, odd))
    assert len(found) == expected
    for row in found:
        assert row["rule_id"] == "denials"
        assert row["events"] == count
        assert row["evidence"] == sorted(event_id(f"odd-{n:02}") for n in range(count))


def test_a_new_account_that_takes_roles_is_told(tmp_path: Path) -> None:
    usual = [assume(f"a-{day}", 100, user(), f"ASIA{day}", eventTime=at(day)) for day in range(21)]
    stranger = user("eve", "AKIAEVE", THIRD)
    crossing = assume("crossing", 100, stranger, "ASIAEVE", eventTime=at(20, 3))
    (row,) = told(keep(tmp_path / "out", usual, [crossing]))
    assert row["rule_id"] == "cross-account"
    assert row["seen"][:2] == [f"from_account={THIRD}", f"to_account={OTHER}"]
    assert row["evidence"] == [event_id("crossing")]
    assert ACCOUNT not in row["explanation"]


def test_nothing_is_told_of_an_identity_without_history(tmp_path: Path) -> None:
    records = [call(f"{n}", n, awsRegion=f"region-{n}", eventSource=f"s{n}.amazonaws.com") for n in range(14)]
    assert told(keep(tmp_path / "out", records)) == []


def test_the_answers_do_not_depend_on_how_events_came(tmp_path: Path) -> None:
    bob = user("bob", "AKIABOB")
    records = [
        *daily(25),
        call("new", 20, hour=2, awsRegion="ap-south-1"),
        call("kms", 22, hour=2, eventSource="kms.amazonaws.com"),
        *(call(f"odd-{n:02}", 23, hour=2, errorCode="AccessDenied") for n in range(30)),
        call("first", 0, bob),
        call("woken", 110, bob),
    ]
    one = told(keep(tmp_path / "one", records))
    other = told(keep(tmp_path / "other", records[20:], records[::-3], records[:30], records[1::2]))
    assert len(one) == 4
    for rows in (one, other):
        for row in rows:
            del row["evaluated_time"]
    assert one == other
