"""An HTTP server on loopback between boto3 and the emulator: forwards, records, and fails by rule.

    with fault_proxy(emulator.endpoint_url) as proxy:
        proxy.when("GetObject", key="*.gz").do(slow_down()).times(3)
        ... Access(endpoint_url=proxy.endpoint_url) ...
        assert len(proxy.calls("GetObject")) == 4

The first rule that matches and has turns left acts; without one the call is forwarded untouched. The actions are in
`support.fault_proxy`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from support.served import ANY_PORT, Quiet, served

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Call:
    """One request: its operation as AWS names it, and what it is about."""

    operation: str
    bucket: str
    key: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body of an SQS call."""
        return json.loads(self.body or b"{}")

    @property
    def query(self) -> dict[str, str]:
        """The query string, first values."""
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}


@dataclass(frozen=True)
class Reply:
    """An answer: whole, or `body` cut after `sent` bytes while its length says more."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    sent: int | None = None


class Lost(Exception):
    """The connection breaks without an answer."""


Forward = Callable[[Call], Reply]
Action = Callable[[Call, Forward], Reply]


def passed(call: Call, forward: Forward) -> Reply:
    """No fault."""
    return forward(call)


@dataclass
class Rule:
    """When `matches`, do `action`, so many times; the first `skipped` matches pass by."""

    matches: Callable[[Call], bool]
    action: Action
    left: int | None = None
    skipped: int = 0
    used: int = 0

    def do(self, action: Action) -> Rule:
        self.action = action
        return self

    def times(self, count: int) -> Rule:
        self.left = count
        return self

    def after(self, count: int) -> Rule:
        self.skipped = count
        return self

    def stop(self) -> None:
        self.left = 0

    def takes(self, call: Call) -> bool:
        if self.left == 0 or not self.matches(call):
            return False
        if self.skipped:
            self.skipped -= 1
            return False
        self.left = None if self.left is None else self.left - 1
        self.used += 1
        return True


@dataclass
class FaultProxy:
    """The running proxy: where it listens, its rules and what has passed."""

    upstream: tuple[str, int]
    endpoint_url: str = ""
    rules: list[Rule] = field(default_factory=list)
    seen: list[Call] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def when(self, operation: str, *, bucket: str = "*", key: str = "*") -> Rule:
        """A rule for an operation (`*` for all) on a bucket and key, both as shell patterns."""

        def matches(call: Call) -> bool:
            return (
                fnmatchcase(call.operation, operation)
                and fnmatchcase(call.bucket, bucket)
                and fnmatchcase(call.key, key)
            )

        rule = Rule(matches, passed)
        self.rules.append(rule)
        return rule

    def heal(self) -> None:
        """Forget every rule."""
        self.rules.clear()

    def calls(self, operation: str, *, key: str = "*") -> list[Call]:
        """What was asked, in order."""
        with self.lock:
            return [it for it in self.seen if it.operation == operation and fnmatchcase(it.key, key)]

    def forget(self) -> None:
        """Count from here on."""
        with self.lock:
            self.seen.clear()

    def action_for(self, call: Call) -> Action:
        with self.lock:
            self.seen.append(call)
            return next((rule.action for rule in self.rules if rule.takes(call)), passed)


@contextmanager
def fault_proxy(upstream_url: str) -> Iterator[FaultProxy]:
    """A proxy for the time of the block."""
    parts = urlsplit(upstream_url)
    proxy = FaultProxy((str(parts.hostname), int(parts.port or 80)))

    class Handler(_Handler):
        faults = proxy

    with served(_Server(ANY_PORT, Handler)) as port:
        proxy.endpoint_url = f"http://127.0.0.1:{port}"
        yield proxy


class _Server(ThreadingHTTPServer):
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed breaks its connections."""


class _Handler(Quiet):
    faults: FaultProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        body = self._read_body()
        call = _classify(self.command, self.path, dict(self.headers.items()), body)
        try:
            reply = self.faults.action_for(call)(call, self._forward)
        except Lost:
            self._break()
            return
        self._answer(call, reply)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - http.server names them

    def _read_body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _forward(self, call: Call) -> Reply:
        connection = http.client.HTTPConnection(*self.faults.upstream, timeout=60)
        try:
            headers = {k: v for k, v in call.headers.items() if k.lower() not in {*_HOP_BY_HOP, "expect"}}
            connection.request(
                call.method, call.target, call.body, {**headers, "Content-Length": str(len(call.body))}
            )
            answer = connection.getresponse()
            kept = tuple((k, v) for k, v in answer.getheaders() if k.lower() not in _HOP_BY_HOP)
            length = answer.getheader("Content-Length")
            if call.method == "HEAD" and length:
                kept += (("Content-Length", length),)
            return Reply(answer.status, answer.read(), kept)
        finally:
            connection.close()

    def _answer(self, call: Call, reply: Reply) -> None:
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in reply.headers):
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if call.method != "HEAD":
            self.wfile.write(reply.body[: reply.sent])
        if reply.sent is not None:
            self.wfile.flush()
            self._break()

    def _break(self) -> None:
        """Close with a reset, as a dying peer or a firewall does."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            time.sleep(0.01)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()


def _classify(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Call:
    lowered = {name.lower(): value for name, value in headers.items()}
    if "x-amz-target" in lowered:
        return Call(lowered["x-amz-target"].split(".")[-1], "", "", method, target, headers, body)
    if "application/x-www-form-urlencoded" in lowered.get("content-type", ""):
        action = parse_qs(body.decode()).get("Action", ["?"])[0]
        return Call(action, "", "", method, target, headers, body)
    path = urlsplit(target)
    bucket, _, key = unquote(path.path.lstrip("/")).partition("/")
    query = parse_qs(path.query, keep_blank_values=True)
    if key:
        name = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}.get(method)
    elif "list-type" in query:
        name, key = "ListObjectsV2", query.get("prefix", [""])[0]
    else:
        name = {"HEAD": "HeadBucket", "PUT": "CreateBucket"}.get(method)
    return Call(name or f"{method} {target}", bucket, key, method, target, headers, body)
