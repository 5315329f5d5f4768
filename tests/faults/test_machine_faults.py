"""Faults of the machine itself: a disk that is full or read-only, and a clock that jumps."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.proxy import Call, Forward, Reply
from support.trails import event_ids, records, trail_key, trail_object
from support.world import World, assert_one_to_one

from pipeline.ingestion.ingest import Turn, ingest_until_stopped
from schemas.errors import OutputError
from transforms.receive_messages import Limits

pytestmark = pytest.mark.usefixtures("impatient")

OBJECTS = {trail_key(f"o{n}"): trail_object(records(range(n * 20, n * 20 + 20))) for n in range(8)}
IDS = [it for body in OBJECTS.values() for it in event_ids(body)]
QUICK = Limits(messages=4, wait_s=0.3, idle_s=0.5)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_cannot_be_written_for_a_while_loses_nothing(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It begins in the middle. Meanwhile nothing is received, or the messages would be used up by and by."""
    aws = make_world(max_receives=3)
    aws.put_all(OBJECTS)
    sync = os.fsync
    bad = threading.Event()

    def fsync(handle: int) -> None:
        if bad.is_set():
            raise OSError(number, os.strerror(number))
        sync(handle)

    failures = []

    def turned(turn: Turn) -> None:
        failures.append(turn.failures)
        if turn.failures >= 7:
            bad.clear()

    monkeypatch.setattr(os, "fsync", fsync)
    plan = aws.plan(visibility_s=2)
    summary = ingest_until_stopped(
        plan, QUICK, until_idle_s=3, quiet=True, on_run=lambda _: _begin_once(bad, failures), on_turn=turned
    )

    assert max(failures) == 7
    assert summary.counts["events_written"] + summary.counts["events_duplicate"] >= len(IDS)
    assert_one_to_one(aws.output, IDS)
    assert (sum(aws.waiting()), aws.redriven()) == (0, 0)
    assert not [it for it in aws.output.rglob(".*") if it.name != ".trailweave"]


def _begin_once(bad: threading.Event, failures: list[int]) -> None:
    if not any(failures):
        bad.set()


def test_a_disk_that_stays_full_ends_the_command_with_a_code_that_a_supervisor_tries_again(
    aws: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.put_all(OBJECTS)
    plan = aws.plan()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)

    with pytest.raises(OutputError, match=r"aws_s3_raw/.* cannot be written: No space left on device") as told:
        ingest_until_stopped(plan, QUICK, until_idle_s=3, quiet=True)

    assert told.value.exit_code == 3
    assert sum(aws.waiting()) == len(OBJECTS)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, all but full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a file system is not allowed here")
    (folder / "ballast").write_bytes(bytes(100 << 10))
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("remedy", ["size=64m", "rw"], ids=["full", "read-only"])
def test_a_real_disk_that_is_full_or_read_only_is_told_and_nothing_is_lost(
    make_world: Callable[..., World], small_disk: Path, remedy: str
) -> None:
    aws = make_world()
    many = {trail_key(f"m{n}"): trail_object(records(range(n * 500, n * 500 + 500))) for n in range(6)}
    aws.put_all(many)
    aws.output = small_disk / "out"
    if remedy == "rw":
        subprocess.run(["mount", "-o", "remount,size=64m,ro", small_disk], check=True)
    environment = aws.emulator.environment(os.environ)
    command = [sys.executable, "-m", "pipeline", "ingest", "--queue-url", aws.queue_url, "--output", str(aws.output)]
    command += ["--max-wait", "0.3", "--quiet", "--until-idle"]

    def ingest(idle_s: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, idle_s], env=environment, capture_output=True, text=True, check=False)

    told = ingest("1")
    assert (told.returncode, "cannot be written: " in told.stderr) == (3, True), told.stderr
    assert "Traceback" not in told.stderr
    assert sum(aws.waiting()) == len(many)

    subprocess.run(["mount", "-o", f"remount,{remedy}", small_disk], check=True)
    # What was in hand would come back by itself, later.
    aws.sqs.purge_queue(QueueUrl=aws.queue_url)
    aws.put_all(many)
    healed = ingest("1")
    assert healed.returncode == 0, healed.stderr
    assert_one_to_one(aws.output, [it for body in many.values() for it in event_ids(body)])
    assert sum(aws.waiting()) == 0


@pytest.mark.parametrize("jump_s", [3600.0, -3600.0], ids=["forward", "back"])
def test_a_clock_that_jumps_while_messages_are_in_hand_loses_and_doubles_nothing(
    make_world: Callable[..., World], monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    """Forward, everything in hand seems to have expired; back, nothing ever will, though the queue gives it again."""
    faulty = make_world(proxied=True, max_receives=1000)
    faulty.put_all(OBJECTS)
    clock, jumped = time.time, [0.0]

    def jump(call: Call, forward: Forward) -> Reply:
        jumped[0] += jump_s
        time.sleep(2.5)
        return forward(call)

    monkeypatch.setattr(time, "time", lambda: clock() + jumped[0])
    hit = faulty.proxy.when("GetObject").do(jump).after(3).times(1)

    faulty.ingest(visibility_s=2, until_idle_s=4, limits=QUICK)

    assert hit.used == 1
    assert_one_to_one(faulty.output, IDS)
    assert (sum(faulty.waiting()), faulty.redriven()) == (0, 0)
    outcomes: dict[str, Any] = dict(faulty.outcomes())
    assert set(outcomes.values()) == {"done"}
