"""Every golden record becomes the row beside it, whole; every field of the schema is what readers are told it is."""

from __future__ import annotations

import re

import golden
import msgspec
import pyarrow as pa
import pytest

from schemas.datasets import EVENTS, RAW
from transforms.providers import PROVIDERS, PROVIDERS_BY_NAME, provider_of
from transforms.providers.base import SPINE

CASES = [
    pytest.param(case, id=f"{path.stem}: {case['title']}") for path in golden.files() for case in golden.cases(path)
]
# Reserved in Athena, Spark or DuckDB.
RESERVED = {"date", "time", "timestamp", "user", "order", "group", "day", "account_id", "end", "start"}


@pytest.mark.parametrize("case", CASES)
def test_a_record_becomes_its_row(case: dict) -> None:
    expected = {name: case[name] for name in ("row", "problem") if name in case}
    assert golden.results([golden.text_of(case)]) == [expected]


def test_all_records_together_become_the_same_rows() -> None:
    cases = [param.values[0] for param in CASES]
    expected = [{name: case[name] for name in ("row", "problem") if name in case} for case in cases]
    assert golden.results([golden.text_of(case) for case in cases]) == expected


def test_raw_parts_of_a_document_decode_like_bytes() -> None:
    texts = [golden.text_of(param.values[0]) for param in CASES]
    parts = [msgspec.Raw(text) for text in texts]
    assert golden.CLOUDTRAIL.decode(parts).to_pylist() == golden.CLOUDTRAIL.decode(texts).to_pylist()


def test_constants_stand_on_every_row() -> None:
    rows = golden.rows_of([golden.text_of(param.values[0]) for param in CASES])
    assert all({name: row[name] for name in golden.CONSTANTS} == golden.CONSTANTS for row in rows)


@pytest.mark.parametrize("raws", [[], [golden.text_of(CASES[0].values[0])]], ids=["no rows", "one row"])
def test_columns_are_those_of_the_schema_without_what_the_commit_adds(raws: list[bytes]) -> None:
    decoded = golden.CLOUDTRAIL.decode(raws)
    assert decoded.schema.names[: len(SPINE)] == SPINE.names
    assert [decoded.schema.field(name).type for name in SPINE.names] == [field.type for field in SPINE]
    normalized = golden.CLOUDTRAIL.normalize(golden.completed(decoded, raws))
    expected = [
        (f.name, f.type, f.nullable) for f in EVENTS.arrow if f.name not in ("ingestion_time", "commit_number")
    ]
    assert [(f.name, plain_type(f.type), f.nullable) for f in normalized.schema] == expected


def plain_type(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def test_a_cluster_key_is_a_dictionary_column_that_begins_with_source_and_name() -> None:
    decoded = golden.CLOUDTRAIL.decode([golden.text_of(golden.cases(golden.FOLDER / "versions.json")[0])])
    (key,) = golden.CLOUDTRAIL.cluster_key(decoded)
    assert pa.types.is_dictionary(decoded.schema.field(key).type)
    assert decoded[key][0].as_py().startswith('["ec2.amazonaws.com","DescribeInstances"')


@pytest.mark.parametrize("field", EVENTS.avro["fields"], ids=lambda field: field["name"])
def test_a_field_is_named_typed_and_documented_as_readers_need_it(field: dict) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,63}", field["name"])
    assert field["name"] not in RESERVED
    assert field["doc"].strip()
    required = ("event_id", "event_time", "recipient_account_id", "ingestion_time", "commit_number")
    assert isinstance(field["type"], list) == (field["name"] not in required)


def test_the_commit_adds_the_last_two_columns_as_in_the_raw_dataset() -> None:
    last = EVENTS.arrow.names[-2:]
    assert last == ["ingestion_time", "commit_number"]
    assert [EVENTS.arrow.field(name) for name in last] == [RAW.arrow.field(name) for name in last]
    shared = ("event_id", "event_time", "recipient_account_id")
    assert [EVENTS.arrow.field(name) for name in shared] == [RAW.arrow.field(name) for name in shared]


def test_the_registry_knows_its_providers_by_name() -> None:
    assert {provider.name: provider for provider in PROVIDERS} == PROVIDERS_BY_NAME


@pytest.mark.parametrize("case", CASES)
def test_a_record_that_becomes_a_row_is_recognised(case: dict) -> None:
    if "row" in case:
        assert provider_of(golden.text_of(case)) is golden.CLOUDTRAIL


@pytest.mark.parametrize(
    "record",
    [
        b"{}",
        b"[]",
        b"null",
        b"",
        b"{",
        b'{"protoPayload":{"methodName":"x"},"insertId":"1"}',
        b'{"eventVersion":"2.1","eventSource":"aws:s3","eventName":"ObjectCreated:Put"}',
        b'{"awsAccountId":"111122223333","digestStartTime":"2024-03-05T09:00:00Z"}',
        b'{"eventType":"user.session.start","published":"2024-03-05T09:00:00Z"}',
    ],
)
def test_other_records_are_not_recognised(record: bytes) -> None:
    assert provider_of(record) is None


def test_a_record_is_recognised_although_it_lacks_its_name() -> None:
    record = b'{"eventVersion":"1.08","eventSource":"ec2.amazonaws.com","eventTime":"2024-03-05T09:00:00Z"}'
    assert provider_of(record) is golden.CLOUDTRAIL
