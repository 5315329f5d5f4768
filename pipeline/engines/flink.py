"""Jobs on a Flink cluster, by the REST API of its job manager.

Beam's job server ends its own part of a job that is cancelled, and leaves the job on the cluster running; what is
begun again then runs beside it. So the command cancels on the cluster what it submitted.

https://nightlies.apache.org/flink/flink-docs-stable/docs/ops/rest_api/
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import FlinkRunnerOptions, GoogleCloudOptions, PipelineOptions
from apache_beam.runners.portability.flink_runner import MAGIC_HOST_NAMES, FlinkRunner

from pipeline.ingestion.runs import engine_of
from schemas.errors import EngineError

_ANSWER_S = 30.0
_CANCELLED_S = 60.0
_LOOK_S = 0.5
_ENDED = {"FINISHED", "CANCELED", "FAILED"}


@dataclass(frozen=True, slots=True)
class Submission:
    """A job by its name on a cluster; `others` are the ids of those of that name that were there before it."""

    master: str
    name: str
    others: frozenset[str]

    def cancel(self) -> None:
        """Cancel the job and wait until it has ended. Raises `EngineError` where that does not come to pass."""
        until = time.monotonic() + _CANCELLED_S
        for job in self._running():
            _call(self.master, f"/jobs/{job}?mode=cancel", "PATCH")
        while jobs := self._running():
            if time.monotonic() > until:
                raise EngineError(
                    f"{self._called(jobs)} does not end, {_CANCELLED_S:.0f} s after it was cancelled; end it on the"
                    " cluster; what it has in hand comes back to the queue"
                )
            time.sleep(_LOOK_S)

    def goes_on(self) -> str:
        """What the operator of a job whose job server is gone must know."""
        return f"job {self.name!r} may run on at {self.master}: cancel it there before it is begun again"

    def _running(self) -> list[str]:
        return sorted(_running(self.master, self.name) - self.others)

    def _called(self, jobs: Collection[str]) -> str:
        return f"job {self.name!r} ({', '.join(jobs)}) at {self.master}"


def submission(options: PipelineOptions) -> Submission | None:
    """The job that is about to be submitted; None where no cluster outlives the job server.

    Raises `EngineError` when the job manager does not answer.
    """
    master = options.view_as(FlinkRunnerOptions).flink_master
    if engine_of(options) != "FlinkRunner" or master in MAGIC_HOST_NAMES:
        return None
    address = FlinkRunner.add_http_scheme(master).rstrip("/")
    name = str(options.view_as(GoogleCloudOptions).job_name)
    return Submission(address, name, frozenset(_running(address, name)))


def _running(master: str, name: str) -> set[str]:
    jobs = _call(master, "/jobs/overview")["jobs"]
    return {str(it["jid"]) for it in jobs if it["name"] == name and it["state"] not in _ENDED}


def _call(master: str, path: str, method: str = "GET") -> Any:
    request = urllib.request.Request(master + path, method=method)  # noqa: S310 - http or https, as Beam has it
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:  # noqa: S310
            return json.loads(answer.read() or b"null")
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise EngineError(
            f"--flink_master={urlsplit(master).netloc}: no job manager answers at {master}{path} ({error}); name the"
            " host and port of its REST API, which is 8081 if not set otherwise"
        ) from error
