"""One queue for every kind of notification, and keys of every spelling."""

from __future__ import annotations

import gzip
import json

import pyarrow.parquet as pq
import pytest
from support.trails import (
    cloudtrail_notice,
    eventbridge,
    in_sns,
    record,
    records,
    s3_event,
    trail_key,
    trail_object,
)
from support.world import World, assert_one_to_one

from pipeline.commands import begin, load
from pipeline.ingestion.ingest import ingest_until_stopped
from transforms.receive_messages import Limits

ACCOUNT = "012345678901"
FOLDER = f"AWSLogs/{ACCOUNT}/CloudTrail/us-east-1/2026/01/12/"
NAMES = (
    "with space",
    "with+plus",
    "100%",
    "100%25",
    "a%2Bb",
    "ünï-日本-😀",
    "q?a=b&c#d;e",
    "back\\slash",
    "dot/../dot",
)
TEST_EVENT = '{"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}'


def test_each_kind_names_the_objects_whatever_their_keys_are(aws: World) -> None:
    """The bucket announces each object by an event of S3; each other kind announces it again."""
    events = {FOLDER + name: record(number, account=ACCOUNT) for number, name in enumerate(NAMES)}
    aws.put_all({key: gzip.compress(json.dumps({"Records": [it]}).encode()) for key, it in events.items()})
    notices = [make(aws.bucket, key) for key in events for make in (s3_event, eventbridge, cloudtrail_notice)]
    notices += [s3_event(aws.bucket, *events), cloudtrail_notice(aws.bucket, *events), TEST_EVENT]
    aws.send(*notices, *map(in_sns, notices))

    counts = aws.ingest(until_idle_s=2).counts

    assert_one_to_one(aws.output, [it["eventID"] for it in events.values()])
    assert counts["messages_deleted"] == len(NAMES) + 2 * len(notices)
    assert counts["dead_letters"] == 0
    assert {outcome for _, outcome in aws.outcomes()} == {"done", "ignored"}
    assert aws.waiting() == (0, 0)


def test_a_file_alone_holds_its_account_as_text_with_the_zero_in_front(aws: World) -> None:
    """Readers guess that the account of the folder's name is a number."""
    aws.put(FOLDER + "x.json", json.dumps(record(1, account=ACCOUNT)).encode())
    aws.ingest()
    for dataset in ("aws_s3_raw", "cloud_audit_logs"):
        (file,) = aws.output.glob(f"{dataset}/*/*/*.parquet")
        assert pq.ParquetFile(file).read()["recipient_account_id"].to_pylist() == [ACCOUNT]


def test_an_output_in_the_bucket_that_is_announced_does_not_feed_itself(
    aws: World, caplog: pytest.LogCaptureFixture
) -> None:
    events = records(range(5))
    aws.put(trail_key("x"), trail_object(events))
    config = load(output=f"s3://{aws.bucket}/tree", output_access={"endpoint_url": aws.endpoint_url})
    plan = begin(config, {"trail": aws.source()})
    limits = Limits(messages=1000, wait_s=0.5, idle_s=0.5)

    summary = ingest_until_stopped(plan, limits, until_idle_s=2, quiet=True)

    assert summary.counts["events_written"] == len(events)
    assert summary.counts["dead_letters"] == 0
    assert aws.waiting() == (0, 0)
    rows = aws.s3.list_objects_v2(Bucket=aws.bucket, Prefix="tree/ingest_log/")["Contents"]
    assert len(rows) == 1
    assert sum("output_announced" in it.getMessage() for it in caplog.records) == 1
