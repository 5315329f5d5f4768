from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trails import trail_key

from transforms.stores.keys import KeyFacts, facts, is_of_tree, no_trail

WHOLE = KeyFacts("111122223333", "us-east-1", "2026-01-12", "CloudTrail")


@pytest.mark.parametrize(
    "prefix", ["", "prefix/", "deep/er/", "o-abcdef1234/", "aws-controltower/", "o-abcdef1234/AWSLogs/o-abcdef1234/"]
)
def test_every_layout_tells_account_region_and_day(prefix: str) -> None:
    assert facts(trail_key("x", prefix=prefix)) == WHOLE


def test_an_organisations_folder_stands_before_the_account() -> None:
    key = "AWSLogs/o-exampleorg/111122223333/CloudTrail/us-east-1/2026/01/12/whatever.json.gz"

    assert facts(key) == WHOLE


def test_the_name_alone_tells_it_too() -> None:
    assert facts("some/folder/111122223333_CloudTrail_us-east-1_20260112T0005Z_x.json.gz") == WHOLE
    assert facts("111122223333_CloudTrail_us-east-1_20260112T0005Z_x.json") == WHOLE


@pytest.mark.parametrize("key", ["", "x.json", "AWSLogs/", "AWSLogs/12/CloudTrail/", "a/b/c.json.gz", "\0", "日志"])
def test_a_key_that_says_nothing_says_nothing(key: str) -> None:
    assert facts(key) == KeyFacts()
    assert key.endswith("/") or no_trail(key) is None


def test_a_day_that_is_none_is_left_out() -> None:
    key = "AWSLogs/111122223333/CloudTrail/us-east-1/2026/02/31/x.json.gz"

    assert facts(key) == KeyFacts("111122223333", "us-east-1", None, "CloudTrail")


def test_a_raw_file_tells_its_partition() -> None:
    assert facts("out/aws_s3_raw/account_id=unknown/day=2026-01-12/00000001.parquet") == KeyFacts(
        "unknown", None, "2026-01-12"
    )


@pytest.mark.parametrize(
    ("service", "foreign"),
    [
        ("CloudTrail", False),
        ("CloudTrail-Insight", False),
        ("CloudTrail-NetworkActivity", False),
        ("CloudTrail-Aggregated", False),
        ("CloudTrail-Digest", False),
        ("Config", True),
        ("CloudTrail-Lake", True),
        ("vpcflowlogs", True),
        ("elasticloadbalancing", True),
        ("GuardDuty", True),
    ],
)
def test_other_services_objects_are_no_trail(service: str, foreign: bool) -> None:
    key = f"AWSLogs/111122223333/{service}/us-east-1/2026/01/12/x.json.gz"

    assert (no_trail(key) is not None) == foreign
    assert facts(key).is_digest == (service == "CloudTrail-Digest")


def test_folders_for_hive_are_those_of_other_services_too() -> None:
    key = "AWSLogs/aws-account-id=111122223333/aws-service=vpcflowlogs/aws-region=us-east-1/year=2026/x.log.gz"

    assert no_trail(key) == "an object of vpcflowlogs, not of a trail"
    assert facts(key).account == "111122223333"


@pytest.mark.parametrize("key", ["a/", "x.parquet", "x.avro", "x.json.gz.instruction"])
def test_folder_markers_data_and_instruction_files_are_no_trail(key: str) -> None:
    assert no_trail(key)


@pytest.mark.parametrize(
    ("key", "is_ours"),
    [
        ("out/aws_s3_raw/account_id=1/day=2026-01-12/00000001.parquet", True),
        ("ingest_log/day=2026-01-12/x.parquet", True),
        ("hunts/ruleset=x/account_id=1/day=2026-01-12/00000001.parquet", True),
        ("a/dead_letters/day=unknown/x.avro", True),
        ("out/.trailweave/settings.json", True),
        (".trailweave/probe", True),
        ("sessions/2026/x.json.gz", False),
        ("aws_s3_raw/account_id=1/day=2026-01-12/x.json.gz", False),
        ("AWSLogs/111122223333/CloudTrail/us-east-1/2026/01/12/alerts.json.gz", False),
        ("my.trailweave/x.json", False),
    ],
)
def test_files_of_an_output_are_no_trail(key: str, is_ours: bool) -> None:
    assert is_of_tree(key) == is_ours
    assert (no_trail(key) is not None) == is_ours


@given(st.text())
def test_no_key_makes_it_raise(key: str) -> None:
    found = facts(key)
    assert found.day is None or date.fromisoformat(found.day)
    assert no_trail(key) != ""
