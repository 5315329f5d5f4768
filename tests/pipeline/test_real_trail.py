"""The 216 real objects of suzaku-sample-data through emulated S3 and SQS, every message sent twice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.replaying import replay_from
from support.trails import event_ids, s3_event
from support.world import World, assert_one_to_one, event_rows

from pipeline.commands import load
from pipeline.ingestion.summary import Summary

DATA = Path(os.environ.get("TRAILWEAVE_DATA", "../shared/data")) / "suzaku-sample-data"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"{DATA} is absent; TRAILWEAVE_DATA names the folder of the sample data"
)


@pytest.fixture(scope="module")
def objects() -> dict[str, bytes]:
    paths = sorted(DATA.glob("**/*.gz"))
    return {str(path.relative_to(DATA)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def folder(objects: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same objects as files."""
    root = tmp_path_factory.mktemp("real")
    for key, body in objects.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(body)
    return str(root)


@pytest.fixture(scope="module")
def delivered(objects: dict[str, bytes]) -> list[str]:
    """Every event id as delivered, repeats too."""
    return [it for body in objects.values() for it in event_ids(body)]


def replayed(output: str, source: str, **flags: object) -> Summary:
    return replay_from(load(output=output, **flags), source)


def ingested_twice(aws: World, objects: dict[str, bytes]) -> Summary:
    aws.put_all(objects)
    aws.send(*(s3_event(aws.bucket, key) for key in objects))
    return aws.ingest()


def test_every_real_event_arrives_once_in_both_datasets(
    aws: World, objects: dict[str, bytes], folder: str, delivered: list[str]
) -> None:
    summary = ingested_twice(aws, objects)

    assert len(objects) == 216
    assert_one_to_one(aws.output, delivered)
    assert summary.counts["messages_received"] == summary.counts["messages_deleted"] == 432
    assert summary.counts["events_written"] == len(set(delivered))
    assert summary.counts["dead_letters"] == 0
    assert aws.waiting() == (0, 0)
    assert aws.redriven() == 0

    before = {path: path.stat().st_mtime_ns for path in aws.output.glob("a*/**/*.parquet")}
    again = replayed(str(aws.output), folder)
    assert again.counts["records"] == len(delivered)
    assert again.counts["events_written"] == 0
    assert {path: path.stat().st_mtime_ns for path in aws.output.glob("a*/**/*.parquet")} == before


def test_the_rows_do_not_depend_on_how_the_input_was_cut(tmp_path: Path, folder: str, delivered: list[str]) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"

    replayed(str(whole), folder)
    replayed(str(cut), folder, max_slice_bytes=1_000_000)

    for output in (whole, cut):
        assert_one_to_one(output, delivered)
    for dataset in ("aws_s3_raw", "cloud_audit_logs"):
        assert event_rows(whole, dataset) == event_rows(cut, dataset)
