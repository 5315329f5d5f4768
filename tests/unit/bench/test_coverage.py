"""The page of coverage: what it says holds for the data it speaks of."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.coverage import ATTACKS, BENIGN, PAGE, main, measured, page
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
    assert "1 alerts on 4 events, **250.0 per 1,000**" in page(coverage)


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
