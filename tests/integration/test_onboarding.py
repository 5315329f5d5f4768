"""The CloudFormation template: filled in, deployed, and the main job upon it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cfnlint.decode
import pytest
from cfnlint.api import lint_all
from support.records import envelope, record
from support.stacks import KEY, SERVICES, Stack, deploy, loaded
from support.world import forget_clients
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands import begin, load
from pipeline.demo.emulator import Emulator, emulator
from pipeline.ingestion.ingest import ingest_until_stopped
from pipeline.onboarding.template import filled_in, text
from schemas.errors import ConfigError
from transforms.receive_messages import Limits
from transforms.stores.aws import Access, client

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def aws_with_stacks() -> Iterator[Emulator]:
    forget_clients()
    with emulator(services=SERVICES) as started:
        yield started
    forget_clients()


def test_cfn_lint_has_nothing_to_say() -> None:
    found = [f"{it.rule.id} {it.message} {it.path}" for it in lint_all(text())]
    assert [it for it in found if not it.startswith("I")] == []


def test_what_a_user_launches_is_what_the_command_writes() -> None:
    assert (ROOT / "deploy/cloudformation/trailweave.yaml").read_text() == text()
    done = CliRunner().invoke(app, ["setup", "--print"])
    assert done.stdout == text()
    assert "aws cloudformation deploy" in done.stderr


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"Notification": "sns", "BucketName": "by-sns"},
        {"CreateKey": "yes", "Identity": "user", "ExternalId": "ours"},
    ],
    ids=lambda it: "-".join(it.values()) or "defaults",
)
def test_the_main_job_runs_on_what_the_template_makes(
    aws_with_stacks: Emulator, values: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with aws_with_stacks.applied():
        access = Access(endpoint_url=aws_with_stacks.endpoint_url)
        stack = deploy(access, f"tw{abs(hash(tuple(values.items())))}", values)
        client("s3", access).put_object(Bucket=stack.bucket, Key=KEY, Body=envelope([record("a")]))
        monkeypatch.chdir(tmp_path)
        Path("trailweave.toml").write_text(stack.outputs["Source"])
        (source,) = load(output=str(tmp_path / "out")).sources().values()
        assert source.buckets == (stack.bucket,)
        assert (source.location, source.access.role_arn) == (stack.outputs["Location"], stack.outputs.get("RoleArn"))
        access = replace(access, role_arn=source.access.role_arn, external_id=values.get("ExternalId"))
        plan = begin(load(output=str(tmp_path / "out")), {"trail": replace(source, access=access)})
        limits = Limits(messages=10, wait_s=1.0, idle_s=2.0)
        summary = ingest_until_stopped(plan, limits, until_idle_s=2.0, quiet=True).as_json()
        assert (summary["written"], summary["dead_letters"], summary["deferred"]) == (1, 0, 0)


def policy_for_s3(access: Access, stack: Stack) -> Any:
    """The policy of what S3 announces to: the queue, or the topic that the queue listens to."""
    sqs = client("sqs", access)
    found = sqs.get_queue_attributes(QueueUrl=stack.outputs["QueueUrl"], AttributeNames=["Policy"])["Attributes"]
    (statement,) = json.loads(found["Policy"])["Statement"]
    if statement["Principal"]["Service"] == "sns.amazonaws.com":
        topic = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
        found = client("sns", access).get_topic_attributes(TopicArn=topic)["Attributes"]
        (statement,) = json.loads(found["Policy"])["Statement"]
    assert statement["Principal"]["Service"] == "s3.amazonaws.com"
    return statement


@pytest.mark.parametrize("name", ["", "named"])
@pytest.mark.parametrize("notification", ["s3", "sns"])
def test_only_the_trails_own_bucket_may_announce_objects(
    aws_with_stacks: Emulator, notification: str, name: str
) -> None:
    with aws_with_stacks.applied():
        access = Access(endpoint_url=aws_with_stacks.endpoint_url)
        bucket = name and f"{name}-by-{notification}"
        stack = deploy(access, f"Own{notification}{name}", {"Notification": notification, "BucketName": bucket})
        assert re.fullmatch(bucket or "trailweave-111122223333-[0-9a-f]{12}", stack.bucket)
        condition = policy_for_s3(access, stack)["Condition"]
        assert condition["StringEquals"]["aws:SourceAccount"] == "111122223333"
        assert condition["ArnLike"]["aws:SourceArn"] == f"arn:aws:s3:::{stack.bucket}"


def test_a_bucket_is_made_once_it_is_allowed_to_announce() -> None:
    """S3 refuses a notification to a queue or topic whose policy does not let it in."""
    bucket = loaded()["Resources"]["TrailBucket"]
    assert bucket["DependsOn"] == "QueuePolicy"
    assert '{"Ref": "TopicPolicy"}' in json.dumps(bucket["Properties"]["NotificationConfiguration"])


def test_the_template_by_event_bridge_names_the_rule_that_may_send(aws_with_stacks: Emulator) -> None:
    with aws_with_stacks.applied():
        access = Access(endpoint_url=aws_with_stacks.endpoint_url)
        stack = deploy(access, "by-rule", {"Notification": "eventbridge", "BucketName": "by-rule-bucket"})
        (rule,) = [it for it in client("events", access).list_rules()["Rules"] if it["Name"] == "by-rule-objects"]
        sqs = client("sqs", access)
        found = sqs.get_queue_attributes(QueueUrl=stack.outputs["QueueUrl"], AttributeNames=["Policy"])["Attributes"]
        (statement,) = json.loads(found["Policy"])["Statement"]
        assert statement["Condition"]["ArnEquals"]["aws:SourceArn"] == rule["Arn"]
        assert json.loads(rule["EventPattern"])["detail"]["bucket"]["name"] == ["by-rule-bucket"]


def test_parameters_are_filled_in() -> None:
    filled = filled_in({"BucketName": 'o"rg', "RetentionDays": "30", "Notification": "sns"})
    template, problems = cfnlint.decode.decode_str(filled)
    assert not problems
    defaults = {name: it["Default"] for name, it in template["Parameters"].items()}
    assert defaults["BucketName"] == 'o"rg'
    assert defaults["RetentionDays"] == 30
    assert defaults["Notification"] == "sns"
    assert defaults["TrailName"] == "trailweave"


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"Bucket": "x"}, r"no parameter 'Bucket'; did you mean 'BucketName'"),
        ({"Frob": "x"}, r"`trailweave setup --list` shows"),
        ({"CreateKey": "maybe"}, r"CreateKey has the value 'maybe'; use one of yes, no"),
        ({"OrganizationId": "x"}, r"does not match"),
        ({"BucketName": "a\nb"}, r"control character"),
    ],
)
def test_values_that_the_template_does_not_know_are_told(values: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        filled_in(values)


def test_the_command_lists_the_parameters_and_asks_for_one_of_its_options() -> None:
    assert "RetentionDays=365" in CliRunner().invoke(app, ["setup", "--list"]).stdout
    assert isinstance(CliRunner().invoke(app, ["setup"]).exception, ConfigError)
    assert isinstance(CliRunner().invoke(app, ["setup", "--print", "--param", "x"]).exception, ConfigError)
