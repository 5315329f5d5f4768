"""What is cancelled on a cluster, by a job manager that keeps jobs and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.engines.flink import submission
from schemas.errors import EngineError


@dataclass
class JobManager:
    """Jobs are (id, name) -> state; a cancelled one is CANCELLING for one look."""

    port: int = 0
    jobs: dict[tuple[str, str], str] = field(default_factory=dict)

    def options(self, name: str) -> PipelineOptions:
        return PipelineOptions(
            ["--runner=FlinkRunner", f"--flink_master=localhost:{self.port}", f"--job_name={name}"]
        )


@pytest.fixture
def job_manager() -> Iterator[JobManager]:
    state = JobManager()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/jobs/overview"
            self._answer({"jobs": [{"jid": it[0], "name": it[1], "state": was} for it, was in state.jobs.items()]})
            for it, was in state.jobs.items():
                if was == "CANCELLING":
                    state.jobs[it] = "CANCELED"

        def do_PATCH(self) -> None:
            (key,) = [it for it in state.jobs if self.path == f"/jobs/{it[0]}?mode=cancel"]
            state.jobs[key] = "CANCELLING"
            self._answer({})

        def _answer(self, told: object) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(told).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        state.port = server.server_port
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield state
        server.shutdown()
        thread.join()


def test_what_was_submitted_is_cancelled_and_nothing_else(job_manager: JobManager) -> None:
    job_manager.jobs = {("a1", "trail"): "RUNNING", ("b1", "others"): "RUNNING"}
    mine = submission(job_manager.options("trail"))
    assert mine
    job_manager.jobs[("a2", "trail")] = "RESTARTING"
    mine.cancel()
    assert list(job_manager.jobs.values()) == ["RUNNING", "RUNNING", "CANCELED"]


def test_what_has_ended_needs_no_cancelling(job_manager: JobManager) -> None:
    mine = submission(job_manager.options("trail"))
    assert mine
    job_manager.jobs = {("a1", "trail"): "FINISHED"}
    mine.cancel()
    assert list(job_manager.jobs.values()) == ["FINISHED"]


def test_a_job_that_does_not_end_is_told(job_manager: JobManager, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = submission(job_manager.options("trail"))
    assert mine
    job_manager.jobs = {("a1", "trail"): "CREATED"}
    monkeypatch.setattr("pipeline.engines.flink._CANCELLED_S", -1)
    with pytest.raises(EngineError, match=rf"job 'trail' \(a1\) at http://localhost:{job_manager.port} does not end"):
        mine.cancel()


def test_a_master_that_does_not_answer_is_told_before_anything_is_submitted() -> None:
    options = PipelineOptions(["--runner=FlinkRunner", "--flink_master=localhost:1", "--job_name=trail"])
    with pytest.raises(EngineError, match=r"^--flink_master=localhost:1: no job manager answers .*refused.*8081"):
        submission(options)


@pytest.mark.parametrize("flags", [[], ["--flink_master=[local]"], ["--runner=PrismRunner"]])
def test_no_cluster_outlives_a_job_server_of_its_own(flags: list[str]) -> None:
    assert submission(PipelineOptions(["--runner=FlinkRunner", *flags])) is None
