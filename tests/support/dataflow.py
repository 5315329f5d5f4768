"""Google's Dataflow service over HTTP, as far as submitting, watching and cancelling a job goes. It runs nothing."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from support.served import ANY_PORT, Quiet, served

_PATH = re.compile(r"/v1b3/projects/[^/]+/locations/[^/]+/jobs(?:/(?P<id>[^/]+)(?P<part>/\w+)?)?")
# As Google's client sends them.
_STATES = {5: "JOB_STATE_CANCELLED", 7: "JOB_STATE_DRAINING"}


@dataclass
class Dataflow:
    """The service's state, for tests to look at and to change."""

    endpoint: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    first_state: str = "JOB_STATE_RUNNING"
    refusal: tuple[int, str] | None = None
    created: threading.Event = field(default_factory=threading.Event)

    @property
    def job(self) -> dict[str, Any]:
        """The one job that was submitted."""
        (job,) = self.jobs.values()
        return job

    def counter(self, name: str, value: int, step: str = "s1") -> None:
        """Count, as the service reports a counter of the user's: attempted and committed."""
        context = {"namespace": "trailweave", "step": step}
        for more in ({}, {"tentative": "true"}):
            named = {"origin": "user", "name": name, "context": {**context, **more}}
            self.metrics.append({"name": named, "scalar": value})


@contextmanager
def dataflow() -> Iterator[Dataflow]:
    """A service on a free port, until the end of the block."""
    state = Dataflow()
    with served(ThreadingHTTPServer(ANY_PORT, type("Handler", (_Handler,), {"state": state}))) as port:
        state.endpoint = f"http://localhost:{port}"
        yield state


class _Handler(Quiet):
    state: Dataflow
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self._body()
        if self.state.refusal:
            status, said = self.state.refusal
            self._answer({"error": {"code": status, "message": said, "status": "PERMISSION_DENIED"}}, status)
            return
        job = {**body, "id": f"job-{len(self.state.jobs)}", "currentState": self.state.first_state}
        self.state.jobs[job["id"]] = job
        self.state.created.set()
        self._answer(job)

    def do_PUT(self) -> None:
        job = self.state.jobs[self._asked()["id"]]
        job["currentState"] = _STATES[self._body()["requestedState"]]
        self._answer(job)

    def do_GET(self) -> None:
        asked = self._asked()
        if asked["part"] == "/metrics":
            self._answer({"metrics": self.state.metrics})
        elif asked["part"] == "/messages":
            self._answer({})
        else:
            self._answer(self.state.jobs[asked["id"]])

    def _asked(self) -> re.Match[str]:
        found = _PATH.fullmatch(urlsplit(self.path).path)
        assert found, self.path
        return found

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, answer: Any, status: int = 200) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
