"""Law 7: memory is bounded by the slice; thousands of quiet accounts are one batch and few files."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from pathlib import Path

import pytest
from support.replaying import replay_in_a_child
from support.trails import record, s3_event, trail_key, trail_object
from support.world import World, assert_one_to_one

from pipeline.demo.emulator import upload

BOUND_MB = 900


@pytest.mark.parametrize("count", [300, pytest.param(5000, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
def test_quiet_accounts_are_one_micro_batch(aws: World, count: int) -> None:
    accounts = [f"{100_000_000_000 + n}" for n in range(count)]
    objects = {
        trail_key("quiet", account=account): trail_object([record(n, account=account)])
        for n, account in enumerate(accounts)
    }
    silent = f"{aws.bucket}-silent"
    aws.s3.create_bucket(Bucket=silent)
    upload(aws.s3, silent, objects.items(), workers=16)
    keys = [*objects]
    aws.send(*(s3_event(silent, *keys[start : start + 50]) for start in range(0, count, 50)))

    counts = aws.one_run(count // 50)

    assert counts["messages_deleted"] == count // 50
    assert counts["events_written"] == counts["commits"] == count
    assert_one_to_one(aws.output, [f"{account}-2026-01-12-{n:08}" for n, account in enumerate(accounts)])
    assert len(list(aws.output.glob("ingest_log/**/*.parquet"))) < 5


def write_large(path: Path, text_bytes: int) -> int:
    """One gzip object of so much JSON, written as it is made: how many records."""
    rng = random.Random(7)
    count = 0
    pad = [rng.randbytes(400).hex() for _ in range(997)]
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    compressor = zlib.compressobj(1, wbits=31)
    with path.open("wb") as file:
        file.write(compressor.compress(b'{"Records":['))
        while written < text_bytes:
            number = f"{rng.getrandbits(128):032x}"
            made = record(count, eventID=number, requestParameters={"seed": number, "pad": pad[count % 997]})
            text = (b"," if count else b"") + json.dumps(made).encode()
            file.write(compressor.compress(text))
            written += len(text)
            count += 1
        file.write(compressor.compress(b"]}"))
        file.write(compressor.flush())
    return count


def test_an_object_larger_than_a_slice_passes_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "in" / trail_key("large")
    count = write_large(path, 80_000_000)

    summary, peak_mb = replay_in_a_child(tmp_path / "in", tmp_path / "out")

    assert (summary["records"], summary["written"], summary["dead_letters"]) == (count, count, 0)
    assert peak_mb < BOUND_MB


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_gigabyte_of_json_in_one_object_passes_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "in" / trail_key("huge")
    count = write_large(path, 1_000_000_000)
    assert path.stat().st_size > 80_000_000

    summary, peak_mb = replay_in_a_child(tmp_path / "in", tmp_path / "out")

    assert (summary["records"], summary["written"], summary["dead_letters"]) == (count, count, 0)
    assert peak_mb < BOUND_MB


def test_an_object_that_grows_beyond_its_cap_is_a_dead_letter(aws: World) -> None:
    bomb = gzip.compress(b'{"Records":[' + b" " * 400_000_000 + b"]}", 9)
    good = trail_key("good")
    aws.put_all({trail_key("bomb"): bomb, good: trail_object([record(1)])})

    counts = aws.one_run(2)

    assert counts["messages_deleted"] == 2
    assert counts["events_written"] == 1
    (letter,) = aws.letters()
    assert "more than 300 times" in letter["reason"]
