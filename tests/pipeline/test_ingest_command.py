"""`python -m pipeline ingest` as a process: signals, exit codes, and what it prints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.credentials import assume, role, use, user
from support.fault_proxy import delayed, denied
from support.trails import event_ids, records, trail_key, trail_object
from support.world import World, assert_one_to_one

from pipeline.sql import query

OBJECTS = {trail_key(f"o{n}"): trail_object(records(range(n * 10, n * 10 + 10))) for n in range(12)}
IDS = [it for body in OBJECTS.values() for it in event_ids(body)]
SUMMARY_KEYS = {"objects", "records", "written", "duplicates", "dead_letters", "deferred", "seconds", "counters"}

# Google's library, where it is installed, asks for a companion that nothing here needs.
WARNINGS = "error,ignore:Please install grpcio-status:ImportWarning"


def environment(aws: World) -> dict[str, str]:
    return aws.emulator.environment(os.environ) | {"AWS_ENDPOINT_URL": aws.endpoint_url, "PYTHONWARNINGS": WARNINGS}


@contextmanager
def ingesting(aws: World, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "pipeline", "ingest", "--queue-url", aws.queue_url, "--output", str(aws.output)]
    process = subprocess.Popen(
        [*command, "--max-wait", "0.3", "--json", *options],
        env=environment(aws),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], object], timeout_s: float = 60) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.05)


def test_until_idle_it_ingests_everything_and_prints_a_summary(aws: World) -> None:
    aws.put_all(OBJECTS)

    with ingesting(aws, "--until-idle", "1") as process:
        out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    told = json.loads(out)
    assert set(told) == SUMMARY_KEYS
    assert (told["objects"], told["records"], told["written"], told["dead_letters"]) == (12, 120, 120, 0)
    assert told["counters"]["messages_deleted"] == 12
    assert_one_to_one(aws.output, IDS)


def test_with_compact_it_merges_what_was_quiet(aws: World) -> None:
    for name in ("one", "two"):
        aws.put(trail_key(name), trail_object(records(range(10) if name == "one" else range(5, 20))))
        aws.ingest()
    for path in aws.output.rglob("*.parquet"):
        os.utime(path, (time.time() - 172_800,) * 2)

    with ingesting(aws, "--until-idle", "1", "--compact") as process:
        _, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    assert len([*aws.output.glob("aws_s3_raw/*/*/00000001-00000002.parquet")]) == 1
    assert len([*aws.output.glob("cloud_audit_logs/*/*/00000001-00000002.parquet")]) == 1


def test_with_stitch_it_records_stories_as_it_goes(aws: World) -> None:
    aws.put(trail_key("sessions"), trail_object([assume("issue", 100, user()), use("use", 130, role(100))]))
    with ingesting(aws, "--until-idle", "1", "--stitch") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    with query.connect(aws.plan().output) as connection:
        told = query.run(
            connection,
            """SELECT count(*), count(recorded_stories.session_id)
               FROM sessions LEFT JOIN recorded_stories USING (session_id)""",
        ).read_all()
    sessions, recorded = (it[0].as_py() for it in told.columns)
    assert sessions == recorded == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_run_in_work_and_exits_0(faulty: World, number: signal.Signals) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject").do(delayed(1.5))

    with ingesting(faulty) as process:
        wait_for(lambda: faulty.proxy.calls("GetObject"))
        process.send_signal(number)
        out, err = process.communicate(timeout=60)

    assert process.returncode == 0, err
    told = json.loads(out)
    assert told["counters"]["messages_received"] == told["counters"]["messages_deleted"] > 0
    assert told["deferred"] == 0
    assert sum(faulty.waiting()) == 12 - told["counters"]["messages_deleted"]


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Its worker processes: those that were begun to run Python's `spawn_main`."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(it) for it in children if b"spawn_main" in Path(f"/proc/{it}/cmdline").read_bytes()]


def test_several_workers_share_the_queue_and_give_one_summary(aws: World) -> None:
    aws.put_all(OBJECTS)

    with ingesting(aws, "--until-idle", "2", "--workers", "2") as process:
        out, err = process.communicate(timeout=90)

    assert process.returncode == 0, err
    told = json.loads(out)
    assert (told["objects"], told["records"], told["written"]) == (12, 120, 120)
    assert_one_to_one(aws.output, IDS)
    assert aws.waiting() == (0, 0)


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(make_world: Callable[..., World]) -> None:
    faulty = make_world(proxied=True, visibility_timeout_s=5)
    faulty.put_all(OBJECTS)
    rule = faulty.proxy.when("GetObject").do(delayed(30))

    with ingesting(faulty, "--until-idle", "8", "--workers", "2") as process:
        wait_for(lambda: faulty.proxy.calls("GetObject"))
        before = workers_of(process)
        os.kill(before[0], signal.SIGKILL)
        os.kill(before[1], signal.SIGKILL)
        rule.stop()
        wait_for(lambda: len(set(workers_of(process)) - set(before)) == 2)
        _, err = process.communicate(timeout=120)

    assert process.returncode == 0, err
    assert err.count("worker_died") == 2
    assert_one_to_one(faulty.output, IDS)
    assert faulty.waiting() == (0, 0)


def test_a_signal_to_the_parent_lets_its_workers_finish(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject").do(delayed(1.5))

    with ingesting(faulty, "--workers", "2") as process:
        wait_for(lambda: faulty.proxy.calls("GetObject"))
        process.terminate()
        out, err = process.communicate(timeout=90)

    assert process.returncode == 0, err
    told = json.loads(out)
    assert told["counters"]["messages_received"] == told["counters"]["messages_deleted"] > 0
    assert sum(faulty.waiting()) == 12 - told["counters"]["messages_deleted"]


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_workers_end_with_their_parent(aws: World) -> None:
    with ingesting(aws, "--workers", "2") as process:
        wait_for(lambda: len(workers_of(process)) == 2)
        workers = workers_of(process)
        process.kill()
        process.communicate(timeout=10)
        wait_for(lambda: not any(map(is_there, workers)))
    assert not any(map(is_there, workers))


def test_a_denial_in_a_worker_is_the_errors_of_all(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject").do(denied())

    with ingesting(faulty, "--until-idle", "1", "--workers", "2") as process:
        _, err = process.communicate(timeout=90)

    assert process.returncode == 3
    assert "every object of source default was denied" in err.splitlines()[-1]


def test_a_signal_while_idle_ends_it_within_a_long_poll(aws: World) -> None:
    with ingesting(aws) as process:
        wait_for(lambda: (aws.output / ".trailweave" / "settings.json").exists())
        time.sleep(1.5)
        begun = time.monotonic()
        process.terminate()
        process.communicate(timeout=60)

    assert process.returncode == 0
    assert time.monotonic() - begun < 10


def test_a_second_signal_exits_at_once_and_loses_nothing(make_world: Callable[..., World]) -> None:
    faulty = make_world(proxied=True, visibility_timeout_s=10)
    faulty.put_all(OBJECTS)
    rule = faulty.proxy.when("GetObject").do(delayed(30))

    with ingesting(faulty) as process:
        wait_for(lambda: faulty.proxy.calls("GetObject"))
        process.terminate()
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGTERM
    assert not faulty.proxy.calls("DeleteMessageBatch")

    rule.stop()
    with ingesting(faulty, "--until-idle", "11") as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert_one_to_one(faulty.output, IDS)
    assert faulty.waiting() == (0, 0)


def test_when_everything_is_denied_it_exits_3_and_says_why(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject").do(denied())

    with ingesting(faulty, "--until-idle", "1") as process:
        out, err = process.communicate(timeout=60)

    assert process.returncode == 3
    assert out == ""
    last = err.strip().splitlines()[-1]
    assert last.startswith("trailweave: TW-ACCESS: every object of source default was denied")
    lines = [json.loads(it) for it in err.splitlines() if it.startswith("{")]
    deferred = [it["text"] for it in lines if it["event"] == "object_deferred"]
    assert all("s3:GetObject on arn:aws:s3:::" in it and "arn:aws:iam::" in it for it in deferred)
    assert deferred


def test_its_log_is_one_json_object_a_line_without_a_secret(faulty: World, tmp_path: Path) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject", key="*_o1.*").do(denied())

    with ingesting(faulty, "--until-idle", "1") as process:
        out, err = process.communicate(timeout=60)

    assert process.returncode == 0
    for line in err.splitlines():
        assert set(json.loads(line)) >= {"timestamp", "level", "event", "logger", "text"}
    assert "R100" not in err
    assert "emulated" not in out + err


def test_a_queue_that_does_not_exist_is_told_with_exit_code_3(aws: World) -> None:
    aws.queue_url += "-not"

    with ingesting(aws, "--until-idle", "1") as process:
        _, err = process.communicate(timeout=60)

    assert process.returncode == 3
    assert err.splitlines()[-1] == (
        f"trailweave: TW-ACCESS: sqs:GetQueueAttributes on queue 111122223333/{aws.bucket}-not was refused to"
        " arn:aws:iam::111122223333:root (AWS.SimpleQueueService.NonExistentQueue);"
        " there is no such queue: check its URL, the region, and AWS_ENDPOINT_URL"
    )
    assert "Traceback" not in err
