"""Alerts: evaluated over all detections, whatever their order; superseded, listed, and shown."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.alerting import ISSUE, NOW, RULES, USES, keep, told
from support.credentials import assume, user
from support.records import ACCOUNT, OTHER
from support.replaying import replay_records
from typer.testing import CliRunner

from pipeline.alerting import alerts
from pipeline.cli import app
from pipeline.commands import load
from pipeline.detection.hunt import hunt
from schemas.errors import ConfigError
from transforms.list_objects import Selection
from transforms.rules.book import RuleBook
from transforms.rules.sigma import RuleSet


def test_one_alert_stands_for_a_rule_and_a_story(tmp_path: Path, rules: Path, rule_set: RuleSet) -> None:
    config = keep(tmp_path / "out", rules, [ISSUE, *USES])
    assert alerts.evaluate(config.root(), rule_set, now=NOW) > 0
    many, made = told(config)
    assert (made["rule_title"], made["root_identity"], made["events"], made["level"]) == (
        "Key made",
        "ana",
        3,
        "high",
    )
    assert made["status"] == "open"
    assert made["story_id"].startswith("story-")
    assert "3 events" in made["explanation"]
    assert "requestParameters.userName=spare" in made["explanation"]
    assert made["explanation"].endswith("A key is made.")
    assert (many["kind"], many["root_identity"], many["events"], many["level"]) == (
        "correlation",
        "bob",
        4,
        "critical",
    )


def test_a_call_that_two_accounts_logged_is_one_alert_of_the_caller(
    tmp_path: Path, rules: Path, rule_set: RuleSet
) -> None:
    """The account of the role knows the caller by account and principal id only."""
    stranger, seen = {"type": "AWSAccount", "accountId": ACCOUNT, "principalId": "AIDAana"}, {"userAgent": "tool"}
    unknown = {**stranger, "principalId": "AIDAx"}
    both = [
        assume("callers", 100, user(), sharedEventID="s", **seen),
        assume("targets", 100, stranger, logged_in=OTHER, sharedEventID="s", **seen),
        assume("alone", 200, unknown, logged_in=OTHER, sharedEventID="t", **seen),
    ]
    config = keep(tmp_path / "out", rules, [*both, *USES])
    alerts.evaluate(config.root(), rule_set, now=NOW)
    found = {row["root_identity"]: row for row in told(config) if row["rule_title"] == "Role taken"}
    assert found.keys() == {"ana", "AIDAx"}
    assert (found["ana"]["events"], found["ana"]["accounts"]) == (2, [ACCOUNT, OTHER])
    assert (found["AIDAx"]["events"], found["AIDAx"]["accounts"]) == (1, [OTHER])


def test_a_rule_that_only_feeds_a_correlation_alerts_nobody(tmp_path: Path, rules: Path, rule_set: RuleSet) -> None:
    config = keep(tmp_path / "out", rules, [ISSUE, *USES])
    alerts.evaluate(config.root(), rule_set, now=NOW)
    assert "Call refused" not in {row["rule_title"] for row in told(config)}


def test_a_correlation_that_comes_after_its_rule_holds_once_a_hunt_kept_its_group(
    tmp_path: Path, rules: Path, rule_set: RuleSet
) -> None:
    (tmp_path / "before.yml").write_text(RULES.rpartition("---")[0])
    config = keep(tmp_path / "out", tmp_path / "before.yml", USES)
    hunt(config.root(), RuleBook.of([rules]), Selection(), quiet=True)
    alerts.evaluate(config.root(), rule_set, now=NOW)
    (many,) = [row for row in told(config) if row["kind"] == "correlation"]
    assert (many["root_identity"], many["events"], many["status"]) == ("bob", 4, "open")


def test_a_rule_that_is_to_alert_beside_its_correlation_does_so_after_another_hunt(
    tmp_path: Path, rules: Path
) -> None:
    (tmp_path / "none.yml").write_text(RULES.partition("---")[0])
    config = keep(tmp_path / "out", tmp_path / "none.yml", USES)
    for more, expected in (("", False), ("    generate: true\n", True)):
        rules.write_text(RULES + more)
        book = RuleBook.of([rules], shipped=False)
        hunt(config.root(), book, Selection(), quiet=True)
        alerts.evaluate(config.root(), book.rule_set(), now=NOW)
        assert ("Call refused" in {row["rule_title"] for row in told(config)}) is expected


@pytest.mark.parametrize(
    "cut", [[[0, 1, 2, 3, 4, 5, 6, 7]], [[7, 3, 5], [1], [0, 2, 6, 4]], [[4, 5], [5, 6, 7, 1], [3, 2, 1], [0]]]
)
def test_alerts_do_not_depend_on_how_events_came(
    tmp_path: Path, rules: Path, rule_set: RuleSet, cut: list[list[int]]
) -> None:
    everything = [ISSUE, *USES]
    whole = keep(tmp_path / "whole", rules, everything)
    alerts.evaluate(whole.root(), rule_set, now=NOW)
    for part in cut:
        config = keep(tmp_path / "cut", rules, [everything[place] for place in part])
        alerts.evaluate(config.root(), rule_set, now=NOW)
    open_ones = [row for row in told(config) if row["status"] == "open"]
    assert open_ones == told(whole)


def test_evaluated_again_nothing_is_recorded(tmp_path: Path, rules: Path, rule_set: RuleSet) -> None:
    config = keep(tmp_path / "out", rules, [ISSUE, *USES])
    assert alerts.evaluate(config.root(), rule_set, now=NOW) > 0
    assert alerts.evaluate(config.root(), rule_set) == 0


def test_an_alert_of_which_what_came_later_makes_another_is_superseded(
    tmp_path: Path, rules: Path, rule_set: RuleSet
) -> None:
    config = keep(tmp_path / "out", rules, USES[:2])
    alerts.evaluate(config.root(), rule_set, now=NOW)
    (before,) = told(config)
    keep(tmp_path / "out", rules, [ISSUE])
    alerts.evaluate(config.root(), rule_set, now=NOW)
    after = {row["status"]: row for row in told(config)}
    assert after["superseded"]["alert_id"] == before["alert_id"]
    assert after["open"]["root_identity"] == "ana"


def test_a_correlation_that_is_not_loaded_is_left_as_it_was(tmp_path: Path, rules: Path, rule_set: RuleSet) -> None:
    config = keep(tmp_path / "out", rules, USES)
    alerts.evaluate(config.root(), rule_set, now=NOW)
    alerts.evaluate(config.root(), replace(rule_set, correlations=()), now=NOW)
    assert {row["status"] for row in told(config)} == {"open"}


def test_the_commands_evaluate_list_and_show(tmp_path: Path, rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path / "out", rules, [ISSUE, *USES])
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0) -> Any:
        done = CliRunner().invoke(app, ["alert", *arguments, "--output", "out"])
        assert done.exit_code == code, done.output
        return done

    assert "no alert was evaluated here yet" in run("list").stderr
    done = run("evaluate", "--rules", str(rules), "--deliver", "stdout")
    delivered = [json.loads(line) for line in done.stdout.splitlines()]
    assert {"Key made", "Many calls refused"} <= {it["rule_title"] for it in delivered}
    assert run("evaluate", "--rules", str(rules), "--deliver", "stdout").stdout == ""
    listed = json.loads(run("list", "--json").stdout)
    gravest = listed[0]
    assert gravest["rule_title"] == "Many calls refused"
    assert "Many calls" in run("list", "--level", "critical").stdout
    assert "Key made" not in run("list", "--level", "critical").stdout
    run("list", "--fail-on", "critical", code=4)
    refused = run("list", "--level", "critical", "--fail-on", "high", code=1).exception
    assert "--fail-on high lies below --level critical" in str(refused)
    page = run("show", gravest["alert_id"][:14]).stdout
    assert "Somebody tries out what they may do." in " ".join(page.split())
    assert page.count("FAILURE") == 4
    asked = shlex.split(page.split("The whole story: trailweave ")[1])
    assert gravest["story_id"] in CliRunner().invoke(app, asked).stdout
    shown = json.loads(run("show", gravest["alert_id"], "--json").stdout)
    assert [event["event_id"] for event in shown["events"]] == shown["row"]["evidence"]


def test_alerts_on_stdout_are_json_lines_alone_whatever_their_sink_is_called(
    tmp_path: Path, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path / "out", rules, USES)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trailweave.toml").write_text('[[sink]]\nname = "log"\nkind = "stdout"\n')
    for chosen in ([], ["--deliver", "log"]):
        asked = ["--output", str(tmp_path / "out"), "--rules", str(rules), *chosen]
        done = CliRunner().invoke(app, ["alert", "evaluate", *asked])
        assert all(json.loads(line)["rule_title"] for line in done.stdout.splitlines())
        assert " delivered" in done.stderr


def test_ids_and_levels_that_are_none_are_told(tmp_path: Path, rules: Path) -> None:
    config = keep(tmp_path / "out", rules, USES)
    with alerts.connect(config.root()) as connection:
        for asked, why in (("alert-12", "too short"), ("alert-123456", "no alert")):
            with pytest.raises(ConfigError, match=why):
                alerts.show(connection, asked)
    with pytest.raises(ConfigError, match="level 'grave' is unknown"):
        told(config, level="grave")


def test_a_root_without_detections_is_refused_with_the_remedy(tmp_path: Path, rules: Path, rule_set: RuleSet) -> None:
    config = replay_records(load(output=str(tmp_path / "out"), detections=False), USES)
    with pytest.raises(ConfigError, match=r"begun without detections; replay its raw records"):
        alerts.evaluate(config.root(), rule_set)


def test_ingestion_evaluates_alerts_beside_itself(tmp_path: Path, rules: Path) -> None:
    from pipeline.commands import begin
    from pipeline.commands.ingestion import _recorders

    config = keep(tmp_path / "out", rules, [ISSUE, *USES])
    plan = begin(config, {})
    (recorder,) = _recorders(config, plan, Counter(), stitch=False, alerts=True)
    recorder.touch()
    assert {row["rule_title"] for row in told(config)} == {"Key made", "Many calls refused"}
