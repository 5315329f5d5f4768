"""A record, rules over it, and what they hit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import yaml

from transforms.providers import PROVIDERS_BY_NAME
from transforms.rules.matching import RuleMatcher
from transforms.rules.sigma import Rule, RuleText, compile_rules

PROVIDER = PROVIDERS_BY_NAME["cloudtrail"]
RECORD = {
    "eventVersion": "1.09",
    "eventTime": "2024-03-05T07:08:09Z",
    "eventSource": "iam.amazonaws.com",
    "eventName": "CreateUser",
    "awsRegion": "us-east-1",
    "sourceIPAddress": "203.0.113.7",
    "userAgent": "aws-cli/2.0 Python/3",
    "userIdentity": {"type": "IAMUser", "userName": "ada", "arn": "arn:aws:iam::111122223333:user/ada"},
    "requestParameters": {"userName": "ada", "size": 5, "tags": [{"key": "Team"}, {"key": "cost"}], "force": True},
    "eventID": "e1",
    "recipientAccountId": "111122223333",
}


def record(**members: Any) -> dict[str, Any]:
    return {**RECORD, **members}


def compiled(detection: Any, **more: Any) -> Rule:
    return in_yaml(yaml.safe_dump({"title": "One", "logsource": SOURCE, "detection": detection, **more}))


SOURCE = {"product": "aws", "service": "cloudtrail"}


def in_yaml(text: str) -> Rule:
    found = compile_rules([RuleText("one.yml", text)]).checked()
    (rule,) = found.rules
    return rule


def decoded(records: Sequence[dict[str, Any]], texts: Sequence[bytes] | None = None) -> pa.Table:
    raws = texts or [json.dumps(it).encode() for it in records]
    table = PROVIDER.decode(raws).combine_chunks()
    return table.append_column("raw_json", pa.array(raws, pa.binary()))


def hit(rule: Rule, records: Sequence[dict[str, Any]]) -> list[bool]:
    found = np.zeros(len(records), np.bool_)
    for hits in RuleMatcher([rule], PROVIDER).hits(decoded(records), None):
        found[hits.rows] = True
    return found.tolist()
