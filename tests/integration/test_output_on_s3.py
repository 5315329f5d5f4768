"""The output root on S3, emulated: the same protocol, the same rows, and faults of the store between."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import pytest
from support.fault_proxy import cut, lost, s3_error, slow_down, sqs_denied
from support.replaying import replay_from
from support.trails import event_ids, records, s3_event, trail_key, trail_object
from support.world import World, assert_one_to_one, event_rows, read_letters

from pipeline.commands import begin, compact, load, repair
from pipeline.compaction.compact import compact_partition
from pipeline.demo.organisation import organisation
from pipeline.graph import Plan
from pipeline.ingestion.ingest import ingest_until_stopped
from pipeline.ingestion.summary import Summary
from schemas.errors import AccessError, ConfigError, StoreError
from transforms.receive_messages import Limits
from transforms.stores.aws import Access
from transforms.stores.files import prove
from transforms.stores.s3 import S3Store

DATA = Path(os.environ.get("TRAILWEAVE_DATA", "../shared/data")) / "suzaku-sample-data"
OBJECTS = {trail_key(f"o{n}"): trail_object(records(range(n * 10, n * 10 + 10))) for n in range(8)}
IDS = [it for body in OBJECTS.values() for it in event_ids(body)]
# What a root holds when a writer has begun.
BEGUN = {"probe", "settings.json"}

pytestmark = pytest.mark.usefixtures("impatient")


def plan(aws: World) -> Plan:
    """The same world with its output in a second bucket, through the proxy where there is one."""
    name = f"{aws.bucket}-out"
    aws.s3.create_bucket(Bucket=name)
    config = load(output=f"s3://{name}/tree", output_access={"endpoint_url": aws.endpoint_url})
    return begin(config, {"trail": aws.source()})


def begun(aws: World) -> set[str]:
    """Names of what a writer makes before anything else."""
    listed = aws.s3.list_objects_v2(Bucket=f"{aws.bucket}-out", Prefix="tree/.trailweave/")
    return {str(it["Key"]).rpartition("/")[2] for it in listed["Contents"]}


def ingest(made: Plan) -> Summary:
    return ingest_until_stopped(made, Limits(1000, 0.5, 0.5), until_idle_s=1, quiet=True)


def downloaded(aws: World) -> Path:
    """The tree, fetched by a plain listing."""
    name, root = f"{aws.bucket}-out", aws.output.parent / "downloaded"
    shutil.rmtree(root, ignore_errors=True)
    for page in aws.s3.get_paginator("list_objects_v2").paginate(Bucket=name):
        for entry in page.get("Contents", []):
            path = root / str(entry["Key"]).removeprefix("tree/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(aws.s3.get_object(Bucket=name, Key=entry["Key"])["Body"].read())
    return root


@pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent; TRAILWEAVE_DATA names the sample data")
def test_the_real_trail_sent_twice_arrives_once_on_s3(aws: World) -> None:
    objects = {str(path.relative_to(DATA)): path.read_bytes() for path in sorted(DATA.glob("**/*.gz"))}
    delivered = [it for body in objects.values() for it in event_ids(body)]
    aws.put_all(objects)
    aws.send(*(s3_event(aws.bucket, key) for key in objects))
    made = plan(aws)

    summary = ingest(made)

    assert summary.counts["messages_deleted"] == 2 * 216
    assert aws.waiting() == (0, 0)
    assert_one_to_one(downloaded(aws), delivered)


def test_a_tree_on_s3_is_compacted_and_read_and_written_on(aws: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan(aws)
    # One message a run: a commit of each object's own.
    for key, body in OBJECTS.items():
        aws.put(key, body)
        ingest_until_stopped(made, Limits(1, 0.5, 0.5), until_idle_s=1, quiet=True)
    before = event_rows(downloaded(aws), "cloud_audit_logs")
    config = load(output=made.output.uri, output_access={"endpoint_url": aws.endpoint_url})
    monkeypatch.setattr("pipeline.compaction.compact.compact_partition", partial(compact_partition, quiet_s=-60.0))

    published = compact(config, None, None)
    monkeypatch.setattr("pipeline.compaction.compact.GRACE_S", -60.0)
    removed = compact(config, None, None)

    assert published.merged == removed.removed == published.waiting >= 2 * len(OBJECTS)
    assert event_rows(downloaded(aws), "cloud_audit_logs") == before
    raw = aws.s3.list_objects_v2(Bucket=f"{aws.bucket}-out", Prefix="tree/aws_s3_raw/")["Contents"]
    assert [str(it["Key"]).rpartition("/")[2] for it in raw] == [f"00000001-{len(OBJECTS):08d}.parquet"]
    aws.send(*(s3_event(aws.bucket, key) for key in OBJECTS))
    assert ingest(made).counts["events_written"] == 0


def test_s3_and_a_folder_hold_the_same_rows(aws: World, tmp_path: Path) -> None:
    trail = organisation(seed=9, accounts=3, regions=2, days=2, objects=30, events=1200)
    aws.put_all(dict(trail))
    ingest(plan(aws))
    replay_from(load(output=str(aws.output)), f"s3://{aws.bucket}")

    tree = downloaded(aws)

    for dataset in ("aws_s3_raw", "cloud_audit_logs"):
        assert event_rows(tree, dataset) == event_rows(aws.output, dataset)
    assert [it["reason"] for it in read_letters(tree)] == [it["reason"] for it in read_letters(aws.output)]


FAULTS = {
    "throttled": ("PutObject", slow_down(), 8),
    "a write whose answer is lost": ("PutObject", lost(), 3),
    "a conflict": ("PutObject", s3_error(409, "ConditionalRequestConflict", "A conflicting operation"), 4),
    "a read that is cut": ("GetObject", cut(10), 2),
    "a listing that fails": ("ListObjectsV2", s3_error(500, "InternalError", "x"), 3),
}


@pytest.mark.parametrize(("operation", "action", "times"), FAULTS.values(), ids=FAULTS)
def test_a_passing_fault_of_the_store_loses_and_doubles_nothing(
    faulty: World, operation: str, action: object, times: int
) -> None:
    faulty.put_all(OBJECTS)
    made = plan(faulty)
    rule = faulty.proxy.when(operation, bucket="*-out").do(action).times(times)  # type: ignore[arg-type]

    ingest(made)
    faulty.send(*(s3_event(faulty.bucket, key) for key in OBJECTS))
    ingest(begin(load(output=made.output.uri, output_access={"endpoint_url": faulty.endpoint_url}), made.sources))

    assert rule.used
    assert faulty.waiting() == (0, 0)
    assert_one_to_one(downloaded(faulty), IDS)


def test_a_raw_file_whose_writer_lost_the_answer_is_derived_by_it(faulty: World) -> None:
    """The first try created it: the second is refused, and the writer finds its own rows there."""
    faulty.put_all(OBJECTS)
    made = plan(faulty)
    faulty.proxy.when("PutObject", key="*aws_s3_raw*").do(lost()).times(1)

    summary = ingest(made)

    assert summary.counts["messages_deleted"] == len(OBJECTS)
    assert_one_to_one(downloaded(faulty), IDS)


def test_a_lost_answer_to_the_probe_is_no_reason_to_refuse_the_store(faulty: World) -> None:
    faulty.proxy.when("PutObject", key="*.trailweave*").do(lost()).times(2)

    plan(faulty)

    assert len(faulty.proxy.calls("PutObject", key="*.trailweave/probe")) > 2
    assert begun(faulty) == BEGUN
    probe = faulty.s3.get_object(Bucket=f"{faulty.bucket}-out", Key="tree/.trailweave/probe")
    assert probe["Body"].read() == b"probe"


def test_a_store_that_ignores_if_none_match_is_refused(faulty: World) -> None:
    def ignoring(call: object, forward: object) -> object:
        headers = {k: v for k, v in call.headers.items() if k.lower() != "if-none-match"}  # type: ignore[attr-defined]
        from dataclasses import replace

        return forward(replace(call, headers=headers))  # type: ignore[operator,type-var]

    faulty.proxy.when("PutObject").do(ignoring)  # type: ignore[arg-type]

    with pytest.raises(StoreError, match="was not refused, so two writers could overwrite each other"):
        plan(faulty)


def test_a_store_that_may_not_be_written_is_told_with_call_and_principal(faulty: World) -> None:
    faulty.proxy.when("PutObject").do(s3_error(403, "AccessDenied", "Access Denied"))

    with pytest.raises(
        AccessError, match=rf"s3:PutObject on s3://{faulty.bucket}-out/tree/.* was refused to arn:aws:"
    ):
        plan(faulty)


def test_a_bucket_that_is_not_there_is_told(faulty: World) -> None:
    with pytest.raises(AccessError, match="there is no such bucket"):
        prove(S3Store("no-such-bucket-anywhere", "x", faulty.access))


def test_a_commit_without_its_marker_is_completed_by_repair(aws: World) -> None:
    aws.put_all(OBJECTS)
    made = plan(aws)
    ingest(made)
    (marker,) = [
        it["Key"]
        for it in aws.s3.list_objects_v2(Bucket=f"{aws.bucket}-out", Prefix="tree/cloud_audit_logs/")["Contents"]
    ]
    aws.s3.delete_object(Bucket=f"{aws.bucket}-out", Key=marker)

    assert repair(load(output=made.output.uri, output_access={"endpoint_url": aws.endpoint_url})) == (1, 0)
    assert_one_to_one(downloaded(aws), IDS)


def test_other_settings_for_a_root_on_s3_are_refused(aws: World) -> None:
    made = plan(aws)

    with pytest.raises(ConfigError, match="normalize is True there and False here"):
        begin(
            load(output=made.output.uri, normalize=False, output_access={"endpoint_url": aws.endpoint_url}),
            made.sources,
        )


def test_access_to_the_output_is_its_own(faulty: World) -> None:
    """The source's calls are denied by the proxy; the output does not go through it."""
    name = f"{faulty.bucket}-out"
    faulty.s3.create_bucket(Bucket=name)
    faulty.proxy.when("*").do(sqs_denied("everything"))

    begin(
        load(output=f"s3://{name}/tree", output_access={"endpoint_url": faulty.emulator.endpoint_url}),
        {"trail": faulty.source(access=Access(endpoint_url=faulty.proxy.endpoint_url))},
    )

    assert begun(faulty) == BEGUN
    assert not faulty.proxy.calls("PutObject")
