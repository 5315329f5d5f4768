"""The same graph on a Flink cluster of two task managers, with external workers, where a distribution is given."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
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
from support.flink import Cluster, flink_cluster
from support.trails import records, trail_key, trail_object
from support.world import World, assert_one_to_one

JAR = os.environ.get("FLINK_JOB_SERVER_JAR")
HOME = os.environ.get("FLINK_HOME")
# Flink gives each to a task by a hash: with so many, both task managers have some, but for one run in 32,768.
POLLERS = 16

pytestmark = [
    pytest.mark.portable,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (JAR and HOME), reason="no FLINK_JOB_SERVER_JAR and FLINK_HOME, a Flink distribution"),
]


@pytest.fixture
def aws(make_world: Callable[..., World]) -> World:
    return make_world(visibility_timeout_s=VISIBILITY_S)


@pytest.fixture
def cluster(aws: World, tmp_path: Path) -> Iterator[Cluster]:
    with flink_cluster(Path(str(HOME)), tmp_path / "cluster", aws.emulator.environment(os.environ)) as running:
        yield running
        print(running.logs())


def flags(cluster: Cluster) -> list[str]:
    return [f"--flink_job_server_jar={JAR}", *cluster.flags]


def test_thousands_of_messages_are_each_event_once_by_both_task_managers_and_sigterm_ends_the_job(
    aws: World, cluster: Cluster
) -> None:
    bodies = objects(MESSAGES)
    aws.put_all(bodies)
    with ingesting(aws, flags(cluster), pollers=POLLERS) as process:
        wait_for(lambda: is_empty(aws), process)
        wait_for(lambda: cluster.worked() == {"task-manager-1", "task-manager-2"}, process, 60)
        assert len(cluster.jobs("RUNNING")) == 1
        process.terminate()
        assert process.wait(120) == 0
    assert cluster.jobs("RUNNING") == []
    assert_one_to_one(aws.output, ids_of(bodies))
    assert len(set(aws.outcomes())) == MESSAGES
    assert aws.redriven() == 0


@pytest.mark.parametrize("victim", ["task-manager-1", "worker-pool"])
def test_the_job_survives_the_kill_of_what_works_for_it(aws: World, cluster: Cluster, victim: str) -> None:
    """The other task manager has slots for all; a killed pool is begun again, as a container is."""
    bodies = objects(MESSAGES // 2)
    aws.put_all(bodies)
    with ingesting(aws, flags(cluster), pollers=POLLERS) as process:
        wait_for(lambda: has_begun(aws), process)
        cluster.kill(victim)
        assert not is_empty(aws), "the kill came too late to interrupt anything: more messages are needed"
        if victim == "worker-pool":
            cluster.begin_pool()
        # So that the job that goes on has work, whatever was through before.
        late = {
            trail_key(f"late{n}"): trail_object(records(range(n * 8, n * 8 + 8))) for n in range(200_000, 200_050)
        }
        aws.put_all(late)
        wait_for(lambda: is_empty(aws), process)
        (job,) = cluster.jobs("RUNNING")
        wait_for(lambda: cluster.restarts(job) > 0, process, 60)
        process.terminate()
        assert process.wait(120) == 0
    assert_one_to_one(aws.output, ids_of(bodies | late))
    assert aws.redriven() == 0


def test_the_job_goes_on_without_the_command_and_its_job_server(aws: World, cluster: Cluster) -> None:
    bodies = objects(MESSAGES // 5)
    aws.put_all(bodies)
    with ingesting(aws, flags(cluster), pollers=POLLERS) as process:
        wait_for(lambda: has_begun(aws), process)
        for target in group_of(process.pid):
            os.kill(target, signal.SIGKILL)
        assert process.wait(120) == 1
    (job,) = cluster.jobs("RUNNING")
    told = (aws.output.parent / "engine.log").read_text()
    assert "TW-ENGINE" in told
    assert "may run on" in told
    wait_for(lambda: is_empty(aws), None)
    assert cluster.jobs("RUNNING") == [job]
    assert_one_to_one(aws.output, ids_of(bodies))


def test_a_replay_on_a_cluster_is_one_bounded_job_and_goes_on_where_it_was(aws: World, cluster: Cluster) -> None:
    bodies = objects(MESSAGES // 10)
    aws.put_all(bodies)
    told = [objects_replayed(aws, flags(cluster), timeout_s=400) for _ in range(2)]
    assert told == [len(bodies), 0]
    assert_one_to_one(aws.output, ids_of(bodies))


def test_an_object_that_kills_its_worker_ends_in_the_dead_letter_queue_alone(
    make_world: Callable[..., World], tmp_path: Path
) -> None:
    """The cluster begins the job again each time; the pool and the command live on."""
    aws = make_world(visibility_timeout_s=40, max_receives=6)
    bodies = objects(24)
    aws.put_all(bodies)
    poison = list(bodies)[11]
    environment = poisoned.environment(aws.emulator.environment(os.environ), poison, tmp_path)
    with flink_cluster(Path(str(HOME)), tmp_path / "cluster", environment) as cluster:
        with ingesting(aws, flags(cluster)) as process:
            wait_for(lambda: is_empty(aws), process, 780)
            (job,) = cluster.jobs("RUNNING", "RESTARTING")
            wait_for(lambda: cluster.restarts(job) >= 3, process, 60)
            process.terminate()
            assert process.wait(120) == 0
        print(cluster.logs())
    done = {key for key, outcome in aws.outcomes() if outcome == "done"}
    assert done == set(bodies) - {poison}
    assert aws.redriven() == 1
    assert_one_to_one(aws.output, ids_of({key: bodies[key] for key in done}))
