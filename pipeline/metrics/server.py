"""`ingest --metrics-port N`: the metrics and the health of the loop, over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from pipeline.metrics.metrics import Metrics
from schemas.errors import ConfigError
from transforms.stores.sources import Source

_LOOK_AT_QUEUES_S = 30.0


@contextmanager
def serving(sources: Sequence[Source], address: str, port: int) -> Iterator[tuple[Metrics, int]]:
    """Serve `/metrics` and `/healthz` for the time of the block: the metrics to tell, and the port.

    Port 0 takes a free one. Nothing that is served names an account, a bucket, a key or a credential.
    Raises `ConfigError` when the port cannot be had.
    """
    metrics = Metrics(sources)
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)

    class Handler(_Handler):
        pages = (metrics, registry)

    try:
        server = ThreadingHTTPServer((address, port), Handler)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"metrics cannot be served on {address}:{port}: {error}; choose another --metrics-port"
        ) from error
    server.daemon_threads = True
    done = threading.Event()
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True),
        threading.Thread(target=_look_at_queues, args=(metrics, done), daemon=True),
    ]
    for thread in threads:
        thread.start()
    try:
        yield metrics, server.server_address[1]
    finally:
        done.set()
        server.shutdown()
        server.server_close()


def _look_at_queues(metrics: Metrics, done: threading.Event) -> None:
    while not done.is_set():
        metrics.look_at_queues()
        done.wait(_LOOK_AT_QUEUES_S)


class _Handler(BaseHTTPRequestHandler):
    pages: tuple[Metrics, CollectorRegistry]
    server_version = "trailweave"
    sys_version = ""
    timeout = 30

    def do_GET(self) -> None:
        metrics, registry = self.pages
        if self.path.partition("?")[0] == "/metrics":
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(registry))
        elif self.path == "/healthz":
            health = metrics.health()
            body = json.dumps(health.as_json()).encode() + b"\n"
            self._answer(503 if health.status == "stalled" else 200, "application/json", body)
        else:
            self._answer(404, "text/plain", b"/metrics and /healthz are here\n")

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server names it
        """A scrape every few seconds is no news."""
