"""What can go wrong with an object: bad data is written down, a denied or unreachable object stays in the queue."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
from support.fault_proxy import (
    KMS_KEY,
    Action,
    answering,
    archived,
    cut,
    delayed,
    denied,
    denied_for_want_of_listing,
    denied_without_a_word,
    encrypted_by_a_key_of_ours,
    expired_token,
    internal_error,
    kms_denied,
    kms_disabled,
    lost,
    slow_down,
    truncated,
    unreached,
)
from support.trails import event_ids, records, s3_event, trail_key, trail_object
from support.world import World, assert_one_to_one

from pipeline.commands import load, replay
from transforms.list_objects import Selection

pytestmark = pytest.mark.usefixtures("impatient")

BAD, GOOD = trail_key("bad"), trail_key("good")
BODIES = {BAD: trail_object(records(range(50))), GOOD: trail_object(records(range(50, 90)))}
GOOD_IDS = event_ids(BODIES[GOOD])
ALL_IDS = [*event_ids(BODIES[BAD]), *GOOD_IDS]

PASSING: dict[str, tuple[Callable[[], Action], int]] = {
    "throttled": (slow_down, 5),
    "failing inside": (internal_error, 5),
    "cut in mid-body": (lambda: cut(100), 2),
    "cut after the headers": (lambda: cut(0), 2),
    "an answer that was lost": (lost, 3),
    "a connection that was refused": (unreached, 3),
    "a page of a gateway": (lambda: answering(503, b"<html>no XML", "text/html"), 3),
    "slow": (lambda: delayed(0.3), 1),
}


@pytest.mark.parametrize(("action", "times"), PASSING.values(), ids=PASSING)
def test_a_passing_fault_is_waited_out(faulty: World, action: Callable[[], Action], times: int) -> None:
    faulty.put_all(BODIES)
    faulty.proxy.when("GetObject", key=BAD).do(action()).times(times)

    counts = faulty.one_run(2)

    assert_one_to_one(faulty.output, ALL_IDS)
    assert counts["messages_deleted"] == 2
    assert counts["objects_deferred"] == 0
    assert faulty.waiting() == (0, 0)


LASTING: dict[str, tuple[Callable[[], Action], bool, tuple[str, ...]]] = {
    "throttled": (slow_down, False, ("s3:GetObject", "SlowDown", BAD)),
    "failing inside": (internal_error, False, ("s3:GetObject", "InternalError", BAD)),
    "cut in mid-body": (lambda: cut(100), False, ("s3:GetObject", BAD)),
    "expired credentials": (expired_token, False, ("s3:GetObject", "ExpiredToken", BAD)),
    "denied": (denied, True, ("s3:GetObject", BAD, "arn:aws:iam::")),
    "denied or missing": (denied_for_want_of_listing, True, ("s3:GetObject", BAD, "arn:aws:iam::", "missing")),
    "denied, said without a word": (denied_without_a_word, True, ("s3:GetObject", BAD, "arn:aws:iam::", "missing")),
    "its key is denied": (kms_denied, True, ("kms:Decrypt", KMS_KEY, BAD, "arn:aws:iam::")),
    "its key is disabled": (kms_disabled, True, ("kms:Decrypt", KMS_KEY, BAD, "arn:aws:iam::")),
    "under SSE-C": (encrypted_by_a_key_of_ours, True, ("s3:GetObject", BAD, "InvalidRequest", "sse_c_key_file")),
    "archived": (archived, True, ("s3:GetObject", BAD, "InvalidObjectState", "restore")),
}


@pytest.mark.parametrize(("action", "is_denial", "told"), LASTING.values(), ids=LASTING)
def test_a_lasting_fault_leaves_the_message_and_tells_the_operator(
    make_world: Callable[..., World],
    caplog: pytest.LogCaptureFixture,
    action: Callable[[], Action],
    is_denial: bool,
    told: tuple[str, ...],
) -> None:
    faulty = make_world(proxied=True)
    faulty.put_all(BODIES)
    rule = faulty.proxy.when("GetObject", key=BAD).do(action())

    with caplog.at_level(logging.ERROR):
        counts = faulty.one_run(2, visibility_s=2)

    assert_one_to_one(faulty.output, GOOD_IDS)
    assert counts["messages_deleted"] == 1
    assert counts["objects_deferred"] == 1
    assert counts["objects_denied"] == int(is_denial)
    assert not faulty.letters()
    assert sum(faulty.waiting()) == 1
    (text,) = [it.getMessage() for it in caplog.records if it.getMessage().startswith("object_deferred")]
    assert not [part for part in told if part not in text], text

    rule.stop()
    assert faulty.one_run(1, visibility_s=30)["messages_deleted"] == 1
    assert_one_to_one(faulty.output, ALL_IDS)
    assert faulty.redriven() == 0


def test_a_missing_object_is_a_dead_letter_and_holds_nobody_up(faulty: World) -> None:
    faulty.put(GOOD, BODIES[GOOD])
    faulty.send(s3_event(faulty.bucket, BAD))

    counts = faulty.one_run(2)

    assert_one_to_one(faulty.output, GOOD_IDS)
    assert counts["messages_deleted"] == 2
    assert faulty.waiting() == (0, 0)
    (letter,) = faulty.letters()
    assert (letter["stage"], letter["scope"], letter["object_key"]) == ("fetch_objects", "object", BAD)
    assert "does not exist" in letter["reason"]


def test_a_bucket_that_is_not_there_leaves_the_message_since_the_endpoint_may_be_wrong(
    faulty: World, caplog: pytest.LogCaptureFixture
) -> None:
    faulty.send(s3_event("no-such-bucket-anywhere", BAD))

    with caplog.at_level(logging.ERROR):
        assert faulty.one_run(1)["messages_deleted"] == 0

    assert not faulty.letters()
    assert "check its name, the region, and AWS_ENDPOINT_URL" in caplog.text


def test_one_missing_object_of_a_message_spares_the_others(faulty: World) -> None:
    faulty.put(GOOD, BODIES[GOOD])
    faulty.one_run(1)
    faulty.send(s3_event(faulty.bucket, BAD, GOOD, trail_key("gone")))

    counts = faulty.one_run(1)

    assert counts["messages_deleted"] == 1
    assert len(faulty.letters()) == 2
    assert_one_to_one(faulty.output, GOOD_IDS)


def test_a_message_waits_for_its_denied_object_with_the_others_written(make_world: Callable[..., World]) -> None:
    faulty = make_world(proxied=True)
    faulty.put_all(BODIES)
    faulty.one_run(2)
    other = trail_key("other")
    faulty.s3.put_object(Bucket=faulty.bucket, Key=other, Body=trail_object(records(range(200, 210))))
    faulty.one_run(1)
    faulty.send(s3_event(faulty.bucket, BAD, other))
    rule = faulty.proxy.when("GetObject", key=BAD).do(denied())

    assert faulty.one_run(1, visibility_s=2)["messages_deleted"] == 0
    rule.stop()
    assert faulty.one_run(1)["messages_deleted"] == 1
    assert faulty.outcomes().count((BAD, "deferred")) == 1


@pytest.mark.parametrize("refusal", [denied_for_want_of_listing, denied_without_a_word])
def test_near_its_last_receive_what_is_denied_or_missing_is_written_down(
    make_world: Callable[..., World], refusal: Callable[[], Action]
) -> None:
    """Given that other objects of the bucket can be read: else it would be a denial of everything."""
    faulty = make_world(proxied=True, max_receives=3)
    faulty.put_all(BODIES)
    faulty.proxy.when("GetObject", key=BAD).do(refusal())

    assert faulty.one_run(2, visibility_s=2)["objects_deferred"] == 1
    counts = faulty.one_run(1)

    assert counts["messages_deleted"] == 1
    assert counts["objects_dead"] == 1
    (letter,) = faulty.letters()
    assert letter["object_key"] == BAD
    assert (sum(faulty.waiting()), faulty.redriven()) == (0, 0)


@pytest.mark.parametrize("refusal", [denied_for_want_of_listing, denied_without_a_word, denied, kms_disabled])
def test_without_evidence_the_queue_itself_redrives_a_denied_message(
    make_world: Callable[..., World], refusal: Callable[[], Action]
) -> None:
    faulty = make_world(proxied=True, max_receives=2)
    faulty.put(BAD, BODIES[BAD])
    faulty.proxy.when("GetObject").do(refusal())

    for _ in range(2):
        assert faulty.one_run(1, visibility_s=1)["messages_deleted"] == 0
    faulty.one_run(1, idle_s=2)

    assert not faulty.letters()
    assert faulty.redriven() == 1


def test_an_object_cut_short_unnoticed_is_a_dead_letter_that_a_replay_mends(faulty: World) -> None:
    faulty.put_all(BODIES)
    rule = faulty.proxy.when("GetObject", key=BAD).do(truncated(200))

    assert faulty.one_run(2)["messages_deleted"] == 2
    (letter,) = faulty.letters()
    assert letter["object_key"] == BAD
    assert "truncated" in letter["reason"]

    rule.stop()
    replay(
        load(output=str(faulty.output)),
        [],
        Selection(),
        workers=1,
        force=False,
        dead_letters=True,
        beam_flags=[],
        quiet=True,
    )
    assert_one_to_one(faulty.output, ALL_IDS)


@pytest.mark.parametrize(
    ("metadata", "scheme"),
    [
        (
            {"x-amz-key-v2": "k", "x-amz-cek-alg": "AES/GCM/NoPadding", "x-amz-wrap-alg": "kms+context"},
            "AES/GCM/NoPadding, key wrapped by kms+context",
        ),
        ({"x-amz-key": "k", "x-amz-iv": "i"}, "AES/CBC/PKCS5Padding, key wrapped by unknown"),
        ({"x-amz-3": "k", "x-amz-c": "115", "x-amz-w": "12"}, "115, key wrapped by 12"),
    ],
)
def test_an_object_encrypted_before_it_was_stored_is_a_dead_letter_that_names_the_scheme(
    aws: World, metadata: dict[str, str], scheme: str
) -> None:
    aws.s3.put_object(Bucket=aws.bucket, Key=BAD, Body=b"\x8f" * 500, Metadata=metadata)
    aws.ingest()
    (letter,) = aws.letters()
    assert "Amazon S3 Encryption Client" in letter["reason"]
    assert scheme in letter["reason"]
    assert aws.waiting() == (0, 0)
