"""Alerts delivered to webhooks, Slack and topics: each once, again when it goes on, and when it was not taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from support.alerting import IAM, ISSUE, NOW, USES, keep
from support.credentials import use, user
from support.served import ANY_PORT, Quiet, served
from support.world import World

from pipeline.alerting import alerts
from pipeline.alerting.sinks import Sink, deliver
from pipeline.commands import load
from pipeline.config import Config
from schemas.errors import ConfigError
from transforms.rules.sigma import RuleSet
from transforms.stores.aws import client


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
