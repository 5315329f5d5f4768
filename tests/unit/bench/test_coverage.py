"""The page of coverage: what it says holds for the data it speaks of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.coverage import ATTACKS, BENIGN, PAGE, main, measured, page
from bench.history import DAYS, repeated, unusual
from transforms.rules.book import RuleBook
from transforms.rules.samples import whole

RULES = RuleBook.of().rule_set()


def event(name: str, **rest: Any) -> dict[str, Any]:
    return whole({"eventSource": "cloudtrail.amazonaws.com", "eventName": name, **rest}, event_id=name)


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    attacks, benign = tmp_path / "attacks", tmp_path / "benign.jsonl"
    attacks.mkdir()
    (attacks / "aws.defense-evasion.trail.json").write_text(json.dumps([event("StopLogging")]))
    (attacks / "aws.impact.trail.json").write_text(json.dumps([event("StopLogging")]))
    (attacks / "aws.discovery.nothing.json").write_text(json.dumps([event("ListTrails")]))
    quiet = [event("DescribeTrails", eventID=str(n)) for n in range(3)]
    benign.write_text("\n".join(map(json.dumps, [*quiet, event("StopLogging")])) + "\n")
    return attacks, benign


def test_an_alert_fits_only_if_its_rule_carries_the_tactic_of_the_label(labelled: tuple[Path, Path]) -> None:
    coverage = measured(RULES, *labelled)
    assert {it.name: (len(it.alerts), len(it.fitting)) for it in coverage.attacks} == {
        "aws.defense-evasion.trail": (1, 1),
        "aws.discovery.nothing": (0, 0),
        "aws.impact.trail": (1, 0),
    }
    assert coverage.found == 1


def test_alerts_on_benign_events_are_counted_per_thousand_events(labelled: tuple[Path, Path]) -> None:
    coverage = measured(RULES, *labelled)
    assert coverage.benign_events == 4
    assert [coverage.per_thousand(it.times) for it in coverage.benign] == [250.0]
    assert "1 alert on 4 events, **250.0 per 1,000**" in page(coverage)


def test_a_history_tells_the_events_on_many_days_as_events_of_their_own() -> None:
    context = {"attributes": {"creationDate": "2024-03-05T09:00:00Z"}}
    identity = {"type": "AssumedRole", "sessionContext": context}
    records = [
        event("ListTrails", eventID=str(n), eventTime="2024-03-05T10:00:00Z", userIdentity=identity)
        for n in range(30)
    ]
    days = list(repeated(records))
    assert len(days) == DAYS
    assert 5 * DAYS < sum(map(len, days)) < 15 * DAYS
    assert len({it["eventID"] for day in days for it in day}) == sum(map(len, days))
    assert {it["eventTime"] for it in days[2]} == {"2024-03-07T10:00:00Z"}
    created = {it["userIdentity"]["sessionContext"]["attributes"]["creationDate"] for it in days[2]}
    assert created == {"2024-03-07T09:00:00Z"}
    assert days == list(repeated(records))


def test_an_operation_that_comes_up_late_in_a_history_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    person = {"type": "IAMUser", "userName": "ana", "principalId": "AIDAANA", "accountId": "111122223333"}
    records = [
        event("ListTrails", eventID=str(n), userIdentity={**person, "accessKeyId": "AKIAANA"}) for n in range(3)
    ]
    once = event("CreateTrail", eventID="new", userIdentity={**person, "accessKeyId": "AKIAANA"})
    told = [[*day, once] if number == 20 else day for number, day in enumerate(repeated(records))]
    told[20][-1] = {**once, "eventTime": told[20][0]["eventTime"]}
    monkeypatch.setattr("bench.history.repeated", lambda _: iter(told))
    events, found = unusual(records)
    assert events == sum(map(len, told))
    assert found == {"First time that an operation is called": 1}


def test_without_data_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "page.md"
    assert main(["--samples", str(tmp_path / "none"), "--page", str(target)]) == 2
    assert "none" in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.skipif(not (ATTACKS.is_dir() and BENIGN.exists()), reason=f"no labelled attacks at {ATTACKS}")
def test_the_page_says_what_is_measured_and_at_least_33_techniques_are_found() -> None:
    coverage = measured(RULES, ATTACKS, BENIGN)
    assert PAGE.read_text(encoding="utf-8") == page(coverage), "run `make coverage`"
    assert len(coverage.attacks) == 35
    assert coverage.found >= 33
    assert coverage.per_thousand(sum(it.times for it in coverage.benign)) < 10
    assert sum(coverage.history.values()) < coverage.history_events / 1000


@pytest.mark.skipif(not (ATTACKS.is_dir() and BENIGN.exists()), reason=f"no labelled attacks at {ATTACKS}")
def test_no_shipped_rule_or_sample_holds_an_account_an_address_or_a_name_of_the_labelled_data() -> None:
    records = [it for path in sorted(ATTACKS.glob("*.json")) for it in json.loads(path.read_text())]
    records += [json.loads(line) for line in BENIGN.read_text().splitlines()]
    values = {it.get("sourceIPAddress") for it in records} | {it.get("recipientAccountId") for it in records}
    values |= {it["userIdentity"].get(name) for it in records for name in ("arn", "userName", "accessKeyId")}
    own = {it for it in values if it and not re.search(r"\.amazonaws\.com$|^AWS Internal$|^(root|admin)$", it)}
    shipped = {path: path.read_text() for path in sorted(Path(RULES.rules[0].path).parents[1].rglob("*.*"))}
    assert len(shipped) > 100
    assert [(path.name, it) for path, text in shipped.items() for it in sorted(own) if it in text] == []
