"""Every CloudTrail record that others have published becomes a row, fully, but for the exceptions named here."""

from __future__ import annotations

import json

import golden
import pytest
from support.published import DATA, published

# Records that nobody could store: file, and why.
REFUSED = {
    # An EventBridge envelope's detail that was stripped of its time.
    ("event-cloud-trail-bedrock-create-customization-jobs.json", "eventTime is missing"),
    # Rule tests, whose events were cut down or anonymized by hand.
    ("panther_tests_give.jsonl", "eventTime is missing"),
    ("panther_tests_give.jsonl", "eventTime is not a readable time"),
}
# Rows that say what they could not tell.
UNTOLD = {("panther_tests_give.jsonl", ("resources[] is a string, not an object",))}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data of others at {DATA} (TRAILWEAVE_DATA)")


def test_the_folder_holds_what_its_readme_says() -> None:
    assert len(published()) > 3_000


def test_every_record_is_recognised() -> None:
    assert [name for name, raw in published() if not golden.CLOUDTRAIL.recognises(raw)] == []


def test_every_record_becomes_a_row_or_has_a_reason() -> None:
    names, raws = zip(*published(), strict=True)
    problems = golden.CLOUDTRAIL.decode(raws)["problem"].to_pylist()
    refused = {(name, problem) for name, problem in zip(names, problems, strict=True) if problem}
    assert refused <= REFUSED


def test_every_row_is_normalized_fully_or_says_why() -> None:
    names, raws = zip(*published(), strict=True)
    rows = golden.rows_of(raws)
    untold = {
        (name, tuple(row["normalize_problems"]))
        for name, row in zip(names, rows, strict=True)
        if row["normalize_problems"]
    }
    assert untold <= UNTOLD


def test_every_row_names_operation_service_and_outcome() -> None:
    _, raws = zip(*published(), strict=True)
    for row in golden.rows_of(raws):
        assert row["operation_name_orig"]
        assert row["resource_type_orig"]
        assert (row["operation_status"] is None) == (row["event_category"] in ("Insight", "Aggregated"))
        assert row["type_uid"] == row["class_uid"] * 100 + row["activity_id"]
        assert row["caller_ip"] is None or not row["caller_ip"].endswith(".com")


@pytest.mark.parametrize("kind", ["Authentication", "API Activity", "Account Change"])
def test_ocsf_agrees_with_the_published_mapping_where_that_is_right(kind: str) -> None:
    """Differences: `status_id` is not in the published pairs, whose `status` is compared instead."""
    folder = DATA / "ocsf-examples/mappings/markdown/AWS/v1.1.0/CloudTrail" / kind / "samples"
    if not folder.is_dir():
        pytest.skip(f"no published pairs at {folder}")
    (raw_path,), (ocsf_path,) = folder.glob("*.raw"), folder.glob("*.ocsf")
    raw, ocsf = raw_path.read_bytes().strip(), json.loads(ocsf_path.read_bytes())
    (row,) = golden.rows_of([raw])
    expected = {name: ocsf[name] for name in ("class_uid", "activity_id", "type_uid")}
    assert {name: row[name] for name in expected} == expected
    assert row["operation_status"] == ocsf["status"].upper()
    assert row["event_id"] == ocsf["metadata"]["uid"]
    assert row["identity_arn"] == ocsf["actor"]["user"]["uid"]
    assert row["principal_id"] == ocsf["actor"]["user"]["uid_alt"]
    assert row["caller_ip"] == ocsf["src_endpoint"]["ip"]
    assert row["resource_type_orig"] == ocsf["api"]["service"]["name"]
