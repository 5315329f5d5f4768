"""The same graph unbounded on a portable engine: Prism, or Flink where a job server is given."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support import poisoned
from support.engines import (
    MESSAGES,
    VISIBILITY_S,
    group_of,
    has_begun,
    ids_of,
    ingesting,
    is_empty,
    objects,
    objects_replayed,
    wait_for,
)
from support.trails import records, s3_event, trail_key, trail_object
from support.world import World, assert_one_to_one

PRISM = Path(os.environ.get("TRAILWEAVE_PRISM", ".cache/bin/prism")).absolute()
FLINK_JAR = os.environ.get("FLINK_JOB_SERVER_JAR")

ENGINES = {
    "prism": (PRISM.exists(), f"no Prism at {PRISM}: `make portable-test` builds it, with Go"),
    "flink": (bool(FLINK_JAR), "no FLINK_JOB_SERVER_JAR"),
}
FLAGS = {
    "prism": ["--runner=PrismRunner", f"--prism_location={PRISM}", "--job_server_timeout=3600"],
    "flink": [
        *("--runner=FlinkRunner", f"--flink_job_server_jar={FLINK_JAR}", "--flink_master=[local]"),
        *("--environment_type=LOOPBACK", "--parallelism=2", "--checkpointing_interval=2000"),
    ],
}

pytestmark = [
    pytest.mark.portable,
    pytest.mark.timeout(900),
    pytest.mark.parametrize(
        "engine",
        [pytest.param(it, marks=pytest.mark.skipif(not here, reason=why)) for it, (here, why) in ENGINES.items()],
    ),
]

BACKLOG = int(os.environ.get("TRAILWEAVE_TESTS_BACKLOG", "100000"))


def test_thousands_of_messages_are_each_event_once_and_the_queue_is_empty(
    make_world: Callable[..., World], engine: str
) -> None:
    aws = make_world(visibility_timeout_s=VISIBILITY_S)
    bodies = objects(MESSAGES)
    aws.put_all(bodies)
    with ingesting(aws, FLAGS[engine]) as process:
        wait_for(lambda: is_empty(aws), process)
        process.terminate()
        assert process.wait(60) == 0
    assert_one_to_one(aws.output, ids_of(bodies))
    assert len(set(aws.outcomes())) == MESSAGES
    assert aws.redriven() == 0


@pytest.mark.parametrize("victim", ["worker", "engine"])
def test_what_is_killed_and_begun_again_loses_nothing(
    make_world: Callable[..., World], engine: str, victim: str
) -> None:
    aws = make_world(visibility_timeout_s=VISIBILITY_S)
    bodies = objects(MESSAGES // 5)
    aws.put_all(bodies)
    with ingesting(aws, FLAGS[engine]) as process:
        wait_for(lambda: has_begun(aws), process)
        targets = [process.pid] if victim == "worker" else group_of(process.pid)
        assert targets
        for target in targets:
            os.kill(target, signal.SIGKILL)
        process.wait(120)
        assert process.returncode == (-signal.SIGKILL if victim == "worker" else 1)
    if victim == "engine":
        assert "TW-ENGINE" in (aws.output.parent / "engine.log").read_text()
    # So that there is something to do, whatever was through before the end.
    late = {trail_key("late"): trail_object(records(range(1_000_000, 1_000_008)))}
    aws.put_all(late)
    with ingesting(aws, FLAGS[engine]) as process:
        wait_for(lambda: is_empty(aws), process)
        process.terminate()
        assert process.wait(60) == 0
    assert_one_to_one(aws.output, ids_of(bodies | late))
    assert aws.redriven() == 0


def test_a_replay_is_one_bounded_job_and_goes_on_where_it_was(aws: World, engine: str) -> None:
    bodies = objects(MESSAGES // 10)
    aws.put_all(bodies)
    told = [objects_replayed(aws, FLAGS[engine], timeout_s=300) for _ in range(2)]
    assert told == [len(bodies), 0]
    assert_one_to_one(aws.output, ids_of(bodies))


def test_an_engine_and_a_local_process_share_queue_and_output(make_world: Callable[..., World], engine: str) -> None:
    aws = make_world(visibility_timeout_s=VISIBILITY_S)
    bodies = objects(MESSAGES // 5)
    aws.put_all(bodies)
    with ingesting(aws, FLAGS[engine]) as process:
        aws.ingest(until_idle_s=5)
        wait_for(lambda: is_empty(aws), process)
        process.terminate()
        assert process.wait(60) == 0
    assert_one_to_one(aws.output, ids_of(bodies))


def test_an_object_that_kills_its_worker_ends_in_the_dead_letter_queue_alone(
    make_world: Callable[..., World], engine: str
) -> None:
    """The job is begun again each time, as a supervisor does, and sooner than what it had comes back."""
    aws = make_world(visibility_timeout_s=8 if engine == "prism" else 40, max_receives=6)
    bodies = objects(24)
    aws.put_all(bodies)
    poison = list(bodies)[11]
    ends = 0
    while not is_empty(aws):
        environment = {poisoned.KEY: poison, "PYTHONPATH": str(Path(__file__).parents[1])}
        with ingesting(aws, FLAGS[engine], module="support.poisoned", **environment) as process:
            while process.poll() is None and not is_empty(aws):
                time.sleep(0.2)
            ends += process.poll() is not None
            assert ends <= 12
    done = {key for key, outcome in aws.outcomes() if outcome == "done"}
    assert ends >= 3
    assert done == set(bodies) - {poison}
    assert aws.redriven() == 1
    assert_one_to_one(aws.output, ids_of({key: bodies[key] for key in done}))


@pytest.mark.soak
@pytest.mark.timeout(3_000)
def test_a_backlog_of_a_hundred_thousand_messages_drains_and_no_healthy_one_is_given_up(
    make_world: Callable[..., World], engine: str
) -> None:
    """Each message names one of 2,000 objects. Prints what it cost."""
    aws = make_world(visibility_timeout_s=VISIBILITY_S)
    bodies = objects(2_000)
    aws.put_all(bodies)
    keys = list(bodies)
    for start in range(0, BACKLOG, 1_000):
        aws.send(*(s3_event(aws.bucket, keys[n % len(keys)]) for n in range(start, min(start + 1_000, BACKLOG))))
    begun, before, most = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN), 0
    with ingesting(aws, FLAGS[engine]) as process:
        while not is_empty(aws):
            most = max(most, resident_of(process.pid))
            assert process.poll() is None
            time.sleep(1)
        process.terminate()
        assert process.wait(60) == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"{engine}: {BACKLOG + 2_000:,} messages in {time.monotonic() - begun:,.0f} s, {cpu_s:,.0f} CPU seconds,"
        f" at most {most / 1e6:,.0f} MB in job and engine together"
    )
    assert_one_to_one(aws.output, ids_of(bodies))
    assert aws.redriven() == 0


def resident_of(leader: int) -> int:
    """Bytes of memory that a process and its group hold."""
    pages = 0
    for pid in (leader, *group_of(leader)):
        with suppress(OSError):
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
