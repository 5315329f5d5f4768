"""The command on a portable engine, and the messages that it works on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.trails import event_ids, records, trail_key, trail_object
from support.world import World

MESSAGES = int(os.environ.get("TRAILWEAVE_TESTS_MESSAGES", "3000"))
VISIBILITY_S = 30


def objects(count: int) -> dict[str, bytes]:
    """Each object shares half of its records with the next."""
    return {trail_key(f"o{n:06}"): trail_object(records(range(n * 4, n * 4 + 8))) for n in range(count)}


def ids_of(bodies: dict[str, bytes]) -> set[str]:
    return {it for body in bodies.values() for it in event_ids(body)}


def objects_replayed(aws: World, flags: Sequence[str], *, timeout_s: float) -> int:
    """Replay the bucket by the engine, as one bounded job: how many objects it read."""
    command = [sys.executable, "-m", "pipeline", "replay", "--source", f"s3://{aws.bucket}/", "--json"]
    done = subprocess.run(
        [*command, "--output", str(aws.output), *flags],
        env=aws.emulator.environment(os.environ) | {"PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return int(json.loads(done.stdout.splitlines()[-1])["objects"])


@contextmanager
def ingesting(
    aws: World, flags: Sequence[str], *, pollers: int = 2, module: str = "pipeline", **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """The command that submits the job and, as LOOPBACK, is its worker; engine or job server are its child."""
    command = [sys.executable, "-m", module, "ingest", "--queue-url", aws.queue_url, "--output", str(aws.output)]
    log = (aws.output.parent / "engine.log").open("a+")
    process = subprocess.Popen(
        [*command, "--max-wait", "1", "--pollers", str(pollers), *flags],
        env=aws.emulator.environment(os.environ) | {"PYTHONWARNINGS": "default"} | environment,
        stdout=log,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None or group_of(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.seek(0)
        print(log.read()[-8_000:])
        log.close()


def group_of(leader: int) -> list[int]:
    """The processes of a group but for its leader."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, group = int(stat.parent.name), int(stat.read_text().rpartition(")")[2].split()[2])
        except (OSError, ValueError):
            continue
        if group == leader and name != leader:
            found.append(name)
    return found


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str] | None, timeout_s: float = 600) -> None:
    """Until the condition holds, while the process, if one is given, runs."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert process is None or process.poll() is None, f"the job ended with {process.returncode}"
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.2)


def is_empty(aws: World) -> bool:
    return aws.waiting() == (0, 0)


def has_begun(aws: World) -> bool:
    return any(aws.output.glob("ingest_log/**/*.parquet"))
