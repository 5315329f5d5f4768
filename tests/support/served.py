"""HTTP servers of tests, on loopback."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ANY_PORT = ("127.0.0.1", 0)


class Quiet(BaseHTTPRequestHandler):
    """Tests print no access log."""

    def log_message(self, *_: Any) -> None:
        """Silence."""


@contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[int]:
    """The server runs until the end of the block: its port."""
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
