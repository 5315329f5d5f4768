"""What the collector may do by the template's policy: enough, nothing more, and what is documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from support.records import envelope, record
from support.stacks import KEY, SERVICES, Stack, deploy, listed, loaded, statements_of
from support.world import forget_clients

from pipeline.commands import begin, load
from pipeline.demo.emulator import emulator
from pipeline.ingestion.ingest import ingest_until_stopped
from pipeline.onboarding.check import check, exit_code
from pipeline.onboarding.faults import Step
from transforms.fetch_objects import FetchLimits
from transforms.receive_messages import Limits
from transforms.stores.aws import Access, client
from transforms.stores.aws_faults import calling
from transforms.stores.faults import CallFault
from transforms.stores.files import Output
from transforms.stores.settings import Settings
from transforms.stores.sources import Source

BATCHED = {"sqs:ChangeMessageVisibility", "sqs:DeleteMessage"}


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
        with pytest.raises(CallFault) as raised, calling(action, "it", strict.collector):
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


def test_the_template_gives_the_rights_that_are_documented() -> None:
    resources = loaded()["Resources"]
    assert statements_of(resources["CollectorPolicy"]["Properties"]["PolicyDocument"]) == RIGHTS
