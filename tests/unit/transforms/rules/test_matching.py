"""Rules over records: every form of the specification, and what a hit keeps."""

from __future__ import annotations

import gc
import json
import uuid
import weakref
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from support import plain_sigma
from support.matched import PROVIDER, RECORD, SOURCE, compiled, decoded, hit, in_yaml, record

from schemas.datasets import DETECTIONS
from schemas.values import Commit, Partition
from transforms.rules import fields
from transforms.rules.matching import RuleMatcher
from transforms.rules.sigma import RuleText, compile_rules

FORMS: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"eventName": "createuser"}, {}, True),
    ({"eventName|cased": "createuser"}, {}, False),
    ({"eventName|cased": "CreateUser"}, {}, True),
    ({"eventName": ["X", "CreateUser"]}, {}, True),
    ({"eventName": "Create*"}, {}, True),
    ({"eventName": "Create?ser"}, {}, True),
    ({"eventName": "Create?User"}, {}, False),
    ({"eventName|startswith": "create"}, {}, True),
    ({"eventName|endswith": "USER"}, {}, True),
    ({"eventName|contains": "teu"}, {}, True),
    ({"eventName|contains|all": ["create", "user"]}, {}, True),
    ({"eventName|contains|all": ["create", "role"]}, {}, False),
    ({"eventName|neq": "DeleteUser"}, {}, True),
    ({"eventName|neq": ["DeleteUser", "CreateUser"]}, {}, False),
    ({"eventName|re": "^Create(User|Role)$"}, {}, True),
    ({"eventName|re": "user$"}, {}, False),
    ({"eventName|re|i": "user$"}, {}, True),
    ({"userAgent|re|m": "^b$"}, {"userAgent": "a\nb\nc"}, True),
    ({"userAgent|re": "a.b"}, {"userAgent": "a\nb"}, False),
    ({"userAgent|re|s": "a.b"}, {"userAgent": "a\nb"}, True),
    ({"userAgent": "a*b"}, {"userAgent": "a\nb"}, True),
    ({"sourceIPAddress|cidr": "203.0.113.0/24"}, {}, True),
    ({"sourceIPAddress|cidr": "10.0.0.0/8"}, {}, False),
    ({"sourceIPAddress|cidr": ["10.0.0.0/8", "2001:db8::/32"]}, {"sourceIPAddress": "2001:db8::1"}, True),
    ({"sourceIPAddress|cidr": "203.0.113.0/24"}, {"sourceIPAddress": "ec2.amazonaws.com"}, False),
    ({"errorCode|exists": True}, {"errorCode": "AccessDenied"}, True),
    ({"errorCode|exists": True}, {}, False),
    ({"errorCode|exists": False}, {}, True),
    ({"errorCode|exists": True}, {"errorCode": None}, True),
    ({"requestParameters.userName|exists": True}, {}, True),
    ({"requestParameters.other|exists": True}, {}, False),
    ({"requestParameters|exists": True}, {"requestParameters": None}, True),
    ({"requestParameters": None}, {"requestParameters": None}, True),
    ({"errorCode": None}, {}, True),
    ({"errorCode": None}, {"errorCode": "X"}, False),
    ({"userAgent": ""}, {"userAgent": ""}, True),
    ({"userAgent": ""}, {}, False),
    ({"requestParameters.tags": None}, {"requestParameters": {"tags": []}}, True),
    ({"extra.one.two": "x"}, {"extra.one": {"two": "x"}}, True),
    ({"extra.one.two": "x"}, {"extra": {"one.two": "x"}}, True),
    ({"extra.one.two": "x"}, {"extra": {"one": {"two": "y"}}, "extra.one.two": "x"}, False),
    ({"extra.one": "x"}, {"extra": {"two": "x"}, "extra.one": "x"}, True),
    ({"extra.one|exists": True}, {"extra": {"two": "x"}}, False),
    ({"requestParameters.userName|fieldref": "userIdentity.userName"}, {}, True),
    ({"requestParameters.userName|fieldref": "userIdentity.type"}, {}, False),
    ({"userIdentity.arn|fieldref|endswith": "userIdentity.userName"}, {}, True),
    ({"eventName|fieldref|startswith": "requestParameters.verb"}, {"requestParameters": {"verb": "create"}}, True),
    ({"userAgent|fieldref|contains": "userIdentity.userName"}, {"userAgent": "by Ada, 1"}, True),
    ({"userAgent|fieldref|contains": "userIdentity.userName"}, {"userAgent": "Ada-dA"}, True),
    ({"userAgent|fieldref|contains": "userIdentity.userName"}, {"userAgent": "by Bob"}, False),
    ({"requestParameters.size": 5}, {}, True),
    ({"requestParameters.size": "5"}, {}, True),
    ({"requestParameters.size": 5}, {"requestParameters": {"size": 5.0}}, True),
    ({"requestParameters.size|gt": 4}, {}, True),
    ({"requestParameters.size|gte": 5}, {}, True),
    ({"requestParameters.size|lt": 5}, {}, False),
    ({"requestParameters.size|lte": 5}, {}, True),
    ({"requestParameters.size|gt": 4}, {"requestParameters": {"size": "5"}}, True),
    ({"requestParameters.size|gt": 4}, {"requestParameters": {"size": "many"}}, False),
    ({"requestParameters.force": True}, {}, True),
    ({"requestParameters.force": "true"}, {}, True),
    ({"requestParameters.force": False}, {}, False),
    ({"requestParameters.tags.key": "team"}, {}, True),
    ({"requestParameters.tags.key|contains|all": ["tea", "cos"]}, {}, True),
    ({"requestParameters.tags.key": "owner"}, {}, False),
    ({"requestParameters.Filter.1.Name": "x"}, {"requestParameters": {"Filter.1.Name": "x"}}, True),
    ({"requestParameters.tags|contains": '"key":"cost"'}, {}, True),
    ({"userAgent": r"a\*b"}, {"userAgent": "a*b"}, True),
    ({"userAgent": r"a\*b"}, {"userAgent": "axb"}, False),
    ({"userAgent": r"a\\*b"}, {"userAgent": "a\\xb"}, True),
    ({"userAgent": r"a\b"}, {"userAgent": "a\\b"}, True),
    ({"userAgent|windash|contains": " -e "}, {"userAgent": "sh /e x"}, True),
    ({"userAgent|base64": "cmd"}, {"userAgent": "Y21k"}, True),
    ({"userAgent|base64offset|contains": "foobar"}, {"userAgent": "xhmb29iYXJ6"}, True),
    ({"userAgent|wide|base64|contains": "cmd"}, {"userAgent": "AYwBtAGQAB"}, True),
    ({"userAgent|utf16le|base64|contains": "cmd"}, {"userAgent": "YwBtAGQA"}, True),
    ({"userAgent|utf16be|base64": "cmd"}, {"userAgent": "AGMAbQBk"}, True),
    ({"eventTime|hour": 7}, {}, True),
    ({"eventTime|hour": 8}, {}, False),
    ({"eventTime|month": [1, 3]}, {}, True),
    ({"eventTime|week": 10, "eventTime|day": 5, "eventTime|year": 2024, "eventTime|minute": 8}, {}, True),
]


@pytest.mark.parametrize(("selection", "members", "expected"), FORMS)
def test_a_form_of_the_specification_holds_as_it_says(
    selection: dict[str, Any], members: dict[str, Any], expected: bool
) -> None:
    rule = compiled({"selection": selection, "condition": "selection"})
    assert hit(rule, [record(**members)]) == [expected]
    if not any("startswith" in key or "endswith" in key for key in selection if "fieldref" in key):
        assert plain_sigma.matches({"detection": {"s": selection, "condition": "s"}}, record(**members)) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("yes", True),
        ("no", False),
        ("not no", True),
        ("yes and not no", True),
        ("no or yes", True),
        ("no and no or yes", True),
        ("no and (no or yes)", False),
        ("1 of them", True),
        ("all of them", False),
        ("any of n*", False),
        ("1 of y*", True),
        ("all of y* and not 1 of n*", True),
        (["no", "yes"], True),
    ],
)
def test_a_condition_joins_its_selections(condition: Any, expected: bool) -> None:
    detection = {
        "yes": {"eventName": "CreateUser"},
        "no": {"eventName": "DeleteUser"},
        "_hidden": {"requestParameters.size|gt": 100},
        "condition": condition,
    }
    assert hit(compiled(detection), [RECORD]) == [expected]
    assert plain_sigma.matches({"detection": detection}, RECORD) == expected


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (["aws-cli", "nothing"], True),
        (["nothing"], False),
        (["AWS-CLI/2.?"], True),
        ([{"eventName": "X"}, {"awsRegion": "us-*"}], True),
        ([{"eventName": "X"}, {"awsRegion": "eu-*"}], False),
        ({"|all": ["ada", "aws-cli"]}, True),
        ({"|all": ["ada", "nothing"]}, False),
    ],
)
def test_lists_are_keywords_or_alternatives(selection: Any, expected: bool) -> None:
    rule = compiled({"selection": selection, "condition": "selection"})
    assert hit(rule, [RECORD]) == [expected]


def test_a_keyword_is_found_however_json_writes_it() -> None:
    rule = compiled({"words": ['say "é</" '], "condition": "words"})
    texts = [
        json.dumps(record(userAgent='say "é</" ')).encode(),
        json.dumps(record(userAgent='say "é</" '), ensure_ascii=False).encode(),
        json.dumps(record(userAgent='say "é</" ')).replace("<", "\\u003C").replace("/", "\\/").encode(),
        json.dumps(record(userAgent="say e")).encode(),
    ]
    hits = RuleMatcher([rule], PROVIDER).hits(decoded([], texts), None)
    assert [it.rows.tolist() for it in hits] == [[0, 1, 2]]


def test_a_hostile_text_is_matched_in_linear_time() -> None:
    rule = compiled(
        {"it": {"userAgent": "*a*a*a*a*a*a*a*b", "requestParameters.x|re": "(a+)+$"}, "condition": "1 of it"}
    )
    long = "a" * 200_000
    assert hit(rule, [record(userAgent=long + "b", requestParameters={"x": long + "!"})]) == [False]


def test_records_no_parser_follows_hit_nothing_and_harm_nobody() -> None:
    rule = compiled({"it": {"requestParameters.deep": "x"}, "condition": "it"})
    deep = (
        b'{"eventVersion":"1.0","eventTime":"2024-03-05T07:08:09Z","eventSource":"a.amazonaws.com","eventName":"B",'
    )
    deep += b'"eventID":"e","requestParameters":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
    good = json.dumps(record(requestParameters={"deep": "x"})).encode()
    (hits,) = RuleMatcher([rule], PROVIDER).hits(decoded([], [deep, good]), None)
    assert hits.rows.tolist() == [1]


def test_what_was_read_of_a_slice_is_gone_with_its_last_user() -> None:
    members = {"requestParameters": {"key": "k"}, "vpcEndpointId": None}
    table = fields.Table(decoded([record(**members)] * 3), None, PROVIDER.fields)
    rows = np.arange(3)
    table.together(rows, ("requestParameters.key", "requestParameters.size"))
    for field in ("eventName", "userAgent", "userIdentity.arn", "requestParameters.key", "vpcEndpointId"):
        assert table.column(field, rows).codes(rows).tolist() == [0, 0, 0]
    gone = weakref.ref(table)
    gc.disable()
    try:
        del table
        assert gone() is None
    finally:
        gc.enable()


def test_a_hit_keeps_its_evidence_its_group_and_the_rule() -> None:
    text = """
title: Made
id: 0e95725d-7320-415d-80f7-004da920fc10
name: made
level: high
tags: [attack.t1136.003, attack.persistence]
logsource: {product: aws, service: cloudtrail}
detection: {one: {eventName: CreateUser, requestParameters.size|gt: 1}, condition: one}
fields: [sourceIPAddress]
---
title: Many made
correlation:
    type: value_count
    rules: [made]
    group-by: [userIdentity.userName, requestParameters.absent]
    timespan: 1h
    condition: {gte: 3, field: requestParameters.tags.key}
"""
    found = compile_rules([RuleText("one.yml", text)]).checked()
    table = decoded([record(eventID="late"), record(eventName="Other"), record(eventID="early")])
    times = pa.array([20, 10, 5], pa.timestamp("us", tz="UTC"))
    table = table.set_column(table.column_names.index("event_time"), "event_time", times)
    commits = (
        Commit(Partition("111122223333", "2024-03-05"), 7, 0, 2),
        Commit(Partition("1", "2024-03-06"), 1, 2, 1),
    )
    first, second = RuleMatcher(found.rules, PROVIDER).detections(table, None, commits)
    assert first.schema == second.schema == DETECTIONS.arrow
    (row,) = first.to_pylist()
    assert len(row.pop("rule_version")) == 16
    assert row.pop("event_time").microsecond == 20
    assert row == {
        "rule_id": "0e95725d-7320-415d-80f7-004da920fc10",
        "rule_title": "Made",
        "kind": "sigma",
        "level": "high",
        "tags": ["attack.persistence", "attack.t1136.003"],
        "alerts": False,
        "event_id": "late",
        "recipient_account_id": "111122223333",
        "session_id": None,
        "group_fields": ["requestParameters.tags.key", "userIdentity.userName"],
        "group_values": ["Team", "ada"],
        "evidence": ["eventName=CreateUser", "requestParameters.size=5", "sourceIPAddress=203.0.113.7"],
        "commit_number": 7,
    }
    assert second["event_id"].to_pylist() == ["early"]
    assert second["recipient_account_id"].to_pylist() == ["1"]


def test_a_value_with_half_of_a_surrogate_pair_is_matched_and_kept_as_evidence() -> None:
    half = "ada\ud800"
    rule = compiled(
        {"it": {"requestParameters.userName": "ada?", "requestParameters.tags|exists": True}, "condition": "it"}
    )
    table = decoded([record(requestParameters={"userName": half, "tags": [{half: half}]}, userAgent=half)])
    commits = (Commit(Partition("111122223333", "2024-03-05"), 1, 0, 1),)
    (found,) = RuleMatcher([rule], PROVIDER).detections(table, None, commits)
    (evidence,) = found["evidence"].to_pylist()
    assert sorted(evidence) == [
        'requestParameters.tags={"ada\ufffd":"ada\ufffd"}',
        "requestParameters.userName=ada\ufffd",
    ]


def test_a_rule_may_ask_for_columns_of_cloud_audit_logs() -> None:
    table = decoded([RECORD]).append_column("recipient_account_id", pa.array(["111122223333"]))
    events = PROVIDER.normalize(table)
    for source in (SOURCE, {"product": "trailweave", "service": "cloud_audit_logs"}):
        text = yaml.safe_dump(
            {
                "title": "One",
                "logsource": source,
                "detection": {"it": {"identity_name|contains": "ada", "caller_ip": "203.0.113.7"}, "condition": "it"},
            }
        )
        rule = in_yaml(text)
        assert [it.rows.tolist() for it in RuleMatcher([rule], PROVIDER).hits(table, events)] == [[0]]


def test_many_rules_over_one_field_hit_as_each_does_alone_however_little_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records = [record(eventName="PutObject", requestParameters={"key": f"k{n % 7}", "size": n}) for n in range(50)]
    rules = [
        compiled({"one": {f"requestParameters.{field}|{how}": value}, "condition": "one"}, id=str(uuid.uuid4()))
        for field, how, value in [("key", "endswith", "3"), ("key", "contains", "k"), ("size", "gte", 20)]
    ]
    rules.append(compiled({"one": {"requestParameters.key|exists": False}, "condition": "one"}, id=str(uuid.uuid4())))
    alone = [hit(rule, records) for rule in rules]
    assert [sum(it) for it in alone] == [7, 50, 30, 0]
    for kept in (fields._MOST_KEPT, 0):
        monkeypatch.setattr(fields, "_MOST_KEPT", kept)
        matcher = RuleMatcher(rules, PROVIDER)
        for _ in range(2):
            found = {it.rule.id: it.rows.tolist() for it in matcher.hits(decoded(records), None)}
            expected = {
                rule.id: np.flatnonzero(it).tolist() for rule, it in zip(rules, alone, strict=True) if any(it)
            }
            assert found == expected
