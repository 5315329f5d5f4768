"""What tests of `verify` begin with."""

from __future__ import annotations

import pytest
from support.digests import Trail
from support.verified import HOURS, LOGS
from support.world import World


@pytest.fixture
def trail(aws: World) -> World:
    """Six log files, ingested, and the four digests that sign them."""
    aws.put_all(dict(LOGS))
    assert aws.one_run(len(LOGS))["messages_deleted"] == len(LOGS)
    cloudtrail = Trail(aws.s3, aws.bucket)
    for hour, logs in enumerate(HOURS, 1):
        cloudtrail.write(hour, logs)
    return aws


@pytest.fixture
def signed(faulty: World) -> World:
    """The same log files, ingested and in one digest, behind a fault proxy."""
    faulty.put_all(dict(LOGS))
    assert faulty.one_run(len(LOGS))["messages_deleted"] == len(LOGS)
    Trail(faulty.s3, faulty.bucket).write(1, LOGS)
    return faulty
