"""The Test button: what it says on a path that works, and what on each fault."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fault_proxy import (
    denied,
    denied_without_a_word,
    kms_denied,
    s3_error,
    sqs_denied,
    sqs_error,
    sts_error,
    unreached,
)
from support.records import envelope, record
from support.world import World, forget_clients
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.onboarding.check import check, exit_code
from pipeline.onboarding.faults import Step
from transforms.fetch_objects import FetchLimits
from transforms.stores.files import Output
from transforms.stores.local import LocalStore
from transforms.stores.settings import Settings, agree

KEY = "AWSLogs/111122223333/CloudTrail/us-east-1/2024/03/05/111122223333_CloudTrail_us-east-1_x.json"


def steps(world: World, *, output: Output | None = None, wait_s: int = 2, **members: Any) -> list[Step]:
    return list(check([world.source(**members)], output, Settings(), FetchLimits(), wait_s))


def told(found: Sequence[Step]) -> dict[str, str]:
    return {step.name: step.verdict for step in found}


def one(found: Sequence[Step], name: str) -> Step:
    (step,) = [step for step in found if step.name == name]
    return step


def test_a_path_that_works_is_fine_at_every_step_and_nothing_changes(aws: World, tmp_path: Path) -> None:
    aws.put(KEY, envelope([record("a"), record("b")]))
    found = steps(aws, output=Output(str(tmp_path / "out")))
    names = ["identity", "queue", "receive", "delete", "message", "object", "records", "normalize", "output"]
    assert {name: told(found)[name] for name in names} == dict.fromkeys(names, "ok")
    assert one(found, "give back").verdict == "ok"
    assert KEY in one(found, "message").got
    assert one(found, "records").got == "2 records of cloudtrail"
    assert aws.waiting() == (1, 0)
    assert [it.name for it in (tmp_path / "out").iterdir()] == [".trailweave"]


def test_an_empty_queue_is_told_from_one_that_cannot_be_read(aws: World, faulty: World) -> None:
    found = steps(aws, wait_s=1)
    assert one(found, "receive").verdict == "note"
    assert "can be read and holds no visible message" in one(found, "receive").got
    assert one(found, "message").verdict == "skipped"
    assert exit_code([step for step in found if step.verdict != "misconfigured"]) == 0
    assert faulty.proxy
    faulty.proxy.when("ReceiveMessage").do(sqs_denied("sqs:receivemessage"))
    found = steps(faulty)
    receive = one(found, "receive")
    assert receive.verdict == "denied"
    assert receive.statement is not None
    assert receive.statement["Action"] == "sqs:ReceiveMessage"
    assert receive.statement["Resource"].endswith(faulty.queue_url.rsplit("/", 1)[1])
    assert exit_code(found) == 3


@pytest.mark.parametrize(
    ("operation", "fault", "name", "action"),
    [
        (
            "ChangeMessageVisibilityBatch",
            sqs_denied("sqs:changemessagevisibility"),
            "give back",
            "sqs:ChangeMessageVisibility",
        ),
        ("DeleteMessage", sqs_denied("sqs:deletemessage"), "delete", "sqs:DeleteMessage"),
        ("GetObject", denied(), "object", "s3:GetObject"),
        ("GetObject", denied_without_a_word(), "object", "s3:GetObject"),
        ("GetObject", kms_denied(), "object", "kms:Decrypt"),
    ],
)
def test_a_denial_names_the_action_and_the_statement_to_add(
    faulty: World, operation: str, fault: Any, name: str, action: str
) -> None:
    assert faulty.proxy
    faulty.put(KEY, envelope([record("a")]))
    faulty.proxy.when(operation).do(fault)
    step = one(steps(faulty), name)
    assert step.verdict == "denied"
    assert step.statement is not None
    assert step.statement["Action"] == action
    assert step.remedy
    assert step.got


BECAUSE: list[tuple[str, str]] = [
    (
        "because no identity-based policy allows the s3:GetObject action",
        "the identity policy of the principal lacks it",
    ),
    ("because no resource-based policy allows the s3:GetObject action", "the bucket policy lacks it"),
    ("with an explicit deny in a resource-based policy", "the bucket policy denies it"),
    ("with an explicit deny in an identity-based policy", "an identity policy of the principal denies it"),
    (
        "with an explicit deny in a service control policy",
        "a service control policy (SCP) of the organisation denies it",
    ),
    ("because no service control policy allows the s3:GetObject action", "a service control policy (SCP)"),
    ("because no permissions boundary allows the s3:GetObject action", "the permissions boundary"),
    ("because no session policy allows the s3:GetObject action", "the session policy"),
    ("because no VPC endpoint policy allows the s3:GetObject action", "the policy of the VPC endpoint"),
]


@pytest.mark.parametrize(("because", "remedy"), BECAUSE)
def test_the_policy_to_look_at_is_the_one_that_aws_names(faulty: World, because: str, remedy: str) -> None:
    assert faulty.proxy
    faulty.put(KEY, envelope([record("a")]))
    text = (
        f"User: arn:aws:iam::111122223333:user/t is not authorized to perform: s3:GetObject on resource: x {because}"
    )
    faulty.proxy.when("GetObject").do(s3_error(403, "AccessDenied", text))
    step = one(steps(faulty), "object")
    assert step.verdict == "denied"
    assert remedy in str(step.remedy)


def test_what_cannot_be_reached_is_told_apart(faulty: World) -> None:
    assert faulty.proxy
    faulty.proxy.when("ReceiveMessage").do(unreached())
    found = steps(faulty)
    assert one(found, "receive").verdict == "unreachable"
    assert exit_code(found) == 5


@pytest.mark.parametrize(
    "fault",
    [
        None,
        sts_error(403, "InvalidClientTokenId", "The security token included in the request is invalid."),
        sts_error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match"),
    ],
)
def test_without_credentials_there_is_one_complaint_and_no_talk_of_networks(
    faulty: World, monkeypatch: pytest.MonkeyPatch, fault: Any
) -> None:
    assert faulty.proxy
    if fault is None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
    else:
        faulty.proxy.when("GetCallerIdentity").do(fault)
    found = steps(faulty)
    assert [(step.name, step.verdict) for step in found] == [("identity", "misconfigured"), ("message", "skipped")]
    assert "AWS_ACCESS_KEY_ID" in str(found[0].remedy)
    assert exit_code(found) == 1


def test_a_role_that_may_not_be_assumed_is_told_with_its_trust_policy(faulty: World) -> None:
    assert faulty.proxy
    role = "arn:aws:iam::999988887777:role/collector"
    text = f"User: arn:aws:iam::111122223333:user/t is not authorized to perform: sts:AssumeRole on resource: {role}"
    faulty.proxy.when("AssumeRole").do(sts_error(403, "AccessDenied", text))
    found = steps(faulty, access=replace(faulty.access, role_arn=role, external_id="wrong"))
    assert [(step.name, step.verdict) for step in found] == [("identity", "denied"), ("message", "skipped")]
    assert "trust policy" in str(found[0].remedy)
    assert found[0].statement == {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": role}
    assert "wrong" not in found[0].got
    assert exit_code(found) == 3


def test_a_queue_that_cannot_be_reached_is_told_once(faulty: World) -> None:
    assert faulty.proxy
    faulty.proxy.when("GetQueueAttributes").do(unreached())
    found = steps(faulty)
    assert [step.name for step in found if step.verdict == "unreachable"] == ["queue"]
    assert exit_code(found) == 5


def test_a_queue_that_is_not_there_is_a_misconfiguration(faulty: World) -> None:
    found = steps(faulty, queue_url=faulty.queue_url + "-other")
    assert [(step.name, step.verdict) for step in found] == [
        ("identity", "ok"),
        ("queue", "misconfigured"),
        ("message", "skipped"),
    ]
    assert exit_code(found) == 1


def test_settings_that_nobody_may_look_at_are_no_fault(faulty: World) -> None:
    assert faulty.proxy
    faulty.proxy.when("GetQueueAttributes").do(sqs_denied("sqs:getqueueattributes"))
    assert one(steps(faulty, wait_s=1), "queue").got == "not allowed, and not needed: its settings are not looked at"


@pytest.mark.parametrize(
    ("attributes", "name", "got"),
    [
        ({"VisibilityTimeout": "20"}, "visibility timeout", "20 s"),
        ({"MessageRetentionPeriod": "86400"}, "retention", "1 days"),
        ({"RedrivePolicy": ""}, "dead-letter queue", "none"),
        ({"Policy": ""}, "notification", "no policy lets S3"),
    ],
)
def test_usual_misconfigurations_of_the_queue_are_spotted(
    aws: World, attributes: dict[str, str], name: str, got: str
) -> None:
    good = {"VisibilityTimeout": "300", "MessageRetentionPeriod": "1209600"}
    aws.sqs.set_queue_attributes(QueueUrl=aws.queue_url, Attributes={**good, **attributes})
    step = one(steps(aws, wait_s=1), name)
    assert step.verdict == "misconfigured"
    assert got in step.got
    assert step.remedy


def test_a_queue_in_order_has_no_complaint(aws: World) -> None:
    good = {"VisibilityTimeout": "300", "MessageRetentionPeriod": "1209600"}
    aws.sqs.set_queue_attributes(QueueUrl=aws.queue_url, Attributes=good)
    assert exit_code(steps(aws, wait_s=1)) == 0


def test_a_fifo_queue_is_told(aws: World) -> None:
    assert "FIFO" in one(steps(aws, wait_s=1, queue_url=aws.queue_url + ".fifo"), "queue kind").got


@pytest.mark.parametrize(
    ("body", "verdict", "got"),
    [
        ("no notification", "misconfigured", "it is no notification"),
        ('{"Event": "s3:TestEvent"}', "note", "no log file"),
    ],
)
def test_messages_that_announce_no_log_are_told(aws: World, body: str, verdict: str, got: str) -> None:
    aws.send(body)
    step = one(steps(aws), "message")
    assert step.verdict == verdict
    assert got in step.got


def test_an_envelope_of_sns_is_noted_and_read(aws: World) -> None:
    aws.put(KEY, envelope([record("a")]))
    (message,) = aws.sqs.receive_message(QueueUrl=aws.queue_url, WaitTimeSeconds=5)["Messages"]
    aws.sqs.delete_message(QueueUrl=aws.queue_url, ReceiptHandle=message["ReceiptHandle"])
    aws.send(json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:x", "Message": message["Body"]}))
    found = steps(aws)
    assert "SNS envelope" in one(found, "message").got
    assert one(found, "records").verdict == "ok"


def test_a_bucket_that_is_not_allowed_is_told(aws: World) -> None:
    aws.put(KEY, envelope([record("a")]))
    step = one(steps(aws, buckets=("another",)), "message")
    assert step.verdict == "misconfigured"
    assert "`buckets`" in str(step.remedy)


def test_an_object_that_is_no_log_is_told(aws: World) -> None:
    aws.put(KEY, b"no json")
    step = one(steps(aws), "records")
    assert step.verdict == "misconfigured"
    assert step.got


def test_an_object_that_is_gone_is_a_misconfiguration(aws: World) -> None:
    aws.put(KEY, envelope([record("a")]))
    aws.s3.delete_object(Bucket=aws.bucket, Key=KEY)
    assert one(steps(aws), "object").verdict == "misconfigured"


def test_an_output_that_was_begun_otherwise_or_cannot_be_written_is_told(aws: World, tmp_path: Path) -> None:
    agree(LocalStore(tmp_path / "out"), Settings(sessions=False))
    step = one(steps(aws, output=Output(str(tmp_path / "out")), wait_s=1), "settings")
    assert step.verdict == "misconfigured"
    (tmp_path / "file").write_text("")
    step = one(steps(aws, output=Output(str(tmp_path / "file" / "below")), wait_s=1), "output")
    assert step.verdict in ("denied", "misconfigured")


def test_a_denied_output_names_the_statement(faulty: World, make_world: Callable[..., World]) -> None:
    assert faulty.proxy
    faulty.proxy.when("PutObject").do(denied())
    output = Output(f"s3://{faulty.bucket}-out/root", faulty.access)
    faulty.s3.create_bucket(Bucket=f"{faulty.bucket}-out")
    step = one(steps(faulty, output=output, wait_s=1), "output")
    assert step.verdict == "denied"
    assert step.statement == {
        "Effect": "Allow",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{faulty.bucket}-out/root/*",
    }


def test_a_clock_that_is_off_is_told(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.onboarding import check as module

    now = module.time.time
    monkeypatch.setattr(module.time, "time", lambda: now() + 3_600)
    step = one(steps(aws, wait_s=1), "clock")
    assert step.verdict == "misconfigured"
    assert "+3" in step.got


def test_the_command_prints_each_step_and_exits_by_the_gravest(
    faulty: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert faulty.proxy
    faulty.put(KEY, envelope([record("a")]))
    monkeypatch.setenv("AWS_ENDPOINT_URL", faulty.endpoint_url)
    forget_clients()
    asked = ["check", "--queue-url", faulty.queue_url, "--output", str(tmp_path / "out"), "--wait", "2"]
    faulty.sqs.set_queue_attributes(
        QueueUrl=faulty.queue_url, Attributes={"VisibilityTimeout": "300", "MessageRetentionPeriod": "1209600"}
    )
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    assert "default: normalize" in done.stdout
    faulty.proxy.when("GetObject").do(denied())
    done = CliRunner().invoke(app, [*asked, "--json"])
    assert done.exit_code == 3
    answer = json.loads(done.stdout)
    assert answer["exit_code"] == 3
    assert [step["name"] for step in answer["steps"] if step["verdict"] == "denied"] == ["object"]
    page = CliRunner().invoke(app, asked).stdout
    assert "DENIED" in page
    assert '"Action": "s3:GetObject"' in page


def test_a_kind_of_answer_that_is_no_denial_is_not_called_one(faulty: World) -> None:
    assert faulty.proxy
    faulty.proxy.when("ReceiveMessage").do(sqs_error(500, "InternalError", "x"))
    assert one(steps(faulty, wait_s=1), "receive").verdict == "unreachable"
