"""The CloudFormation template: read as data, and deployed on an emulated AWS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import cfnlint.decode

from pipeline.onboarding.template import filled_in, text
from transforms.stores.aws import Access, client

KEY = "AWSLogs/111122223333/CloudTrail/us-east-1/2024/03/05/111122223333_CloudTrail_us-east-1_x.json"
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


def listed(actions: Any) -> set[str]:
    return set(actions) if isinstance(actions, list) else {actions}


def statements_of(document: Any) -> dict[str, set[str]]:
    """Sid to actions, whether a statement is under a condition or not."""
    flat = [it["Fn::If"][1] if "Fn::If" in it else it for it in document["Statement"]]
    return {it["Sid"]: listed(it["Action"]) for it in flat}
