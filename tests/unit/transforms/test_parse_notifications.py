from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.trails import cloudtrail_notice, eventbridge, in_sns, s3_event, s3_record, trail_key

from schemas.values import Delivery, Message, ObjectRef, Receipt
from transforms.parse_notifications import parse_notification
from transforms.stores.sources import Source

RECEIPT = Receipt("https://sqs/1/q", "m-1", "handle", 4e9, 1, None)
KEY = trail_key("one")
ANYWHERE = Source("trail")


def parse(body: str, source: Source = ANYWHERE) -> Message:
    return parse_notification(Delivery("trail", body, RECEIPT), source)


def named(message: Message) -> list[tuple[str, str]]:
    return [(ref.bucket, ref.key) for ref in message.objects]


def ignored(message: Message) -> list[str]:
    assert not message.objects
    assert not message.dead_letters
    assert {outcome for _, outcome, _ in message.settled} == {"ignored"}
    return [reason for _, _, reason in message.settled]


def refused(message: Message) -> str:
    (letter,) = message.dead_letters
    assert (letter.stage, letter.scope, letter.ref) == ("parse_notifications", "message", None)
    return letter.reason


FOUR_KINDS = {
    "S3 event (also: raw delivery from SNS)": s3_event("b", KEY),
    "S3 event in an SNS envelope": in_sns(s3_event("b", KEY)),
    "EventBridge event": eventbridge("b", KEY),
    "EventBridge event in an SNS envelope": in_sns(eventbridge("b", KEY)),
    "CloudTrail's notice, raw delivery": cloudtrail_notice("b", KEY),
    "CloudTrail's notice in its SNS envelope": in_sns(cloudtrail_notice("b", KEY)),
}


@pytest.mark.parametrize("body", FOUR_KINDS.values(), ids=FOUR_KINDS)
def test_each_kind_of_notification_is_told_by_its_content(body: str) -> None:
    message = parse(body)

    assert named(message) == [("b", KEY)]
    assert message.receipt == RECEIPT
    assert not message.dead_letters
    assert not message.settled


ODD_KEYS = [
    "a b.json",
    "a+b.json",
    "a%2Bb.json",
    "Übersicht/日志.json.gz",
    "100%.json",
    "a&b=c;d?.json",
    "tab\t.json",
]


@pytest.mark.parametrize("key", ODD_KEYS)
@pytest.mark.parametrize("wrap", [str, in_sns], ids=["bare", "in SNS"])
def test_only_the_keys_of_s3_events_are_url_encoded(key: str, wrap: Any) -> None:
    assert named(parse(wrap(s3_event("b", key)))) == [("b", key)]
    assert named(parse(wrap(eventbridge("b", key)))) == [("b", key)]
    assert named(parse(wrap(cloudtrail_notice("b", key)))) == [("b", key)]


def test_a_plus_in_an_s3_event_is_a_space_and_elsewhere_a_plus() -> None:
    encoded = {"Records": [s3_record("b", "x") | {"s3": {"bucket": {"name": "b"}, "object": {"key": "a+b%2Bc"}}}]}

    assert named(parse(json.dumps(encoded))) == [("b", "a b+c")]
    assert named(parse(cloudtrail_notice("b", "a+b%2Bc"))) == [("b", "a+b%2Bc")]
    assert named(parse(eventbridge("b", "a+b%2Bc"))) == [("b", "a+b%2Bc")]


def test_version_etag_and_size_come_along() -> None:
    thing = {"key": "k", "versionId": "v1", "eTag": "e1", "size": 17}
    body = json.dumps({"Records": [s3_record("b", "k", s3={"bucket": {"name": "b"}, "object": thing})]})

    assert parse(body).objects == (ObjectRef("b", "k", "v1", "e1", 17),)

    detail = {"bucket": {"name": "b"}, "object": {"key": "k", "version-id": "v1", "etag": "e1", "size": 17}}
    assert parse(eventbridge("b", "k", detail=detail)).objects == (ObjectRef("b", "k", "v1", "e1", 17),)


@pytest.mark.parametrize("odd", [None, "", "null", 5, True, [], {}])
def test_odd_optional_members_are_as_if_absent(odd: Any) -> None:
    thing = {"key": "k", "versionId": odd, "eTag": odd, "size": "many" if odd == 5 else odd}
    body = json.dumps({"Records": [s3_record("b", "k", s3={"bucket": {"name": "b"}, "object": thing})]})

    assert parse(body).objects == (ObjectRef("b", "k"),)


def test_several_records_and_keys_of_a_message_are_all_taken_once_in_order() -> None:
    assert named(parse(s3_event("b", "k2", "k1", "k2"))) == [("b", "k2"), ("b", "k1")]
    assert named(parse(cloudtrail_notice("b", "k3", "k1", "k3"))) == [("b", "k3"), ("b", "k1")]


@pytest.mark.parametrize(
    "bad", [None, 5, "text", [], {}, {"eventName": 7}, {"eventName": "ObjectCreated:Put"}], ids=repr
)
def test_one_bad_record_neither_loses_nor_repeats_the_others(bad: Any) -> None:
    body = json.dumps({"Records": [s3_record("b", "k1"), bad, s3_record("b", "k2")]})

    message = parse(body)

    assert named(message) == [("b", "k1"), ("b", "k2")]
    (letter,) = message.dead_letters
    assert letter.input == body.encode()


def test_a_bad_key_in_cloudtrails_notice_spares_the_others() -> None:
    message = parse(json.dumps({"s3Bucket": "b", "s3ObjectKey": ["k1", None, "", 5, "k2"]}))

    assert named(message) == [("b", "k1"), ("b", "k2")]
    assert "no key" in refused(message)


TEST_EVENTS = {
    "S3": json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b", "RequestId": "r"}),
    "S3 in SNS": in_sns(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"})),
    "CloudTrail": "CloudTrail validation message.",
    "CloudTrail in SNS": in_sns("CloudTrail validation message."),
    "SNS subscription": json.dumps(
        {
            "Type": "SubscriptionConfirmation",
            "TopicArn": "arn:aws:sns:r:1:t",
            "Message": "You have chosen",
            "Token": "x",
        }
    ),
}


@pytest.mark.parametrize("body", TEST_EVENTS.values(), ids=TEST_EVENTS)
def test_a_test_event_is_ignored_with_a_reason(body: str) -> None:
    (reason,) = ignored(parse(body))

    assert reason.startswith("no object announced")


@pytest.mark.parametrize(
    "name", ["ObjectRemoved:Delete", "s3:ObjectRestore:Completed", "ReducedRedundancyLostObject", "ObjectTagging:Put"]
)
def test_other_events_are_ignored(name: str) -> None:
    (reason,) = ignored(parse(json.dumps({"Records": [s3_record("b", KEY, eventName=name)]})))

    assert name in reason


@pytest.mark.parametrize("name", ["ObjectCreated:Put", "ObjectCreated:Copy", "s3:ObjectCreated:Post"])
def test_every_way_to_create_an_object_announces_it(name: str) -> None:
    assert named(parse(json.dumps({"Records": [s3_record("b", KEY, eventName=name)]}))) == [("b", KEY)]


def test_other_events_of_eventbridge_are_ignored() -> None:
    (reason,) = ignored(parse(eventbridge("b", KEY, **{"detail-type": "Object Deleted"})))

    assert "Object Deleted" in reason


@pytest.mark.parametrize("body", ['{"Records":[]}', '{"s3Bucket":"b","s3ObjectKey":[]}'])
def test_a_message_that_names_nothing_is_ignored_and_counted(body: str) -> None:
    assert len(ignored(parse(body))) == 1


@pytest.mark.parametrize(
    ("key", "outcome"),
    [
        (
            "AWSLogs/111122223333/CloudTrail-Digest/us-east-1/2026/01/12/111122223333_CloudTrail-Digest_x.json.gz",
            "digest",
        ),
        ("AWSLogs/111122223333/Config/us-east-1/2026/1/12/ConfigHistory/111122223333_Config_x.json.gz", "ignored"),
        ("AWSLogs/o-abc/111122223333/vpcflowlogs/us-east-1/2026/01/12/x.log.gz", "ignored"),
        ("AWSLogs/111122223333/CloudTrail/", "ignored"),
        ("out/aws_s3_raw/account_id=1/day=2026-01-12/00000001.parquet", "ignored"),
    ],
)
def test_a_key_that_is_no_trail_is_settled_without_reading(key: str, outcome: str) -> None:
    message = parse(s3_event("b", key, KEY))

    assert named(message) == [("b", KEY)]
    ((ref, found, reason),) = message.settled
    assert (ref.key, found) == (key, outcome)
    assert reason


def test_an_insight_object_is_a_trail() -> None:
    key = "AWSLogs/111122223333/CloudTrail-Insight/us-east-1/2026/01/12/111122223333_CloudTrail-Insight_x.json.gz"

    assert named(parse(s3_event("b", key))) == [("b", key)]


@pytest.mark.parametrize(
    "body",
    ["", "not JSON", "{", "[]", "5", '"text"', "null", "{}", '{"a":1}', '{"Records":5}', "\ud800", "[" * 9999],
    ids=lambda body: body[:12].encode("utf-8", "backslashreplace").decode(),
)
def test_an_unreadable_body_is_a_dead_letter_that_holds_it(body: str) -> None:
    message = parse(body)

    assert not message.objects
    assert message.receipt == RECEIPT
    assert refused(message)
    assert message.dead_letters[0].input == body.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("body", "kind"),
    [("[]", "an array"), ('"x"', "a text"), ("null", "null"), ("5", "a number"), ("true", "true or false")],
)
def test_what_a_body_is_instead_is_told_in_the_words_of_json(body: str, kind: str) -> None:
    assert parse(body).dead_letters[0].reason == f"the body is {kind} in JSON, not an object"


def test_envelopes_in_envelopes_end() -> None:
    body = s3_event("b", KEY)
    for _ in range(6):
        body = in_sns(body)

    assert "envelopes" in refused(parse(body))


@pytest.mark.parametrize("make", [s3_event, eventbridge, cloudtrail_notice])
def test_a_bucket_outside_the_allow_list_is_ignored_and_named(make: Any) -> None:
    source = Source("trail", buckets=("mine", "too"))

    assert named(parse(make("mine", KEY), source)) == [("mine", KEY)]
    (reason,) = ignored(parse(make("theirs", KEY), source))
    assert "'theirs'" in reason
    assert "'trail'" in reason


@pytest.mark.parametrize("bucket", ["file:", "../etc", "a/b", "arn:aws:s3:::b", "two words", "", "é", "x" * 300])
@pytest.mark.parametrize("make", [s3_event, eventbridge, cloudtrail_notice])
def test_a_name_that_no_bucket_can_have_is_unreadable(bucket: str, make: Any) -> None:
    """Above all that of local files: a message must never make us read from our own disk."""
    message = parse(make(bucket, "/etc/passwd"))

    assert not message.objects
    assert "bucket" in refused(message)


def test_the_region_in_a_notification_does_not_matter() -> None:
    assert named(parse(json.dumps({"Records": [s3_record("b", KEY, awsRegion="mars-north-1")]}))) == [("b", KEY)]


MEMBERS = st.sampled_from(
    [
        *("Records", "Message", "TopicArn", "Type", "Event", "eventName", "s3", "bucket", "name", "object", "key"),
        *("versionId", "size", "detail", "detail-type", "s3Bucket", "s3ObjectKey"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | MEMBERS, inner, max_size=5),
    max_leaves=25,
)


@given(st.text() | JSON.map(json.dumps) | JSON.map(json.dumps).map(in_sns))
@example('{"TopicArn":1,"Message":"{\\"TopicArn\\":2,\\"Message\\":\\"\\"}"}')
@example('{"Records":[{"eventName":"ObjectCreated:","s3":{"bucket":{"name":"b"},"object":{"key":"%ff%00"}}}]}')
def test_no_text_makes_it_raise_or_vanish(body: str) -> None:
    message = parse(body)

    assert message.receipt == RECEIPT
    assert message.objects or message.settled or message.dead_letters
