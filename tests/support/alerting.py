"""Events that rules make alerts of, replayed into an output root."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.alerting import alerts
from pipeline.commands import load
from pipeline.config import Config
from support.credentials import assume, role, use, user
from support.replaying import replay_records

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
