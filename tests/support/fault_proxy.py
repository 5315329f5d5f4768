"""An HTTP server on loopback between boto3 and the emulator: forwards, records, and fails by rule.

    with fault_proxy(emulator.endpoint_url) as proxy:
        proxy.when("GetObject", key="*.gz").do(slow_down()).times(3)
        ... Access(endpoint_url=proxy.endpoint_url) ...
        assert len(proxy.calls("GetObject")) == 4

The first rule that matches and has turns left acts; without one the call is forwarded untouched. Bodies of errors are
those that the S3, SQS and KMS documentation shows.
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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

LOOPBACK = "127.0.0.1"
_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
PRINCIPAL = "arn:aws:sts::111122223333:assumed-role/collector/trailweave"
KMS_KEY = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


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


# Actions.


def passed(call: Call, forward: Forward) -> Reply:
    """No fault."""
    return forward(call)


def answering(status: int, body: bytes, content_type: str = "application/xml") -> Action:
    """This answer, without asking the emulator."""
    return lambda call, forward: Reply(status, body, (("Content-Type", content_type),))


def s3_error(status: int, code: str, message: str, more: str = "") -> Action:
    """An error document of S3 (Amazon S3 API reference, "Error responses")."""
    body = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{message}</Message>{more}"
        "<RequestId>4442587FB7D0A2F9</RequestId><HostId>faultproxy</HostId></Error>"
    )
    return answering(status, body.encode())


def sqs_error(status: int, code: str, message: str) -> Action:
    """An error of the JSON protocol of SQS."""
    body = json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": message}).encode()
    return answering(status, body, "application/x-amz-json-1.0")


def slow_down() -> Action:
    return s3_error(503, "SlowDown", "Please reduce your request rate.")


def internal_error() -> Action:
    return s3_error(500, "InternalError", "We encountered an internal error. Please try again.")


def _not_authorized(action: str, resource: str) -> Action:
    return s3_error(
        403,
        "AccessDenied",
        f"User: {PRINCIPAL} is not authorized to perform: {action} on resource: &quot;{resource}&quot;"
        f" because no identity-based policy allows the {action} action",
    )


def denied() -> Action:
    """403 for an object that is there: the text names s3:GetObject."""
    return lambda call, forward: _not_authorized("s3:GetObject", f"arn:aws:s3:::{call.bucket}/{call.key}")(
        call, forward
    )


def denied_for_want_of_listing() -> Action:
    """403 for a missing key without s3:ListBucket: the text names that permission."""
    return lambda call, forward: _not_authorized("s3:ListBucket", f"arn:aws:s3:::{call.bucket}")(call, forward)


def denied_without_a_word() -> Action:
    """The older 403, which tells nothing."""
    return s3_error(403, "AccessDenied", "Access Denied")


def kms_denied() -> Action:
    return s3_error(
        403,
        "AccessDenied",
        f"User: {PRINCIPAL} is not authorized to perform: kms:Decrypt on resource: {KMS_KEY}"
        " because no identity-based policy allows the kms:Decrypt action",
    )


def kms_disabled() -> Action:
    return s3_error(400, "KMS.DisabledException", f"{KMS_KEY} is disabled.")


def archived() -> Action:
    return s3_error(
        403,
        "InvalidObjectState",
        "The operation is not valid for the object's storage class",
        "<StorageClass>GLACIER</StorageClass>",
    )


def expired_token() -> Action:
    return s3_error(400, "ExpiredToken", "The provided token has expired.")


def sqs_denied(action: str) -> Action:
    return sqs_error(
        403,
        "AccessDeniedException",
        f"User: {PRINCIPAL} is not authorized to perform: {action} on resource: arn:aws:sqs:us-east-1:111122223333:q"
        f" because no identity-based policy allows the {action} action",
    )


def delayed(seconds: float) -> Action:
    """Answer late."""

    def act(call: Call, forward: Forward) -> Reply:
        time.sleep(seconds)
        return forward(call)

    return act


def cut(after_bytes: int) -> Action:
    """Break the connection so many bytes into the body."""

    def act(call: Call, forward: Forward) -> Reply:
        reply = forward(call)
        return Reply(reply.status, reply.body, reply.headers, sent=min(after_bytes, len(reply.body) - 1))

    return act


def truncated(to_bytes: int) -> Action:
    """A shorter body whose length is told as if it were whole, without a checksum of the whole one."""

    def act(call: Call, forward: Forward) -> Reply:
        reply = forward(call)
        headers = tuple(it for it in reply.headers if not it[0].lower().startswith("x-amz-checksum"))
        return Reply(reply.status, reply.body[:to_bytes], headers)

    return act


def lost() -> Action:
    """The emulator did it, and its answer never arrives."""

    def act(call: Call, forward: Forward) -> Reply:
        forward(call)
        raise Lost

    return act


def unreached() -> Action:
    """The connection breaks before the emulator hears of it."""

    def act(call: Call, forward: Forward) -> Reply:
        raise Lost

    return act


def partly_failing(
    fails: Callable[[int], bool], code: str = "InternalError", *, senders_fault: bool = False
) -> Action:
    """A batch call of SQS whose entries at these places fail; the emulator sees the others only."""

    def act(call: Call, forward: Forward) -> Reply:
        asked = call.json
        failed = [it for place, it in enumerate(asked["Entries"]) if fails(place)]
        rest = [it for place, it in enumerate(asked["Entries"]) if not fails(place)]
        told: dict[str, Any] = {"Successful": [], "Failed": []}
        if rest:
            body = json.dumps({**asked, "Entries": rest}).encode()
            told |= json.loads(forward(_with_body(call, body)).body)
        told["Failed"] = [
            *told.get("Failed", []),
            *({"Id": it["Id"], "Code": code, "SenderFault": senders_fault} for it in failed),
        ]
        return Reply(200, json.dumps(told).encode(), (("Content-Type", "application/x-amz-json-1.0"),))

    return act


def _with_body(call: Call, body: bytes) -> Call:
    return Call(call.operation, call.bucket, call.key, call.method, call.target, call.headers, body)


# The server.


@contextmanager
def fault_proxy(upstream_url: str) -> Iterator[FaultProxy]:
    """A proxy for the time of the block."""
    parts = urlsplit(upstream_url)
    proxy = FaultProxy((str(parts.hostname), int(parts.port or 80)))

    class Handler(_Handler):
        faults = proxy

    server = _Server((LOOPBACK, 0), Handler)
    proxy.endpoint_url = f"http://{LOOPBACK}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed breaks its connections."""


class _Handler(BaseHTTPRequestHandler):
    faults: FaultProxy
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args: Any) -> None:
        """Silence."""

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
