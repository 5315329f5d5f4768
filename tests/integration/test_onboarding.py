"""The CloudFormation template and the Terraform module: deployed, sufficient, and nothing more."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cfnlint.decode
import hcl2
import pytest
from cfnlint.api import lint_all
from support.records import envelope, record
from support.world import forget_clients
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands import begin, load
from pipeline.demo.emulator import Emulator, emulator
from pipeline.ingestion.ingest import ingest_until_stopped
from pipeline.onboarding.check import check, exit_code
from pipeline.onboarding.faults import Step
from pipeline.onboarding.template import filled_in, parameters, text
from schemas.errors import ConfigError
from transforms.fetch_objects import FetchLimits
from transforms.receive_messages import Limits
from transforms.stores.aws import Access, AwsFault, calling, client
from transforms.stores.files import Output
from transforms.stores.settings import Settings
from transforms.stores.sources import Source

ROOT = Path(__file__).parents[2]
KEY = "AWSLogs/111122223333/CloudTrail/us-east-1/2024/03/05/111122223333_CloudTrail_us-east-1_x.json"
BATCHED = {"sqs:ChangeMessageVisibility", "sqs:DeleteMessage"}
SERVICES = "s3,sqs,sns,sts,iam,cloudformation,events,kms"


def without_trail(template: str) -> str:
    """The emulator knows no trails; cfn-lint checks that resource."""
    kept = re.sub(r"\n  Trail:\n(?:    .*\n|\n(?=    ))+", "\n", template)
    assert "AWS::CloudTrail::Trail" in template
    assert "AWS::CloudTrail::Trail" not in kept
    return kept


def loaded() -> Any:
    template, problems = cfnlint.decode.decode_str(text())
    assert not problems
    return template


@dataclass(frozen=True)
class Stack:
    """A deployed template: its outputs."""

    outputs: dict[str, str]

    @property
    def bucket(self) -> str:
        return self.outputs["Location"].removeprefix("s3://").split("/")[0]


def deploy(access: Access, name: str, values: dict[str, str]) -> Stack:
    cloud = client("cloudformation", access)
    cloud.create_stack(StackName=name, TemplateBody=without_trail(filled_in(values)), Capabilities=["CAPABILITY_IAM"])
    cloud.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    (stack,) = cloud.describe_stacks(StackName=name)["Stacks"]
    return Stack({it["OutputKey"]: it["OutputValue"] for it in stack["Outputs"]})


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


# What the collector may do.


@dataclass(frozen=True)
class Strict:
    """An AWS that enforces IAM, the stack in it, and the collector's own access."""

    root: Access
    collector: Access
    stack: Stack
    policy_arn: str

    @property
    def document(self) -> dict[str, Any]:
        iam = client("iam", self.root)
        version = iam.get_policy(PolicyArn=self.policy_arn)["Policy"]["DefaultVersionId"]
        found: dict[str, Any] = iam.get_policy_version(PolicyArn=self.policy_arn, VersionId=version)["PolicyVersion"][
            "Document"
        ]
        return found

    @contextmanager
    def allowed(self, document: dict[str, Any]) -> Iterator[None]:
        """The collector's policy replaced for the time of the block."""
        iam = client("iam", self.root)
        before = self.document
        self._set(iam, document)
        try:
            yield
        finally:
            self._set(iam, before)

    def _set(self, iam: Any, document: dict[str, Any]) -> None:
        # AWS authorises a batch by the action of its entries (SQS developer guide, "Amazon SQS API permissions"); the
        # emulator by the operation's own name.
        for statement in document["Statement"]:
            batched = {f"{it}Batch" for it in listed(statement["Action"]) if it in BATCHED}
            statement["Action"] = sorted(listed(statement["Action"]) | batched)
        made = iam.create_policy_version(
            PolicyArn=self.policy_arn, PolicyDocument=json.dumps(document), SetAsDefault=True
        )["PolicyVersion"]
        for version in iam.list_policy_versions(PolicyArn=self.policy_arn)["Versions"]:
            if version["VersionId"] != made["VersionId"]:
                iam.delete_policy_version(PolicyArn=self.policy_arn, VersionId=version["VersionId"])

    def announce(self) -> None:
        client("s3", self.root).put_object(Bucket=self.stack.bucket, Key=KEY, Body=envelope([record("a")]))

    def steps(self, output: Output | None = None) -> list[Step]:
        source = Source("trail", queue_url=self.stack.outputs["QueueUrl"], access=self.collector)
        return list(check([source], output, Settings(), FetchLimits(), wait_s=2))


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Strict]:
    forget_clients()
    with emulator(enforce_iam=True, services=SERVICES) as started, started.applied():
        root = Access(endpoint_url=started.endpoint_url)
        client("s3", root).create_bucket(Bucket="lake")
        stack = deploy(root, "strict", {"Identity": "user", "OutputBucket": "lake", "OutputPrefix": "root"})
        # The emulator speaks no TLS, without which the bucket denies everything.
        s3 = client("s3", root)
        policy = json.loads(s3.get_bucket_policy(Bucket=stack.bucket)["Policy"])
        policy["Statement"] = [it for it in policy["Statement"] if it["Sid"] != "OnlyByTls"]
        s3.put_bucket_policy(Bucket=stack.bucket, Policy=json.dumps(policy))
        iam = client("iam", root)
        key = iam.create_access_key(UserName=stack.outputs["UserName"])["AccessKey"]
        file = tmp_path_factory.mktemp("credentials") / "credentials"
        secret = f"aws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n"
        file.write_text(f"[collector]\n{secret}")
        (managed,) = iam.list_policies(Scope="Local")["Policies"]
        collector = Access(endpoint_url=started.endpoint_url, credentials_file=str(file), profile="collector")
        made = Strict(root, collector, stack, managed["Arn"])
        made._set(iam, made.document)
        yield made
    forget_clients()


def test_the_policy_is_enough(strict: Strict) -> None:
    strict.announce()
    found = strict.steps(Output("s3://lake/root", strict.collector))
    assert [step for step in found if step.verdict not in ("ok", "note")] == []
    assert exit_code(found) == 0
    source = Source("trail", queue_url=strict.stack.outputs["QueueUrl"], access=strict.collector)
    access = {"endpoint_url": strict.collector.endpoint_url, "credentials_file": strict.collector.credentials_file}
    config = load(output="s3://lake/root", output_access={**access, "profile": "collector"})
    plan = begin(config, {"trail": source})
    limits = Limits(messages=10, wait_s=1.0, idle_s=2.0)
    summary = ingest_until_stopped(plan, limits, until_idle_s=2.0, quiet=True).as_json()
    assert (summary["records"] > 0, summary["deferred"], summary["dead_letters"]) == (True, 0, 0)


@pytest.mark.parametrize(
    ("action", "step"),
    [
        ("sqs:ReceiveMessage", "receive"),
        ("sqs:ChangeMessageVisibility", "give back"),
        ("sqs:DeleteMessage", "delete"),
        ("s3:GetObject", "object"),
        ("s3:PutObject", "output"),
    ],
)
def test_each_permission_taken_away_gives_the_right_complaint(strict: Strict, action: str, step: str) -> None:
    document = strict.document
    for statement in document["Statement"]:
        left = listed(statement["Action"]) - {action, f"{action}Batch"}
        statement["Action"] = sorted(left) or ["sts:GetCallerIdentity"]
    strict.announce()
    with strict.allowed(document):
        found = strict.steps(Output("s3://lake/root", strict.collector))
    (complaint,) = [it for it in found if it.name == step]
    assert complaint.verdict == "denied"
    assert complaint.statement is not None
    assert complaint.statement["Action"] == action
    assert strict.stack.outputs["UserName"] in complaint.got
    assert exit_code(found) == 3


def test_the_policy_allows_nothing_more(strict: Strict) -> None:
    queue, sqs, s3 = strict.stack.outputs["QueueUrl"], client("sqs", strict.collector), client("s3", strict.collector)
    for action, call in {
        "sqs:SendMessage": lambda: sqs.send_message(QueueUrl=queue, MessageBody="x"),
        "sqs:PurgeQueue": lambda: sqs.purge_queue(QueueUrl=queue),
        "s3:PutObject": lambda: s3.put_object(Bucket=strict.stack.bucket, Key="x", Body=b""),
        "s3:DeleteObject": lambda: s3.delete_object(Bucket="lake", Key="root/x"),
        "s3:ListBucket": lambda: s3.list_objects_v2(Bucket=strict.stack.bucket),
        "s3:GetObject": lambda: s3.get_object(Bucket="lake", Key="elsewhere/x"),
        "sqs:ReceiveMessage": lambda: sqs.receive_message(QueueUrl=strict.stack.outputs["DeadLetterQueueUrl"]),
        "iam:ListUsers": lambda: client("iam", strict.collector).list_users(),
    }.items():
        with pytest.raises(AwsFault) as raised, calling(action, "it", strict.collector):
            call()
        assert raised.value.kind in ("denied", "denied_or_missing"), action


RIGHTS = {
    "ReadMessages": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"},
    "ReadObjects": {"s3:GetObject"},
    "DecryptObjects": {"kms:Decrypt"},
    "ListBucket": {"s3:ListBucket"},
    "TakeDeadLetters": {"sqs:ReceiveMessage", "sqs:DeleteMessage"},
    "BringThemBack": {"sqs:SendMessage"},
    "WriteOutput": {"s3:PutObject", "s3:GetObject"},
    "ListOutput": {"s3:ListBucket"},
    "CompactOutput": {"s3:DeleteObject"},
}


def listed(actions: Any) -> set[str]:
    return set(actions) if isinstance(actions, list) else {actions}


def statements_of(document: Any) -> dict[str, set[str]]:
    """Sid to actions, whether a statement is under a condition or not."""
    flat = [it["Fn::If"][1] if "Fn::If" in it else it for it in document["Statement"]]
    return {it["Sid"]: listed(it["Action"]) for it in flat}


def test_the_template_gives_the_rights_that_are_documented() -> None:
    resources = loaded()["Resources"]
    assert statements_of(resources["CollectorPolicy"]["Properties"]["PolicyDocument"]) == RIGHTS


# Terraform.


def unquoted(value: Any) -> Any:
    """Newer parsers keep the quotes of strings."""
    if isinstance(value, dict):
        return {unquoted(key): unquoted(it) for key, it in value.items()}
    if isinstance(value, list):
        return [unquoted(it) for it in value]
    return value.strip('"') if isinstance(value, str) else value


def module() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path in sorted((ROOT / "deploy/terraform").glob("*.tf")):
        with path.open() as file:
            for kind, blocks in unquoted(hcl2.load(file)).items():
                if isinstance(blocks, list):
                    found.setdefault(kind, []).extend(blocks)
    return found


def policy_documents() -> dict[str, dict[str, set[str]]]:
    documents = {}
    for block in module()["data"]:
        for name, body in block.get("aws_iam_policy_document", {}).items():
            statements = list(body.get("statement", []))
            for dynamic in body.get("dynamic", []):
                if "statement" in dynamic:
                    content = dynamic["statement"]["content"]
                    statements += content if isinstance(content, list) else [content]
            documents[name] = {it["sid"]: set(it["actions"]) for it in statements if "sid" in it}
    return documents


def test_the_module_gives_the_same_rights_as_the_template() -> None:
    resources, documents = loaded()["Resources"], policy_documents()
    for name, resource in {
        "collector": "CollectorPolicy",
        "bucket": "TrailBucketPolicy",
        "queue": "QueuePolicy",
        "topic": "TopicPolicy",
    }.items():
        assert documents[name] == statements_of(resources[resource]["Properties"]["PolicyDocument"]), name
    assert documents["key"] == statements_of(resources["TrailKey"]["Properties"]["KeyPolicy"])


def test_the_module_has_the_parameters_of_the_template_with_their_defaults() -> None:
    found = {name: body for block in module()["variable"] for name, body in block.items()}
    wanted = {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): it for name, it in parameters().items()}
    assert found.keys() == wanted.keys()
    for name, asked in wanted.items():
        default = {"yes": True, "no": False}.get(asked.default, asked.default)
        assert str(found[name]["default"]).lower() == str(default).lower(), name


def test_the_module_has_the_outputs_of_the_template() -> None:
    found = {name for block in module()["output"] for name in block}
    assert found == {re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() for name in loaded()["Outputs"]}


def test_terraform_accepts_the_module(tmp_path: Path) -> None:
    terraform = shutil.which("terraform")
    if terraform is None:
        pytest.skip("no terraform here")
    folder = tmp_path / "module"
    shutil.copytree(ROOT / "deploy/terraform", folder)
    subprocess.run([terraform, "fmt", "-check", "-diff"], cwd=folder, check=True, capture_output=True, timeout=60)
    began = subprocess.run(
        [terraform, "init", "-backend=false", "-input=false"], cwd=folder, capture_output=True, text=True, timeout=200
    )
    if began.returncode:
        pytest.skip("the registry of Terraform's providers cannot be reached")
    done = subprocess.run([terraform, "validate"], cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


# Filling in.


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
