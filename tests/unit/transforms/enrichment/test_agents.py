"""What user agents tell."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.enrichment.agents import _TOOLS, Agent, agent

AGENTS = {
    "aws-cli/2.15.1 Python/3.11.6 Linux/4.19.0-kali4-amd64 exe/x86_64 prompt/off": Agent(
        "AWS CLI", "CLI", "2.15.1", "KALI"
    ),
    "Boto3/1.28.0 md/Botocore#1.31.0 ua/2.0 os/linux#6.5.0-1parrot1-amd64": Agent("Boto3", "SDK", "1.28.0", "PARROT"),
    "Boto3/1.7.48 Python/3.9.1 Windows/10 Botocore/1.10.48": Agent("Boto3", "SDK", "1.7.48", "WINDOWS"),
    "APN/1.0 HashiCorp/1.0 Terraform/1.6.2 (+https://www.terraform.io) terraform-provider-aws/5.1 aws-sdk-go/1.4": (
        Agent("Terraform", "IAC", "1.6.2", None)
    ),
    "aws-sdk-go-v2/1.24.0 os/macos lang/go#1.21 md/GOARCH#arm64": Agent(
        "AWS SDK for Go v2", "SDK", "1.24.0", "MACOS"
    ),
    "aws-sdk-go/1.44.0 (go1.19; linux; amd64)": Agent("AWS SDK for Go", "SDK", "1.44.0", "LINUX"),
    "kubectl/v1.28.3 (linux/amd64) kubernetes/a8a1abc": Agent("kubectl", "KUBERNETES", "1.28.3", "LINUX"),
    "TruffleHog": Agent("TruffleHog", "SECURITY_TESTING", None, None),
    "Scout Suite/5.13.0 Boto3/1.2": Agent("ScoutSuite", "SECURITY_TESTING", "5.13.0", None),
    "S3 Browser 9.5.5 <https://s3browser.com>": Agent("S3 Browser", "STORAGE_CLIENT", "9.5.5", None),
    "[S3Console/0.4, aws-internal/3]": Agent("Amazon S3 console", "CONSOLE", "0.4", None),
    "signin.amazonaws.com": Agent("AWS console", "CONSOLE", None, None),
    "console.ec2.amazonaws.com": Agent("AWS console", "CONSOLE", None, None),
    "cloudformation.amazonaws.com": Agent("CloudFormation", "IAC", None, None),
    "autoscaling.amazonaws.com": Agent("autoscaling.amazonaws.com", "AWS_SERVICE", None, None),
    "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.1": (
        Agent("Edge", "BROWSER", "120.1", "WINDOWS")
    ),
}


@pytest.mark.parametrize("text", AGENTS)
def test_a_user_agent_tells_its_tool_version_and_system(text: str) -> None:
    assert agent(text) == AGENTS[text]


@pytest.mark.parametrize("text", ["", "something of our own", "robotool/1.0", "opaculent/2", "helmet/1"])
def test_a_name_is_not_found_inside_of_words(text: str) -> None:
    assert agent(text) == Agent()


def test_of_a_hostile_user_agent_the_beginning_is_read() -> None:
    assert agent("x" * 1_000_000 + " Boto3/1.0") == Agent()


NAMES = sorted(
    {re.sub(r"[?()|*]|\\.|\[.*?\]", "", name) for _, _, name in _TOOLS} | {"chrome", "HELM", "Boto3", "edgios"}
)


@given(st.lists(st.sampled_from(NAMES) | st.sampled_from(["/1.2", "#v3", " ", "-", "(", "x", "\u212a"]), max_size=8))
def test_the_tool_is_the_first_of_the_list_whose_name_the_text_holds(pieces: list[str]) -> None:
    text = "".join(pieces).strip()
    held = (
        (tool, kind)
        for tool, kind, name in _TOOLS
        if re.search(rf"(?<![a-z0-9])(?:{name})(?![a-z0-9])", text, re.IGNORECASE)
    )
    found = agent(text)
    assert (found.caller_tool, found.caller_tool_kind) == next(held, (None, None))
