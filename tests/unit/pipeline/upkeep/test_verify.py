"""Objects of a trail that are missing, altered, unreadable or not ingested."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.digests import Trail, digest_key, key_file, key_list
from support.fault_proxy import answering, denied, s3_error
from support.replaying import replay_from
from support.trails import record, records, trail_key, trail_object
from support.verified import LOGS, found, verified
from support.world import World

from pipeline.upkeep.verify import verify
from schemas.errors import AccessError, ConfigError
from transforms.stores.files import Output
from transforms.stores.sources import Source
from transforms.stores.trail_digests import load_public_keys


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


def test_an_object_that_no_digest_names_is_worth_a_note(trail: World, tmp_path: Path) -> None:
    cloudtrail = Trail(trail.s3, trail.bucket, before={})
    cloudtrail.write(1, [], day="2026-01-10")
    forged = trail_key("forged", day="2026-01-11")
    trail.put(forged, trail_object([record(1, day="2026-01-11")]))
    trail.one_run(1)

    assert ("unsigned", forged) in found(verified(trail, tmp_path))


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


def test_keys_are_asked_for_in_the_region_of_the_digests(signed: World, tmp_path: Path) -> None:
    answer = json.dumps(key_list()).encode()
    asked = signed.proxy.when("ListPublicKeys").do(answering(200, answer, "application/x-amz-json-1.1"))

    told = verified(signed, tmp_path, keys=None)

    assert (told.log_files, told.complete, asked.used) == (6, True, 1)
    (call,) = signed.proxy.calls("ListPublicKeys")
    assert "/us-east-1/cloudtrail/" in call.headers["Authorization"]


def test_keys_that_may_not_be_asked_for_are_an_error_with_its_remedy(signed: World, tmp_path: Path) -> None:
    refused = json.dumps({"__type": "AccessDeniedException", "message": "no"}).encode()
    signed.proxy.when("ListPublicKeys").do(answering(400, refused, "application/x-amz-json-1.1"))

    with pytest.raises(
        AccessError, match=r"cloudtrail:ListPublicKeys on region us-east-1 was refused.*--public-keys"
    ):
        verified(signed, tmp_path, keys=None)


def test_an_object_that_may_not_be_read_is_told_as_unreadable(signed: World, tmp_path: Path) -> None:
    signed.proxy.when("GetObject", key=LOGS[2][0]).do(denied())

    assert found(verified(signed, tmp_path)) == [("unreadable", LOGS[2][0])]


def test_a_listing_that_is_denied_is_an_error(faulty: World, tmp_path: Path) -> None:
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
    trail: World, tmp_path: Path, command_line: Callable[..., tuple[int, str, str]]
) -> None:
    arguments = ["verify", "--output", str(trail.output), "--source", f"s3://{trail.bucket}/AWSLogs/"]
    run = partial(command_line, *arguments, "--public-keys", str(key_file(tmp_path)))

    code, out, _ = run()
    assert (code, out.splitlines()[-1]) == (0, "complete")
    trail.s3.delete_object(Bucket=trail.bucket, Key=LOGS[4][0])
    code, out, _ = run()
    assert code == 1
    assert f"missing: s3://{trail.bucket}/{LOGS[4][0]}: a digest names it, and it is not there" in out
    code, out, _ = run("--json")
    told = json.loads(out)
    assert (code, told["complete"], told["log_files_valid"]) == (1, False, 5)
    assert {it["kind"] for it in told["findings"]} == {"gone", "missing"}
