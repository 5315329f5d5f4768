"""Alerts: evaluated over all detections, whatever their order; suppressed, superseded, shown, and delivered."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.credentials import assume, role, use, user
from support.records import ACCOUNT, OTHER
from support.replaying import replay_records
from support.served import ANY_PORT, Quiet, served
from support.world import World
from typer.testing import CliRunner

from pipeline.alerting import alerts
from pipeline.alerting.sinks import Sink, deliver
from pipeline.alerting.suppressions import read_suppressions
from pipeline.cli import app
from pipeline.commands import load
from pipeline.config import Config
from schemas.errors import ConfigError
from transforms.rules.book import RuleBook
from transforms.rules.sigma import RuleSet
from transforms.stores.aws import client

RULES = """
title: Key made
id: 0e95725d-7320-415d-80f7-004da920fc10
name: made
description: A key is made.
level: high
tags: [attack.t1098.001]
logsource: {product: aws, service: cloudtrail}
detection: {one: {eventName: CreateAccessKey}, condition: one}
fields: [requestParameters.userName]
falsepositives: [administration]
---
title: Role taken
id: 5f6f2d4b-2b8e-4c7e-9a53-6a3d0b6b7f10
level: high
logsource: {product: aws, service: cloudtrail}
detection: {one: {eventName: AssumeRole, userAgent: tool}, condition: one}
---
title: Call refused
name: refused
level: low
logsource: {product: aws, service: cloudtrail}
detection: {one: {errorCode: AccessDenied}, condition: one}
---
title: Many calls refused
description: Somebody tries out what they may do.
level: critical
correlation:
    type: event_count
    rules: [refused]
    group-by: [sourceIPAddress]
    timespan: 10m
    condition: {gte: 3}
"""
IAM = {"eventSource": "iam.amazonaws.com", "eventName": "CreateAccessKey"}
ISSUE = assume("issue", 100, user())
USES = [
    use("make-1", 130, role(100), **IAM, requestParameters={"userName": "spare"}),
    use("make-2", 150, role(100), **IAM, requestParameters={"userName": "spare"}),
    use("own", 50, user(), **IAM, requestParameters={"userName": "<b>ana</b>"}),
    *(use(f"no-{n}", 200 + n, user("bob", "AKIABOB"), errorCode="AccessDenied") for n in range(4)),
]
NOW = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules.yml").write_text(RULES)
    return tmp_path / "rules.yml"


@pytest.fixture
def rule_set(rules: Path) -> RuleSet:
    return RuleBook.of([rules], shipped=False).rule_set()


def keep(output: Path, rules: Path, *objects: Sequence[Any]) -> Config:
    return replay_records(load(output=str(output), rules=[rules]), *objects)


def told(config: Config, **more: Any) -> list[dict[str, Any]]:
    """The alerts of our own rules."""
    with alerts.connect(config.root()) as connection:
        asked = {"level": "informational", "since": "0001-01-01", "until": "9999-12-31", "most": 100, **more}
        rows: list[Any] = alerts.listed(connection, everything=True, **asked).to_pylist()
    return [
        row for row in rows if row["rule_title"] in ("Key made", "Role taken", "Call refused", "Many calls refused")
    ]


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


def test_a_suppressed_alert_is_kept_with_the_reason(tmp_path: Path, rules: Path, rule_set: RuleSet) -> None:
    config = keep(tmp_path / "out", rules, [ISSUE, *USES])
    (tmp_path / "known.toml").write_text(
        """
[[suppress]]
rule = "key MADE"
identity = "an*"
seen = "*userName=spare"
reason = "rotation by Ana"

[[suppress]]
rule = "Many*"
until = 1999-12-31
reason = "over"
"""
    )
    alerts.evaluate(config.root(), rule_set, read_suppressions(tmp_path / "known.toml"), now=NOW)
    with alerts.connect(config.root()) as connection:
        rows = connection.sql("SELECT rule_title, status, reason FROM alerts ORDER BY 1").fetchall()
    ours = [row for row in rows if row[0] in ("Key made", "Many calls refused")]
    assert ours == [("Key made", "suppressed", "rotation by Ana"), ("Many calls refused", "open", None)]
    alerts.evaluate(config.root(), rule_set, now=NOW)
    assert {row["status"] for row in told(config)} == {"open"}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[suppress]]\nreason = 'x'\n", "entry 1: .*give one of rule"),
        ("[[suppress]]\nrule = 'x'\n", "entry 1: reason"),
        ("[[suppress]]\nrule = 'x'\nreason = 'y'\nuser = 'z'\n", "entry 1: user"),
        ("[[suppres]]\nrule = 'x'\n", "unknown table 'suppres'"),
        ("[[suppress]\n", "no TOML"),
    ],
)
def test_suppressions_that_cannot_be_used_are_told(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "known.toml").write_text(text)
    with pytest.raises(ConfigError, match=rf"known\.toml.*{why}"):
        read_suppressions(tmp_path / "known.toml")


def test_suppressions_that_cannot_be_read_name_the_file_once(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=why) as told:
            read_suppressions(path)
        assert str(told.value).count(str(tmp_path)) == 1


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
    page = run("show", gravest["alert_id"][:14]).stdout
    assert "Somebody tries out what they may do." in " ".join(page.split())
    assert page.count("FAILURE") == 4
    asked = shlex.split(page.split("The whole story: trailweave ")[1])
    assert gravest["story_id"] in CliRunner().invoke(app, asked).stdout
    shown = json.loads(run("show", gravest["alert_id"], "--json").stdout)
    assert [event["event_id"] for event in shown["events"]] == shown["row"]["evidence"]


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


class Hook(ThreadingHTTPServer):
    """A webhook that answers as it is told, then with 200."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.taken: list[Any] = []
        super().__init__(ANY_PORT, _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/secret-token"


class _Handler(Quiet):
    def do_POST(self) -> None:
        hook: Any = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = hook.answers.pop(0) if hook.answers else 200
        if answer == 200:
            hook.taken.append(body)
        self.send_response(answer)
        self.end_headers()


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    with served(server):
        yield server


def no_pause(_: float) -> None:
    return None


def evaluated(tmp_path: Path, rules: Path, rule_set: RuleSet) -> Config:
    config = keep(tmp_path / "out", rules, [ISSUE, *USES])
    alerts.evaluate(config.root(), rule_set, now=NOW)
    return config


def test_a_webhook_gets_each_alert_once_and_again_when_it_goes_on(
    tmp_path: Path, rules: Path, rule_set: RuleSet, hook: Hook
) -> None:
    config = evaluated(tmp_path, rules, rule_set)
    sink = Sink("hook", "webhook", "high", url=hook.url)
    assert deliver(config.root(), [sink]) == (2, [])
    assert deliver(config.root(), [sink]) == (0, [])
    assert {it["rule_title"] for it in hook.taken} == {"Key made", "Many calls refused"}
    later = use("later", 1, user(), **IAM, requestParameters={"userName": "spare"}, eventTime="2030-01-01T00:00:00Z")
    keep(tmp_path / "out", rules, [later])
    alerts.evaluate(config.root(), rule_set, now=NOW)
    assert deliver(config.root(), [sink]) == (1, [])


def test_a_webhook_that_fails_for_now_is_tried_again(
    tmp_path: Path, rules: Path, rule_set: RuleSet, hook: Hook
) -> None:
    config = evaluated(tmp_path, rules, rule_set)
    hook.answers = [503, 429]
    assert deliver(config.root(), [Sink("hook", "webhook", "high", url=hook.url)], pause=no_pause) == (2, [])
    assert len(hook.taken) == 2


def test_what_a_sink_did_not_take_it_gets_the_next_time_and_its_address_is_not_told(
    tmp_path: Path, rules: Path, rule_set: RuleSet, hook: Hook
) -> None:
    config = evaluated(tmp_path, rules, rule_set)
    sink = Sink("hook", "slack", "high", url=hook.url)
    hook.answers = [200, 404]
    count, (error,) = deliver(config.root(), [sink], pause=no_pause)
    assert count == 1
    assert str(error) == "sink 'hook' did not take an alert: it answered 404; check its url"
    assert "secret-token" not in repr(sink)
    assert deliver(config.root(), [sink]) == (1, [])
    gone = replace(sink, name="gone", url="http://127.0.0.1:9/secret-token")
    _, (error,) = deliver(config.root(), [gone], pause=no_pause)
    assert "cannot be reached: ConnectionRefusedError" in str(error)


def test_slack_gets_text_whatever_a_log_put_into_it(
    tmp_path: Path, rules: Path, rule_set: RuleSet, hook: Hook
) -> None:
    config = evaluated(tmp_path, rules, rule_set)
    deliver(config.root(), [Sink("hook", "slack", "high", url=hook.url)])
    (text,) = [it["text"] for it in hook.taken if "Key made" in it["text"]]
    assert "&lt;b&gt;ana&lt;/b&gt;" in text
    assert text.startswith("[high] Key made: ana, 3 events")


def test_a_topic_gets_each_alert(tmp_path: Path, rules: Path, rule_set: RuleSet, aws: World) -> None:
    config = evaluated(tmp_path, rules, rule_set)
    sns, queue = client("sns", aws.access), aws.sqs.create_queue(QueueName="alerts")["QueueUrl"]
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    arn = aws.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    sink = Sink("topic", "sns", "high", topic_arn=topic, access=aws.access)
    assert deliver(config.root(), [sink]) == (2, [])
    taken = aws.sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5)["Messages"]
    envelopes = [json.loads(it["Body"]) for it in taken]
    assert {json.loads(it["Message"])["rule_title"] for it in envelopes} == {"Key made", "Many calls refused"}
    assert {it["Subject"] for it in envelopes} == {"[high] Key made", "[critical] Many calls refused"}
    missing = replace(sink, name="other", topic_arn=f"{topic}-missing")
    count, (error,) = deliver(config.root(), [missing])
    assert count == 0
    assert "sink 'other' did not take an alert" in str(error)
    assert "-missing" in str(error)


def test_sinks_come_from_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hook.url").write_text("https://hooks.example/secret-token\n")
    (tmp_path / "trailweave.toml").write_text(
        """
[[sink]]
name = "team"
kind = "slack"
url_file = "hook.url"

[[sink]]
name = "bus"
kind = "sns"
topic_arn = "arn:aws:sns:us-east-1:111122223333:alerts"
level = "high"
"""
    )
    config = load()
    assert [(it.name, it.kind, it.level) for it in config.sinks()] == [
        ("team", "slack", "medium"),
        ("bus", "sns", "high"),
    ]
    assert config.sinks(["stdout"])[0].kind == "stdout"
    assert config.sinks(["team"])[0].url == "https://hooks.example/secret-token"
    assert "secret-token" not in repr(config)
    with pytest.raises(ConfigError, match=r"no sink is named 'tem' \(did you mean 'team'\?\)"):
        config.sinks(["tem"])
    (tmp_path / "trailweave.toml").write_text('[[sink]]\nname = "team"\nkind = "slack"\n')
    with pytest.raises(ConfigError, match=r"sink 'team' of kind slack has no url"):
        load().sinks()
    (tmp_path / "trailweave.toml").write_text('[[sink]]\nname = "team"\nkind = "slack"\nurl_file = "none"\n')
    with pytest.raises(ConfigError, match=r"url_file cannot be read"):
        load().sinks()


def test_ingestion_evaluates_alerts_beside_itself(tmp_path: Path, rules: Path) -> None:
    from pipeline.commands import begin
    from pipeline.commands.ingestion import _recorders

    config = keep(tmp_path / "out", rules, [ISSUE, *USES])
    plan = begin(config, {})
    (recorder,) = _recorders(config, plan, Counter(), stitch=False, alerts=True)
    recorder.touch()
    assert {row["rule_title"] for row in told(config)} == {"Key made", "Many calls refused"}
