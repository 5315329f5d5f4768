"""A Flink cluster of processes on this machine: a job manager, task managers, the worker pool of their workers."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SLOTS = 2
_OURS = (20_000, 32_000)
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_OPENED = ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util", "util.concurrent")
_OPTIONS = [
    "-Xmx512m",
    *(f"--add-opens=java.base/java.{it}=ALL-UNNAMED" for it in _OPENED),
    *(f"--add-opens=java.base/java.util.concurrent.{it}=ALL-UNNAMED" for it in ("atomic", "locks")),
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
]
# What Flink's scripts compute from the size of a process, and the times in which a lost task manager is noticed.
_CONFIGURATION = f"""
jobmanager.rpc.address: localhost
jobmanager.memory.process.size: 1g
taskmanager.host: localhost
taskmanager.numberOfTaskSlots: {SLOTS}
taskmanager.cpu.cores: 1
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.task.heap.size: 256m
taskmanager.memory.framework.off-heap.size: 64m
taskmanager.memory.task.off-heap.size: 0
taskmanager.memory.managed.size: 64m
taskmanager.memory.network.min: 64m
taskmanager.memory.network.max: 64m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 64m
taskmanager.memory.jvm-overhead.max: 64m
taskmanager.load-balance.mode: SLOTS
metrics.fetcher.update-interval: 1000
heartbeat.interval: 2000
heartbeat.timeout: 15000
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: 100
restart-strategy.fixed-delay.delay: 2 s
"""
_LOGGING = """
rootLogger.level = INFO
rootLogger.appenderRef.console.ref = Console
appender.console.name = Console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss,SSS} %-5p %c{1} - %m%n
"""


@dataclass
class Cluster:
    """What runs, by name: `job-manager`, `task-manager-N` and `worker-pool`, each with a log in `folder`."""

    home: Path
    folder: Path
    environment: Mapping[str, str]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rest, self._rpc, self._pool = free_ports(3)
        self.folder.mkdir()
        (self.folder / "log4j.properties").write_text(_LOGGING)
        places = f"""
            rest.port: {self.rest}
            jobmanager.rpc.port: {self._rpc}
            io.tmp.dirs: {self.folder}
            state.checkpoints.dir: {self.folder.as_uri()}/checkpoints
        """
        lines = [it.strip() for it in (_CONFIGURATION + places).splitlines() if it.strip()]
        (self.folder / "config.yaml").write_text("\n".join(lines) + "\n")

    @property
    def flags(self) -> list[str]:
        """Beam's flags of a job for this cluster."""
        return [
            *("--runner=FlinkRunner", f"--flink_master=localhost:{self.rest}", "--parallelism=2"),
            *("--environment_type=EXTERNAL", f"--environment_config=localhost:{self._pool}"),
            "--checkpointing_interval=2000",
        ]

    def begin_job_manager(self) -> None:
        self._begin("job-manager", [*self._java(), _JOB_MANAGER, "--configDir", str(self.folder)])

    def begin_task_manager(self, number: int) -> None:
        self._begin(
            f"task-manager-{number}",
            [
                *(*self._java(), _TASK_MANAGER, "--configDir", str(self.folder)),
                *("-D", f"taskmanager.resource-id=task-manager-{number}"),
            ],
        )

    def begin_pool(self) -> None:
        """Its workers are found by the first `python` on PATH."""
        module = "apache_beam.runners.worker.worker_pool_main"
        self._begin("worker-pool", [sys.executable, "-m", module, f"--service_port={self._pool}"])

    def kill(self, name: str) -> None:
        """kill -9 of what runs under a name, and of its own children, as a container ends."""
        process = self.running.pop(name)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def ask(self, path: str, method: str = "GET") -> Any:
        """What the job manager's REST API answers."""
        request = urllib.request.Request(f"http://localhost:{self.rest}{path}", method=method)
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or "null")

    def task_managers(self) -> set[str]:
        """Those that the job manager knows."""
        try:
            return {it["id"] for it in self.ask("/taskmanagers")["taskmanagers"]}
        except OSError:
            return set()

    def jobs(self, *states: str) -> list[str]:
        return [it["id"] for it in self.ask("/jobs")["jobs"] if it["status"] in states]

    def worked(self) -> set[str]:
        """Task managers that were given elements of the last stage of a job, which receives and keeps."""
        found = set()
        for job in self.jobs("RUNNING"):
            stage = self.ask(f"/jobs/{job}")["vertices"][-1]["id"]
            subtasks = self.ask(f"/jobs/{job}/vertices/{stage}")["subtasks"]
            found |= {it["taskmanager-id"] for it in subtasks if it["metrics"]["read-records"]}
        return found

    def restarts(self, job: str) -> int:
        """How often a job was begun again, as far as the job manager has gathered it."""
        return sum(int(it["value"]) for it in self.ask(f"/jobs/{job}/metrics?get=numRestarts"))

    def wait_for_task_managers(self, names: set[str], timeout_s: float = 90) -> None:
        until = time.monotonic() + timeout_s
        while self.task_managers() != names:
            assert all(it.poll() is None for it in self.running.values()), self.logs()
            assert time.monotonic() < until, self.logs()
            time.sleep(0.2)

    def logs(self) -> str:
        """The end of what each process said."""
        return "\n".join(
            f"--- {it.name}\n{it.read_text(errors='replace')[-4_000:]}" for it in self.folder.glob("*.log")
        )

    def _java(self) -> list[str]:
        logging = f"-Dlog4j.configurationFile={(self.folder / 'log4j.properties').as_uri()}"
        return ["java", *_OPTIONS, logging, "-cp", f"{self.home}/lib/*"]

    def _begin(self, name: str, command: list[str]) -> None:
        with (self.folder / f"{name}.log").open("a") as log:
            self.running[name] = subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )


@contextmanager
def flink_cluster(home: Path, folder: Path, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """Two task managers with `SLOTS` slots each, ready for jobs; all that was begun has ended afterwards.

    Workers and pool have `environment`, in which this interpreter's folder comes first on PATH.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    cluster = Cluster(home, folder, {**environment, "PATH": path})
    try:
        cluster.begin_job_manager()
        cluster.begin_task_manager(1)
        cluster.begin_task_manager(2)
        cluster.begin_pool()
        cluster.wait_for_task_managers({"task-manager-1", "task-manager-2"})
        yield cluster
    finally:
        for name in list(cluster.running):
            cluster.kill(name)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, as of now, and that the kernel gives to nobody who asks for any."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(*_OURS)
        with suppress(OSError), socket.create_server(("localhost", port)):
            found.append(port)
    return found
