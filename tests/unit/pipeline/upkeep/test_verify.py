from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from support.digests import Trail, digest_key, key_file, key_list
from support.fault_proxy import answering, denied, s3_error
from support.replaying import replay_from
from support.trails import record, records, trail_key, trail_object
from support.world import World

from pipeline import cli
from pipeline.upkeep.verify import Verification, verify
from schemas.errors import AccessError, ConfigError
from transforms.stores.files import Output
from transforms.stores.sources import Source
from transforms.stores.trail_digests import load_public_keys

LOGS = [(trail_key(f"o{n}"), trail_object(records(range(n * 5, n * 5 + 5)))) for n in range(6)]
HOURS = [LOGS[:2], LOGS[2:4], [], LOGS[4:]]


@pytest.fixture
def trail(aws: World) -> World:
    """Six log files, ingested, and the four digests that sign them."""
    aws.put_all(dict(LOGS))
    assert aws.one_run(len(LOGS))["messages_deleted"] == len(LOGS)
    cloudtrail = Trail(aws.s3, aws.bucket)
    for hour, logs in enumerate(HOURS, 1):
        cloudtrail.write(hour, logs)
    return aws


def verified(world: World, tmp_path: Path, **options: Any) -> Verification:
    source = Source("s", location=f"s3://{world.bucket}/AWSLogs/", access=world.access)
    keys = load_public_keys([key_file(tmp_path)])
    return verify(Output(str(world.output)), [source], **{"keys": keys, **options})


def found(told: Verification) -> list[tuple[str, str]]:
    return [(it.kind, it.key) for it in told.findings]


def test_a_whole_trail_that_was_ingested_is_complete(trail: World, tmp_path: Path) -> None:
    told = verified(trail, tmp_path)

    assert (told.objects, told.digests, told.log_files) == ({"ingested": 6}, 4, 6)
    assert told.signed_until == "2026-01-12T04:00:00Z"
    assert not told.findings
    assert told.complete


def test_an_object_that_was_not_ingested_is_told(trail: World, tmp_path: Path) -> None:
    trail.put(trail_key("new"), trail_object(records(range(90, 95))))

    told = verified(trail, tmp_path)

    assert told.objects == {"ingested": 6, "not_ingested": 1}
    assert found(told) == [("not_ingested", trail_key("new"))]
    assert not told.complete


def test_an_altered_object_is_told_by_the_listing_and_by_its_hash(trail: World, tmp_path: Path) -> None:
    key, _ = LOGS[3]
    trail.put(key, trail_object(records(range(15, 19))))

    told = verified(trail, tmp_path)

    assert [(it.kind, it.key) for it in told.findings] == [("altered", key), ("altered", key)]
    reasons = " ".join(it.reason for it in told.findings)
    assert "another etag or size" in reasons
    assert "another hash than the digest says" in reasons
    assert (told.objects["altered"], told.log_files) == (1, 5)


def test_the_same_text_compressed_otherwise_is_what_cloudtrail_delivered(trail: World, tmp_path: Path) -> None:
    """A digest signs the text. The ledger knows the object by its etag, so it is not the one that was ingested."""
    key, body = LOGS[3]
    trail.put(key, gzip.compress(gzip.decompress(body), 9))

    told = verified(trail, tmp_path)

    assert told.log_files == 6
    assert [it.reason for it in told.findings] == ["it has another etag or size than the object that was ingested"]


def test_an_object_that_cannot_be_inflated_any_more_is_altered(trail: World, tmp_path: Path) -> None:
    key, body = LOGS[0]
    trail.put(key, body[:100])

    assert ("altered", key) in found(verified(trail, tmp_path))


def test_a_removed_object_is_missing_since_a_digest_names_it(trail: World, tmp_path: Path) -> None:
    trail.s3.delete_object(Bucket=trail.bucket, Key=LOGS[4][0])

    told = verified(trail, tmp_path)

    assert found(told) == [("gone", LOGS[4][0]), ("missing", LOGS[4][0])]
    assert not told.complete


def test_without_digests_a_removed_object_is_only_gone(trail: World, tmp_path: Path) -> None:
    trail.s3.delete_object(Bucket=trail.bucket, Key=LOGS[4][0])

    told = verified(trail, tmp_path, digests=False)

    assert found(told) == [("gone", LOGS[4][0])]
    assert told.complete


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


def test_an_object_that_no_digest_names_is_worth_a_note(trail: World, tmp_path: Path) -> None:
    cloudtrail = Trail(trail.s3, trail.bucket, before={})
    cloudtrail.write(1, [], day="2026-01-10")
    forged = trail_key("forged", day="2026-01-11")
    trail.put(forged, trail_object([record(1, day="2026-01-11")]))
    trail.one_run(1)

    assert ("unsigned", forged) in found(verified(trail, tmp_path))


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


def test_days_limit_what_is_compared_and_what_is_proven(trail: World, tmp_path: Path) -> None:
    assert not verified(trail, tmp_path, last_day="2026-01-11").objects
    told = verified(trail, tmp_path, first_day="2026-01-12", last_day="2026-01-12")
    assert (told.objects, told.log_files) == ({"ingested": 6}, 6)


def test_log_files_of_the_last_day_are_proven_by_the_digest_of_the_next(trail: World, tmp_path: Path) -> None:
    late = trail_key("late"), trail_object(records(range(200, 205)))
    trail.put(*late)
    trail.one_run(1)
    before = trail.s3.get_object(Bucket=trail.bucket, Key=digest_key(4))
    assert before["Metadata"]["signature"]
    Trail(trail.s3, trail.bucket).write(1, [late], day="2026-01-13")

    assert verified(trail, tmp_path, last_day="2026-01-12").log_files == 7


def test_a_bad_object_is_known_as_a_dead_letter(aws: World, tmp_path: Path) -> None:
    aws.put(trail_key("bad"), b"\x1f\x8bno gzip")
    aws.one_run(1)

    told = verified(aws, tmp_path)

    assert (told.objects, found(told)) == ({"dead_letter": 1}, [("dead_letter", trail_key("bad"))])
    assert told.complete


def test_a_folder_is_compared_without_signatures(tmp_path: Path) -> None:
    from pipeline.commands import load

    folder = tmp_path / "in"
    for key, body in LOGS:
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(body)
    output = str(tmp_path / "out")
    replay_from(load(output=output), folder)
    (folder / LOGS[0][0]).write_bytes(b"else")
    (folder / LOGS[1][0]).unlink()

    told = verify(Output(output), [Source("s", location=str(folder))])

    assert found(told) == [("altered", str(folder / LOGS[0][0])), ("gone", str(folder / LOGS[1][0]))]


def test_keys_are_asked_for_in_the_region_of_the_digests(make_world: Callable[..., World], tmp_path: Path) -> None:
    faulty = make_world(proxied=True)
    faulty.put_all(dict(LOGS))
    faulty.one_run(len(LOGS))
    Trail(faulty.s3, faulty.bucket).write(1, LOGS)
    answer = json.dumps(key_list()).encode()
    asked = faulty.proxy.when("ListPublicKeys").do(answering(200, answer, "application/x-amz-json-1.1"))

    told = verified(faulty, tmp_path, keys=None)

    assert (told.log_files, told.complete, asked.used) == (6, True, 1)
    (call,) = faulty.proxy.calls("ListPublicKeys")
    assert "/us-east-1/cloudtrail/" in call.headers["Authorization"]


def test_keys_that_may_not_be_asked_for_are_an_error_with_its_remedy(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    faulty = make_world(proxied=True)
    faulty.put_all(dict(LOGS))
    faulty.one_run(len(LOGS))
    Trail(faulty.s3, faulty.bucket).write(1, LOGS)
    refused = json.dumps({"__type": "AccessDeniedException", "message": "no"}).encode()
    faulty.proxy.when("ListPublicKeys").do(answering(400, refused, "application/x-amz-json-1.1"))

    with pytest.raises(
        AccessError, match=r"cloudtrail:ListPublicKeys on region us-east-1 was refused.*--public-keys"
    ):
        verified(faulty, tmp_path, keys=None)


def test_an_object_that_may_not_be_read_is_told_as_unreadable(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    faulty = make_world(proxied=True)
    faulty.put_all(dict(LOGS))
    faulty.one_run(len(LOGS))
    Trail(faulty.s3, faulty.bucket).write(1, LOGS)
    faulty.proxy.when("GetObject", key=LOGS[2][0]).do(denied())

    assert found(verified(faulty, tmp_path)) == [("unreadable", LOGS[2][0])]


def test_a_listing_that_is_denied_is_an_error(make_world: Callable[..., World], tmp_path: Path) -> None:
    faulty = make_world(proxied=True)
    faulty.put_all(dict(LOGS))
    faulty.one_run(len(LOGS))
    faulty.proxy.when("ListObjectsV2").do(s3_error(403, "AccessDenied", "Access Denied"))

    with pytest.raises(AccessError, match="s3:ListBucket"):
        verified(faulty, tmp_path)


@pytest.mark.parametrize("content", [b"no JSON", b"{}", b'{"PublicKeyList": [1]}'])
def test_a_file_of_no_keys_is_an_error_that_says_how_to_write_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "k").write_bytes(content)

    with pytest.raises(ConfigError, match="list-public-keys"):
        load_public_keys([tmp_path / "k"])


def test_the_command_prints_findings_and_has_exit_code_1(
    trail: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipeline.terminal.logs.set_up", lambda *, debug: None)
    arguments = ["--output", str(trail.output), "--source", f"s3://{trail.bucket}/AWSLogs/"]
    arguments += ["--public-keys", str(key_file(tmp_path))]

    def run(*more: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["trailweave", "verify", *arguments, *more])
        code = 0
        try:
            cli.main()
        except SystemExit as error:
            code = int(error.code or 0)
        return code, capsys.readouterr().out

    code, out = run()
    assert (code, out.splitlines()[-1]) == (0, "complete")
    trail.s3.delete_object(Bucket=trail.bucket, Key=LOGS[4][0])
    code, out = run()
    assert code == 1
    assert f"missing: s3://{trail.bucket}/{LOGS[4][0]}: a digest names it, and it is not there" in out
    code, out = run("--json")
    told = json.loads(out)
    assert (code, told["complete"], told["log_files_valid"]) == (1, False, 5)
    assert {it["kind"] for it in told["findings"]} == {"gone", "missing"}
