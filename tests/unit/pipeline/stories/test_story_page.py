"""A story's page reads at 80 columns, and says everything."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from pipeline.stories.page import render
from pipeline.stories.stories import Story

START = datetime(2026, 1, 12, 23, 59, 50, tzinfo=UTC)
SUMMARY = {
    "story_id": "story-0123456789abcdef",
    "root_identity": "ci-deploy",
    "root_type": "USER",
    "root_sub_type": "IAM",
    "root_method": "session",
    "confidence": 1.0,
    "first_seen": START,
    "last_seen": START,
    "accounts": ["111122223333"],
    "caller_ips": ["192.0.2.20"],
    "user_agents": ["aws-cli"],
    "events": 3,
    "failures": 1,
    "denials": 1,
}
SESSION = {
    "session_id": "s",
    "path": ["s"],
    "role_name": None,
    "identity_name": "ci-deploy",
    "caller_project": "111122223333",
    "issued_by": None,
    "access_key_ids": [],
    "caller_ips": [],
    "events": 3,
    "failures": 1,
}
CALLS = [
    ("DescribeSecurityGroupRules", None, None, "192.0.2.20"),
    ("GetObject", None, "arn:aws:s3:::exampleorg-customer-exports/orders/part-00054.parquet", "192.0.2.20"),
    ("ListUsers", "DENIED", None, "2001:db8:1234:5678:9abc:def0:1234:5678"),
]


def call(number: int, operation: str, error: str | None, example: str | None, source: str) -> dict[str, Any]:
    return {
        "first_seen": START + timedelta(seconds=8 * number),
        "session_id": "s",
        "calls": 1_234_567,
        "operation": operation,
        "error_class": error,
        "outcome": "FAILURE" if error else "SUCCESS",
        "source": source,
        "example": example,
    }


@pytest.mark.parametrize("width", [80, 200])
def test_the_page_reads_at_any_width_and_leaves_nothing_out(width: int) -> None:
    story = Story(SUMMARY, [SESSION], [call(number, *it) for number, it in enumerate(CALLS)])
    page = io.StringIO()
    render(story, Console(file=page, width=width))

    lines = page.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert "…" not in page.getvalue()
    (header,) = [line for line in lines if line.startswith("first seen")]
    assert width - header.index("what") >= 25
    # Each time under its day, and the folded text put together again.
    table = lines[lines.index(header) + 2 :]
    assert [line[:10].strip() for line in table if line[:10].strip()] == [
        "2026-01-12",
        "23:59:50",
        "23:59:58",
        "2026-01-13",
        "00:00:06",
    ]
    what = "".join(line[header.index("what") :].replace(" ", "") for line in table)
    assert what == "".join(f"{it[0]}{(it[2] or '').removeprefix('arn:aws:s3:::')}" for it in CALLS)
    source = "".join(line[header.index("from") : header.index("what")].strip() for line in table)
    assert source == "".join(it[3] for it in CALLS)
