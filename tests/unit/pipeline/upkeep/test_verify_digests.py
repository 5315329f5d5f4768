"""Digests that are gone, altered, moved or written again, and those of the backfill."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from support.digests import Trail, digest_key, key_list
from support.fault_proxy import answering
from support.trails import records, trail_key, trail_object
from support.verified import HOURS, LOGS, found, verified
from support.world import World


def test_a_removed_digest_is_missing(trail: World, tmp_path: Path) -> None:
    trail.s3.delete_object(Bucket=trail.bucket, Key=digest_key(2))

    told = verified(trail, tmp_path)

    assert found(told) == [("missing", digest_key(2))]
    assert (told.digests, told.log_files) == (3, 4)


def test_a_digest_before_the_first_one_is_missing_only_if_its_day_was_asked_for(trail: World, tmp_path: Path) -> None:
    trail.s3.delete_object(Bucket=trail.bucket, Key=digest_key(1))

    assert verified(trail, tmp_path).complete
    told = verified(trail, tmp_path, first_day="2026-01-12")
    assert found(told) == [("missing", digest_key(1))]
    assert verified(trail, tmp_path, first_day="2026-01-13").complete


def test_a_digest_whose_text_was_altered_is_invalid_and_breaks_the_chain(trail: World, tmp_path: Path) -> None:
    stored = trail.s3.get_object(Bucket=trail.bucket, Key=digest_key(2))
    text = gzip.decompress(stored["Body"].read())
    without = json.dumps({**json.loads(text), "logFiles": []}).encode()
    Trail(trail.s3, trail.bucket).put(digest_key(2), without, stored["Metadata"]["signature"])

    told = verified(trail, tmp_path)

    assert [(it.kind, it.key) for it in told.findings] == [("broken", digest_key(3)), ("invalid", digest_key(2))]
    assert "its signature is not that of its content" in told.findings[1].reason
    assert "has not the hash" in told.findings[0].reason


def test_a_digest_that_was_written_again_and_signed_breaks_the_chain(trail: World, tmp_path: Path) -> None:
    """By whoever holds the key: it is right in itself, and the next one knows another."""
    Trail(trail.s3, trail.bucket).write(2, LOGS[2:3])

    assert ("broken", digest_key(3)) in found(verified(trail, tmp_path))


def test_a_digest_whose_signature_alone_was_replaced_breaks_the_chain(trail: World, tmp_path: Path) -> None:
    stored = trail.s3.get_object(Bucket=trail.bucket, Key=digest_key(2))
    text = gzip.decompress(stored["Body"].read())
    Trail(trail.s3, trail.bucket).put(digest_key(2), text, "00" * 256)

    told = verified(trail, tmp_path)

    assert found(told) == [("broken", digest_key(3)), ("invalid", digest_key(2))]
    assert "has not the signature" in told.findings[0].reason


WRONG: dict[str, tuple[Callable[[World], None], str]] = {
    "another key": (lambda it: _write(it, key_number=1), "is not among the region's"),
    "moved": (lambda it: _write(it, digestS3Object=digest_key(9)), "moved here"),
    "another bucket": (lambda it: _write(it, digestS3Bucket="elsewhere"), "moved here"),
    "no signature": (lambda it: Trail(it.s3, it.bucket).put(digest_key(8), _text(it), None), "lost its signature"),
    "no hex": (lambda it: Trail(it.s3, it.bucket).put(digest_key(8), _text(it), "xyz"), "not that of its content"),
    "no digest": (lambda it: Trail(it.s3, it.bucket).put(digest_key(8), b"[]", "00"), "no digest file"),
    "no gzip": (
        lambda it: it.s3.put_object(Bucket=it.bucket, Key=digest_key(8), Body=b"\x1f\x8bxx"),
        "cannot be read",
    ),
}


def _write(world: World, key_number: int = 0, **members: Any) -> None:
    Trail(world.s3, world.bucket, key_number).write(8, [], **members)


def _text(world: World) -> bytes:
    _write(world)
    return gzip.decompress(world.s3.get_object(Bucket=world.bucket, Key=digest_key(8))["Body"].read())


@pytest.mark.parametrize(("spoil", "reason"), WRONG.values(), ids=WRONG)
def test_a_digest_that_is_not_right_in_itself_is_invalid(
    trail: World, tmp_path: Path, spoil: Callable[[World], None], reason: str
) -> None:
    spoil(trail)

    told = verified(trail, tmp_path)

    (invalid,) = (it for it in told.findings if it.kind == "invalid")
    assert invalid.key == digest_key(8)
    assert reason in invalid.reason
    assert told.digests == 4


def test_an_object_too_large_for_a_digest_is_invalid_and_not_read(
    make_world: Callable[..., World], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faulty = make_world(proxied=True)
    monkeypatch.setattr("pipeline.upkeep.verify._MOST_DIGEST_BYTES", 1_000)
    faulty.put_all(dict(LOGS))
    faulty.one_run(len(LOGS))
    faulty.s3.put_object(Bucket=faulty.bucket, Key=digest_key(3), Body=bytes(1_001))

    assert found(verified(faulty, tmp_path)) == [("invalid", digest_key(3))]
    assert not faulty.proxy.calls("GetObject", key=digest_key(3))


def test_a_chain_that_begins_anew_is_worth_a_note(trail: World, tmp_path: Path) -> None:
    _write(trail)

    told = verified(trail, tmp_path)

    assert found(told) == [("restarted", digest_key(8))]
    assert told.complete


LATE = trail_key("late"), trail_object(records(range(200, 205)))


@pytest.fixture
def backfilled(trail: World) -> World:
    """The same trail, and a log file that no digest of its hour names: two backfill digests do, days later."""
    trail.put(*LATE)
    assert trail.one_run(len(HOURS) + 1)["messages_deleted"] == len(HOURS) + 1
    cloudtrail = Trail(trail.s3, trail.bucket, generated="2026-01-20T08:15:00Z")
    cloudtrail.write(2, [LATE])
    cloudtrail.write(3, [])
    return trail


def test_backfill_digests_are_a_chain_beside_that_of_the_hours(backfilled: World, tmp_path: Path) -> None:
    told = verified(backfilled, tmp_path)

    assert (told.digests, told.log_files, told.findings) == (6, 7, ())
    backfilled.s3.delete_object(Bucket=backfilled.bucket, Key=digest_key(2))
    backfilled.s3.delete_object(Bucket=backfilled.bucket, Key=LATE[0])
    found_now = found(verified(backfilled, tmp_path))
    assert set(found_now) == {("missing", digest_key(2)), ("missing", LATE[0]), ("gone", LATE[0])}


def test_a_removed_backfill_digest_is_missing(backfilled: World, tmp_path: Path) -> None:
    backfilled.s3.delete_object(Bucket=backfilled.bucket, Key=digest_key(2, backfill=True))

    told = verified(backfilled, tmp_path, first_day="2026-01-12")

    assert found(told) == [("missing", digest_key(2, backfill=True))]


def test_a_backfill_digest_is_signed_by_a_key_of_the_time_of_its_signature(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    faulty = make_world(proxied=True)
    faulty.put(*LATE)
    faulty.one_run(1)
    Trail(faulty.s3, faulty.bucket, generated="2026-03-20T08:15:00Z").write(2, [LATE])
    answer = json.dumps(key_list()).encode()
    faulty.proxy.when("ListPublicKeys").do(answering(200, answer, "application/x-amz-json-1.1"))

    assert verified(faulty, tmp_path, keys=None).complete
    (call,) = faulty.proxy.calls("ListPublicKeys")
    asked = [datetime.fromtimestamp(call.json[name], UTC).date() for name in ("StartTime", "EndTime")]
    assert asked == [date(2026, 3, 20), date(2026, 3, 21)]
