"""Events against indicators: the same sightings as a plain evaluator has, and the rows of detections for them."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.datasets import DETECTIONS, EVENTS
from schemas.errors import ConfigError
from schemas.values import Commit, Partition, Slice
from transforms.indicators.book import IndicatorBook
from transforms.indicators.lists import TABLE, Lists, Origin
from transforms.indicators.matching import COLUMNS, IndicatorMatcher
from transforms.indicators.values import Kind
from transforms.match_rules import match_rules
from transforms.providers import PROVIDERS_BY_NAME
from transforms.rules.book import RuleBook
from transforms.rules.samples import whole

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
TEXT_COLUMNS = [it for columns in COLUMNS.values() for it in columns]


def lists_of(*indicators: tuple[str, str] | tuple[str, str, datetime | None]) -> Lists:
    rows = [
        {"kind": it[0], "value": it[1], "valid_until": it[2] if len(it) > 2 else None, "origins": [0]}
        for it in indicators
    ]
    return Lists(pa.Table.from_pylist(rows, TABLE), (Origin("sample", ()),), ())


def events_of(*rows: dict[str, Any]) -> pa.Table:
    asked = ("event_time", "read_only", "operation_name", "event_category", *TEXT_COLUMNS)
    fields = [EVENTS.arrow.field(it) for it in asked]
    return pa.Table.from_pylist([{"event_time": NOON, **row} for row in rows], pa.schema(fields))


def sighted(lists: Lists, events: pa.Table) -> set[tuple[int, str, str]]:
    """Row, column and value of the indicator."""
    values = lists.table["value"].to_pylist()
    records = pa.table({"raw_json": pa.array([b"{}"] * len(events), pa.binary())})
    found = list(IndicatorMatcher(lists).sightings(records, events))
    pairs = [
        (row, it.column, values[place])
        for it in found
        for row, place in zip(it.rows.tolist(), it.indicators.tolist(), strict=True)
    ]
    assert len(pairs) == len(set(pairs)), "each sighting once"
    return set(pairs)


ADDRESSES = st.one_of(
    st.integers(0, 2**10).map(lambda it: str(ipaddress.ip_address(0xCB007100 + it))),
    st.integers(0, 2**10).map(lambda it: str(ipaddress.ip_address((0x20010DB8 << 96) + it))),
)
NETWORKS = st.tuples(ADDRESSES, st.integers(0, 32)).map(
    lambda it: str(ipaddress.ip_network((it[0], max(it[1], 96 if ":" in it[0] else 0)), strict=False))
)


@given(st.lists(ADDRESSES, unique=True), st.lists(NETWORKS, unique=True), st.lists(st.none() | ADDRESSES, min_size=1))
def test_addresses_are_found_as_a_plain_evaluator_finds_them(
    addresses: list[str], networks: list[str], callers: list[str | None]
) -> None:
    networks = [it for it in networks if not it.endswith(("/32", "/128")) or (":" in it and it.endswith("/32"))]
    lists = lists_of(*[("address", it) for it in addresses], *[("network", it) for it in networks])
    found = sighted(lists, events_of(*({"caller_ip": it} for it in callers)))
    expected = {
        (row, "caller_ip", it)
        for row, caller in enumerate(callers)
        if caller is not None
        for it in [*addresses, *networks]
        if ipaddress.ip_address(caller) in ipaddress.ip_network(it)
    }
    assert found == expected


def test_an_address_mapped_into_version_6_is_that_of_version_4() -> None:
    lists = lists_of(("address", "203.0.113.9"), ("network", "198.51.100.0/24"))
    events = events_of({"caller_ip": "::ffff:203.0.113.9"}, {"caller_ip": "::ffff:198.51.100.3"})
    assert {value for _, _, value in sighted(lists, events)} == {"203.0.113.9", "198.51.100.0/24"}


@given(st.sets(st.text(max_size=4)), st.lists(st.none() | st.text(max_size=4), min_size=1))
def test_keys_are_found_by_their_whole_text(keys: set[str], seen: list[str | None]) -> None:
    lists = lists_of(*(("access_key", it) for it in keys))
    found = sighted(lists, events_of(*({"access_key_id": it} for it in seen)))
    assert found == {(row, "access_key_id", it) for row, it in enumerate(seen) if it and it in keys}


def test_a_domain_stands_for_everything_below_it_and_for_nothing_that_only_ends_alike() -> None:
    lists = lists_of(("domain", "bad.example"), ("domain", "deep.bad.example"))
    events = events_of(
        {"tls_client_host": "BAD.example"},
        {"tls_client_host": "very.deep.bad.example:443"},
        {"tls_client_host": "notbad.example"},
        {"tls_client_host": "bad.example.org"},
        {"federated_provider": "arn:aws:iam::111122223333:oidc-provider/id.bad.example/tenant"},
    )
    assert sighted(lists, events) == {
        (0, "tls_client_host", "bad.example"),
        (1, "tls_client_host", "bad.example"),
        (1, "tls_client_host", "deep.bad.example"),
        (4, "federated_provider", "bad.example"),
    }


def test_user_agents_are_found_whatever_their_case_and_a_star_stands_for_anything() -> None:
    lists = lists_of(("user_agent", "Evil/1.0"), ("user_agent", "*nuclei*"), ("user_agent", "a.c*"))
    events = events_of(
        {"user_agent": "evil/1.0"},
        {"user_agent": "Evil/1.0 (linux)"},
        {"user_agent": "Mozilla Nuclei v3"},
        {"user_agent": "abc"},
    )
    assert sighted(lists, events) == {(0, "user_agent", "Evil/1.0"), (2, "user_agent", "*nuclei*")}


def test_accounts_and_keys_are_looked_for_in_each_column_that_may_hold_them() -> None:
    lists = lists_of(("account", "444455556666"), ("access_key", "AKIAIOSFODNN7EXAMPLE"))
    accounts = [{it: "444455556666"} for it in COLUMNS[Kind.ACCOUNT]]
    keys = [{it: "AKIAIOSFODNN7EXAMPLE"} for it in COLUMNS[Kind.ACCESS_KEY]]
    found = sighted(lists, events_of(*accounts, *keys, {"user_agent": "444455556666"}))
    assert [column for _, column, _ in sorted(found)] == [*COLUMNS[Kind.ACCOUNT], *COLUMNS[Kind.ACCESS_KEY]]


def test_an_indicator_does_not_count_from_its_end_on_by_the_time_of_the_event() -> None:
    lists = lists_of(("address", "203.0.113.9", NOON))
    events = events_of(
        *({"caller_ip": "203.0.113.9", "event_time": NOON + timedelta(microseconds=it)} for it in (-1, 0, 1))
    )
    assert {row for row, _, _ in sighted(lists, events)} == {0}


def a_slice(*records: dict[str, Any], commits: tuple[Commit, ...]) -> Slice:
    provider = PROVIDERS_BY_NAME["cloudtrail"]
    raws = [json.dumps(whole(it, NOON, f"event-{n}")).encode() for n, it in enumerate(records)]
    table = provider.decode(raws).combine_chunks()
    table = table.append_column("raw_json", pa.array(raws, pa.binary()))
    table = table.append_column("recipient_account_id", pa.array(["111122223333"] * len(raws), pa.string()))
    return replace(Slice(), provider="cloudtrail", records=table, events=provider.normalize(table), commits=commits)


COMMITS = (
    Commit(Partition("111122223333", "2024-01-01"), 7, 0, 2),
    Commit(Partition("444455556666", "2024-01-01"), 1, 2, 1),
)


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    path = tmp_path / "feed.csv"
    path.write_text(
        "type,value,confidence,tags\nip,203.0.113.9,80,tor\ncidr,203.0.113.0/24,10,\naccount,444455556666,,\n"
    )
    return path


def test_an_event_and_an_indicator_that_it_shows_are_one_row_of_detections_beside_those_of_rules(feed: Path) -> None:
    stop = {"eventSource": "cloudtrail.amazonaws.com", "eventName": "StopLogging"}
    derived = a_slice(
        {"sourceIPAddress": "198.51.100.1"},
        {"sourceIPAddress": "203.0.113.9", **stop},
        {"userIdentity": {"type": "AWSAccount", "accountId": "444455556666", "principalId": "AIDAX"}},
        commits=COMMITS,
    )
    matched = match_rules(derived, RuleBook.of(indicators=[feed]))
    first, second = matched.detections
    assert first.schema.equals(DETECTIONS.arrow)
    assert first["event_id"].to_pylist() == ["event-1"] * 3
    assert [it.split("/")[0] for it in first["rule_id"].to_pylist()[1:]] == ["ioc", "ioc"]
    address, network = first.to_pylist()[1:]
    assert address["rule_id"] == "ioc/address/203.0.113.9"
    assert address["rule_title"] == "Address 203.0.113.9 of list feed"
    assert (address["kind"], address["level"], address["tags"], address["alerts"]) == ("ioc", "high", ["tor"], True)
    assert address["evidence"] == ["caller_ip=203.0.113.9"]
    assert (address["recipient_account_id"], address["commit_number"]) == ("111122223333", 7)
    assert (network["rule_id"], network["level"]) == ("ioc/network/203.0.113.0/24", "low")
    (account,) = second.to_pylist()
    assert (account["level"], account["recipient_account_id"]) == ("medium", "444455556666")
    assert account["evidence"] == ["caller_project=444455556666"]


def test_events_that_show_nothing_leave_the_hits_of_rules_as_they_are(feed: Path) -> None:
    derived = a_slice(*[{"eventSource": "cloudtrail.amazonaws.com", "eventName": "StopLogging"}] * 3, commits=COMMITS)
    with_lists = match_rules(derived, RuleBook.of(indicators=[feed])).detections
    without = match_rules(derived, RuleBook.of()).detections
    assert [it.to_pylist() for it in with_lists] == [it.to_pylist() for it in without]
    assert [len(it) for it in without] == [2, 1]


def test_without_events_indicators_find_nothing(feed: Path) -> None:
    derived = replace(a_slice(*[{"sourceIPAddress": "203.0.113.9"}] * 3, commits=COMMITS), events=None)
    assert [len(it) for it in match_rules(derived, RuleBook.of(indicators=[feed])).detections] == [0, 0]


def test_the_digest_of_rules_changes_with_the_content_of_the_lists(feed: Path) -> None:
    before = RuleBook.of(indicators=[feed]).digest
    assert before == RuleBook.of(indicators=[feed]).digest
    assert before != RuleBook.of().digest
    feed.write_text("203.0.113.10\n")
    assert before != RuleBook.of(indicators=[feed]).digest


def test_lists_that_have_changed_since_the_run_began_are_refused(feed: Path) -> None:
    stale = replace(IndicatorBook.of([feed]), digest="0" * 16)
    derived = a_slice({}, {}, {}, commits=COMMITS)
    with pytest.raises(ConfigError, match=r"feed\.csv have changed since the run began"):
        stale.detections(derived.records, derived.events, derived.commits)


def in_parameters(feed: Path, parameters: Any, name: str = "Sample", **rest: Any) -> list[tuple[str, list[str]]]:
    record = {"eventName": name, "requestParameters": parameters, "readOnly": False, **rest}
    derived = a_slice(record, commits=(Commit(Partition("111122223333", "2024-01-01"), 1, 0, 1),))
    found = match_rules(derived, replace(RuleBook.of(indicators=[feed]), texts=()))
    (rows,) = found.detections
    return [(it["rule_id"].removeprefix("ioc/"), it["evidence"]) for it in rows.to_pylist()]


@pytest.fixture
def wanted(tmp_path: Path) -> Path:
    path = tmp_path / "wanted.txt"
    path.write_text("203.0.113.9\n2001:db8::9\n444455556666\nAKIAIOSFODNN7EXAMPLE\n192.0.2.0/24\n")
    return path


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ({"ipPermissions": {"items": [{"ipRanges": {"items": [{"cidrIp": "203.0.113.9/32"}]}}]}}, "203.0.113.9"),
        ({"cidrIpv6": "2001:db8::9/128"}, "2001:db8::9"),
        ({"note": "from 192.0.2.3, today"}, "192.0.2.3"),
        ({"createVolumePermission": {"add": {"items": [{"userId": "444455556666"}]}}}, "444455556666"),
        ({"policyDocument": '{"Principal":{"AWS":"arn:aws:iam::444455556666:root"}}'}, "444455556666"),
        ({"accessKeyId": "AKIAIOSFODNN7EXAMPLE", "status": "Active"}, "AKIAIOSFODNN7EXAMPLE"),
    ],
    ids=lambda it: it if isinstance(it, str) else "",
)
def test_what_a_changing_call_names_in_its_parameters_is_found(wanted: Path, parameters: Any, shown: str) -> None:
    ((_, evidence),) = in_parameters(wanted, parameters)
    assert evidence == [f"requestParameters={shown}"]


@pytest.mark.parametrize(
    "parameters",
    [
        {"cidrIp": "203.0.113.0/24"},
        {"cidrIp": "203.0.113.9/31"},
        {"version": "1.203.0.113.9"},
        {"bucketName": "logs-444455556666-eu"},
        {"size": 1444455556666},
        {"accessKeyId": "AKIAIOSFODNN7EXAMPLEX"},
        "203.0.113.10",
        None,
    ],
    ids=str,
)
def test_what_only_looks_alike_in_parameters_is_not_found(wanted: Path, parameters: Any) -> None:
    assert in_parameters(wanted, parameters) == []


@pytest.mark.parametrize(
    ("rest", "is_found"),
    [
        ({}, True),
        ({"readOnly": True}, False),
        ({"readOnly": None, "name": "DescribeInstances"}, False),
        ({"readOnly": None, "name": "ModifySnapshotAttribute"}, True),
        ({"eventCategory": "Data"}, False),
        ({"eventCategory": "Management"}, True),
    ],
    ids=str,
)
def test_only_parameters_of_management_events_that_change_something_are_looked_into(
    wanted: Path, rest: dict[str, Any], is_found: bool
) -> None:
    assert bool(in_parameters(wanted, {"userId": "444455556666"}, **rest)) is is_found


CODE = hashlib.sha256(b"code").digest()


def shown(*records: dict[str, Any], hashes: tuple[str, ...]) -> set[tuple[int, str, str]]:
    derived = a_slice(*records, commits=())
    assert derived.records is not None
    assert derived.events is not None
    found = IndicatorMatcher(lists_of(*(("hash", it) for it in hashes))).sightings(derived.records, derived.events)
    return {(row, it.column, text) for it in found for row, text in zip(it.rows.tolist(), it.texts, strict=True)}


def test_hashes_are_found_in_parameters_and_responses_in_digits_and_in_base64() -> None:
    change = {"eventSource": "lambda.amazonaws.com", "eventName": "UpdateFunctionCode20150331v2", "readOnly": False}
    pull = {"eventSource": "ecr.amazonaws.com", "eventName": "BatchGetImage", "readOnly": True}
    image = "ab" * 32
    found = shown(
        {**change, "responseElements": {"codeSha256": base64.b64encode(CODE).decode()}},
        {**pull, "requestParameters": {"imageIds": [{"imageDigest": f"sha256:{image}"}]}},
        {
            **change,
            "eventName": "RegisterTaskDefinition",
            "requestParameters": {"image": f"a/b@sha256:{image.upper()}"},
        },
        hashes=(CODE.hex(), image),
    )
    assert found == {
        (0, "responseElements", CODE.hex()),
        (1, "requestParameters", image),
        (2, "requestParameters", image),
    }


def test_a_hash_within_a_longer_text_of_digits_or_in_a_call_that_reads_is_none() -> None:
    digits = CODE.hex()
    change = {"eventSource": "lambda.amazonaws.com", "eventName": "UpdateFunctionCode", "readOnly": False}
    read = {"eventSource": "lambda.amazonaws.com", "eventName": "GetFunction", "readOnly": True}
    found = shown(
        {**change, "requestParameters": {"a": f"{digits}0", "b": f"x{digits}", "c": digits[:62]}},
        {**read, "requestParameters": {"a": digits}},
        {**change, "requestParameters": {"a": hashlib.sha256(b"other").hexdigest()}},
        hashes=(digits, digits[:40], digits[:32]),
    )
    assert found == set()
