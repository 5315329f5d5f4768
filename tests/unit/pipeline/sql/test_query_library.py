"""Every named query on an empty tree, and on a small story with known answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.trees import ACCOUNT, OTHER, Tree, at

from pipeline import sql
from pipeline.sql import query
from schemas.errors import ConfigError
from transforms.stores.files import Output

NAMES = [named.name for named in query.library()]
USER = {"identity_type": "USER", "identity_sub_type": "IAM", "operation_status": "SUCCESS"}
ALICE = USER | {
    "identity_name": "alice",
    "identity_uuid": "AIDAALICE",
    "access_key_id": "AKIAALICE",
    "caller_ip": "192.0.2.1",
}
MALLORY = USER | {
    "identity_name": "mallory",
    "identity_uuid": "AIDAMAL",
    "access_key_id": "AKIANEW",
    "caller_ip": "203.0.113.9",
}
SERVICE = USER | {"identity_type": "SERVICE", "identity_sub_type": "AWS", "identity_uuid": "ec2.amazonaws.com"}
ROOT = USER | {
    "identity_sub_type": "ROOT",
    "identity_name": "root",
    "identity_uuid": ACCOUNT,
    "caller_ip": "198.51.100.7",
}
ROLE = USER | {
    "identity_type": "ROLE",
    "identity_sub_type": "ASSUMED",
    "identity_name": "admin",
    "identity_uuid": "AROA:bob",
    "access_key_id": "ASIABOB",
}
# What timelines are to be asked by.
ASKED = {
    "timeline-of-access-key": {"access_key": "%"},
    "timeline-of-identity": {"identity": "%"},
    "timeline-of-ip": {"ip": "%"},
}

# Two days in one account, one in another; times only where an answer shows them.
JANUARY_30 = [
    ALICE
    | {
        "event_id": "login",
        "event_time": at("2026-01-30T08:00:00"),
        "operation_name_orig": "ConsoleLogin",
        "sign_in_mfa_used": True,
    },
    ROOT | {"event_id": "root-login", "operation_name_orig": "ConsoleLogin", "sign_in_mfa_used": False},
    ROOT | {"event_id": "for-root", "operation_name_orig": "Decrypt", "invoked_by": "s3.amazonaws.com"},
]
JANUARY_31 = [
    ALICE
    | {
        "event_id": "key",
        "event_time": at("09:00:00"),
        "operation_name_orig": "CreateAccessKey",
        "issued_user_name": "mallory",
        "issued_access_key_id": "AKIANEW",
    },
    MALLORY
    | {
        "event_id": "first",
        "event_time": at("09:05:00"),
        "operation_name_orig": "GetSecretValue",
        "referenced_resource": "secret",
    },
    MALLORY
    | {
        "event_id": "denied-1",
        "operation_name_orig": "ListUsers",
        "operation_status": "FAILURE",
        "error_class": "DENIED",
    },
    MALLORY
    | {
        "event_id": "denied-2",
        "operation_name_orig": "ListUsers",
        "operation_status": "FAILURE",
        "error_class": "DENIED",
    },
    MALLORY | {"event_id": "blind", "event_time": at("10:00:00"), "operation_name_orig": "StopLogging"},
    SERVICE
    | {
        "event_id": "service",
        "caller_ip_orig": "ec2.amazonaws.com",
        "operation_name_orig": "AssumeRole",
        "caller_project": None,
    },
    MALLORY
    | {
        "event_id": "hop",
        "operation_name_orig": "AssumeRole",
        "shared_event_id": "shared",
        "caller_project": ACCOUNT,
    },
]
ELSEWHERE = [
    {
        "event_id": "hopped",
        "operation_name_orig": "AssumeRole",
        "shared_event_id": "shared",
        "caller_project": ACCOUNT,
        "issued_arn": "arn:role",
        "operation_status": "SUCCESS",
        "identity_type": "ACCOUNT",
        "identity_uuid": ACCOUNT,
    },
    ROLE | {"event_id": "s1", "session_id": "S", "caller_ip": "192.0.2.1", "operation_name_orig": "PutRolePolicy"},
    ROLE | {"event_id": "s2", "session_id": "S", "caller_ip": "203.0.113.9", "operation_name_orig": "PutRolePolicy"},
]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Output:
    tree = Tree(tmp_path_factory.mktemp("tree"))
    tree.commit(JANUARY_30, day="2026-01-30")
    tree.commit(JANUARY_31)
    tree.commit(ELSEWHERE, account=OTHER)
    message = {
        "source_name": "main",
        "outcome": "done",
        "sent_time": at("12:00:00"),
        "first_event_time": at("11:50:00"),
    }
    here = message | {"object_bucket": "b", "logged_time": at("12:00:10")}
    tree.ledger(
        here | {"object_key": "k1", "records": 10, "written": 9, "dead_letters": 1},
        here | {"object_key": "k2", "records": 10, "written": 5, "duplicates": 5, "logged_time": at("12:00:30")},
        here | {"object_key": "k2", "records": 10, "duplicates": 10, "logged_time": at("13:00:00")},
    )
    bad = {"object_bucket": "b", "object_key": "k1", "scope": "record", "stage": "explode_records"}
    tree.dead_letters(bad | {"record_index": 4, "reason": "no eventTime", "input": b'{"a": 1}'})
    return Output(str(tree.root))


def answer(output: Output, name: str, **given: str) -> list[dict[str, Any]]:
    found = query.named(name)
    with query.connect(output) as connection:
        return query.run(connection, found, given).read_all().to_pylist()


def picked(rows: list[dict[str, Any]], *columns: str) -> list[tuple[Any, ...]]:
    return [tuple(row[column] for column in columns) for row in rows]


@pytest.mark.parametrize("name", NAMES)
def test_every_query_runs_on_an_empty_tree(tmp_path: Path, name: str) -> None:
    assert answer(Output(str(Tree(tmp_path).root)), name, **ASKED.get(name, {})) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_query_says_what_it_answers_and_has_rows_in_the_story(output: Output, name: str) -> None:
    found = query.named(name)
    assert found.description.endswith(".")
    assert len(found.description) > 40
    assert all(parameter.meaning for parameter in found.parameters)
    assert answer(output, name, **ASKED.get(name, {}))


@pytest.mark.parametrize("name", ASKED)
def test_a_timeline_says_what_it_is_to_be_asked_by(output: Output, name: str) -> None:
    (parameter,) = ASKED[name]
    with pytest.raises(ConfigError, match=rf"asks for {parameter}.*--param {parameter}=\w"):
        answer(output, name)


def test_a_day_on_which_nothing_happened_has_no_answer(output: Output) -> None:
    for found in query.library():
        given = ASKED.get(found.name, {})
        if "since" in found.values(given):
            assert answer(output, found.name, since="2026-02-01", **given) == [], found.name


def test_who_came_from_where(output: Output) -> None:
    rows = picked(answer(output, "who-came-from-where"), "account_id", "identity", "source", "calls", "failed")
    assert rows[0] == (ACCOUNT, "mallory", "203.0.113.9", 5, 2)
    assert (ACCOUNT, "ec2.amazonaws.com", "ec2.amazonaws.com", 1, 0) in rows


def test_denied_calls(output: Output) -> None:
    rows = answer(output, "denied-calls")
    assert picked(rows, "identity", "operation", "denied", "addresses") == [("mallory", "ListUsers", 2, 1)]


def test_console_logins(output: Output) -> None:
    rows = answer(output, "console-logins")
    assert picked(rows, "identity", "mfa_used") == [("alice", True), ("root", False)]
    assert picked(answer(output, "console-logins-without-mfa"), "identity") == [("root",)]


def test_access_keys_created(output: Output) -> None:
    (row,) = answer(output, "access-keys-created")
    assert picked([row], "created_by", "created_for", "access_key_id", "uses", "first_used") == [
        ("alice", "mallory", "AKIANEW", 5, at("09:05:00"))
    ]


def test_root_usage_leaves_out_what_aws_did_for_root(output: Output) -> None:
    assert picked(answer(output, "root-usage"), "operation") == [("ConsoleLogin",)]


def test_roles_assumed_across_accounts_name_the_caller_of_the_other_account(output: Output) -> None:
    rows = answer(output, "assume-role-across-accounts")
    assert picked(rows, "from_account", "to_account", "identity", "source", "role") == [
        (ACCOUNT, OTHER, "mallory", "203.0.113.9", "arn:role")
    ]


def test_trail_tampering_and_privilege_changes(output: Output) -> None:
    assert picked(answer(output, "trail-tampering"), "identity", "operation") == [("mallory", "StopLogging")]
    operations = picked(answer(output, "privilege-changes"), "operation")
    assert operations == [("CreateAccessKey",), ("PutRolePolicy",), ("PutRolePolicy",)]


def test_secrets_read(output: Output) -> None:
    assert picked(answer(output, "secrets-read"), "identity", "calls", "secrets") == [("mallory", 1, ["secret"])]


def test_timelines_follow_a_key_an_identity_or_an_address(output: Output) -> None:
    by_key = answer(output, "timeline-of-access-key", access_key="AKIANEW")
    assert picked(by_key, "event_id")[:2] == [("first",), ("blind",)]
    assert len(by_key) == 5
    assert by_key == [
        row for row in answer(output, "timeline-of-access-key", access_key="%") if row["identity"] == "mallory"
    ]
    assert picked(answer(output, "timeline-of-identity", identity="AROA%"), "event_id") == [("s1",), ("s2",)]
    assert picked(answer(output, "timeline-of-ip", ip="198.51.100.7"), "event_id") == [("for-root",), ("root-login",)]


def test_first_seen_identities(output: Output) -> None:
    rows = {row["identity"]: row for row in answer(output, "first-seen-identities")}
    assert picked([rows["mallory"]], "first_seen", "first_operation", "calls") == [
        (at("09:05:00"), "GetSecretValue", 5)
    ]


def test_sessions_from_many_addresses(output: Output) -> None:
    (row,) = answer(output, "sessions-from-many-addresses")
    assert picked([row], "identity", "used_from") == [("admin", ["192.0.2.1", "203.0.113.9"])]


def test_events_by_day(output: Output) -> None:
    rows = picked(answer(output, "events-by-day"), "account_id", "events", "failed")
    assert rows == [(ACCOUNT, 3, 0), (ACCOUNT, 7, 2), (OTHER, 3, 0)]


def test_rare_operations(output: Output) -> None:
    assert answer(output, "rare-operations")[0]["calls"] == 1


def test_ingest_lag_counts_what_was_new(output: Output) -> None:
    (row,) = answer(output, "ingest-lag")
    assert picked([row], "objects", "sent_p50_s", "sent_max_s", "event_p50_s", "event_max_s") == [
        (2, 20, 30, 620, 630)
    ]


def test_dead_letters_show_reason_and_beginning(output: Output) -> None:
    rows = answer(output, "dead-letters")
    assert picked(rows, "object_key", "record_index", "reason", "input_begins") == [
        ("k1", 4, "no eventTime", '{"a": 1}')
    ]


def test_repeats(output: Output) -> None:
    (row,) = answer(output, "repeats")
    assert row == {
        "source_name": "main",
        "objects": 2,
        "delivered_again": 1,
        "records": 20,
        "written": 14,
        "duplicates": 5,
        "duplicate_percent": 25.0,
    }


def test_an_unknown_query_or_parameter_is_refused_with_a_suggestion() -> None:
    with pytest.raises(
        ConfigError, match=r"no query 'root-use'; did you mean 'root-usage'\? there are access-keys-created, "
    ):
        query.named("root-use")
    with pytest.raises(
        ConfigError, match=r"'root-usage' has no parameter 'sinc'; did you mean 'since'\? there are since, until"
    ):
        query.named("root-usage").values({"sinc": "2026-01-01"})
    with pytest.raises(ConfigError, match=r"'repeats' has no parameter 'since'; it takes none"):
        query.named("repeats").values({"since": "2026-01-01"})


def test_the_library_is_sorted_and_every_parameter_is_used() -> None:
    assert sorted(NAMES) == NAMES == sql.names("queries")
    assert 12 <= len(NAMES) <= 24
    for found in query.library():
        for parameter in found.parameters:
            assert f"${parameter.name}" in found.sql
