"""Google Cloud Storage over HTTP, as far as it is used: conditions on generations, listings, ranges, faults.

The emulators at hand either ignore `ifGenerationMatch` or are no Python package.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

from support.served import ANY_PORT, Quiet, served
from transforms.stores import gcloud

Action = Literal["create", "get", "list", "stat", "delete"]
_OBJECT = re.compile(r"^(?P<kind>/download|/upload)?/storage/v1/b/(?P<bucket>[^/]+)(?:/o(?:/(?P<name>.+))?)?$")


@dataclass
class Stored:
    """One object: its content, generation, and encoding as its writer gave it."""

    content: bytes
    generation: int
    encoding: str | None = None
    created: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class Fault:
    """What happens to the next `times` calls of an action whose object's name holds `part`.

    A status is answered instead of the work; `lost` does the work and cuts the connection before the answer; `cut`
    ends the answer in the middle.
    """

    action: Action
    does: int | Literal["lost", "cut"]
    times: int = 1
    part: str = ""
    said: str = "a fault of the test"
    used: int = 0


@dataclass
class Gcs:
    """The emulator's state, for tests to look at and to change."""

    endpoint: str = ""
    buckets: dict[str, dict[str, Stored]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    calls: list[tuple[Action, str, str]] = field(default_factory=list)
    ignore_conditions: bool = False
    page: int = 1000
    lock: threading.RLock = field(default_factory=threading.RLock)
    generations: Iterator[int] = field(default_factory=lambda: itertools.count(1_700_000_000_000_000))
    sessions: dict[str, tuple[str, str, dict[str, str]]] = field(default_factory=dict)

    def put(self, bucket: str, name: str, content: bytes, encoding: str | None = None) -> None:
        """Store an object, over one that is there."""
        with self.lock:
            self.buckets[bucket][name] = Stored(content, next(self.generations), encoding)

    def names(self, bucket: str) -> list[str]:
        return sorted(self.buckets[bucket])

    def fault(self, action: Action, does: int | Literal["lost", "cut"], **options: Any) -> Fault:
        made = Fault(action, does, **options)
        self.faults.append(made)
        return made

    def struck(self, action: Action, name: str) -> Fault | None:
        """The fault that is due for a call, counted as used."""
        with self.lock:
            for it in self.faults:
                if it.action == action and it.part in name and it.used < it.times:
                    it.used += 1
                    return it
        return None


@contextmanager
def gcs() -> Iterator[Gcs]:
    """An emulator on a free port, until the end of the block."""
    state = Gcs()
    handler = type("Handler", (_Handler,), {"state": state})
    with served(_Server(ANY_PORT, handler)) as port:
        state.endpoint = f"http://127.0.0.1:{port}"
        try:
            yield state
        finally:
            # The product keeps one client an address, with its connections.
            gcloud._client(state.endpoint)._http.close()
            gcloud._client.cache_clear()


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none of the test's business; anything else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Refusal(Exception):
    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status, self.said = status, said


class _Handler(Quiet):
    state: Gcs
    protocol_version = "HTTP/1.1"

    _named = ""

    def do_GET(self) -> None:
        self._serve(self._get)

    def do_POST(self) -> None:
        self._serve(self._post)

    def do_PUT(self) -> None:
        self._serve(self._put)

    def do_DELETE(self) -> None:
        self._serve(self._delete)

    def _serve(self, work: Callable[[str, str, dict[str, str], bytes], tuple[Action, Callable[[], None]]]) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        found = _OBJECT.match(parts.path)
        # google-cloud-cpp reads objects by /bucket/name, too.
        bucket, name = (
            (found["bucket"], unquote(found["name"] or ""))
            if found
            else (parts.path.split("/")[1], unquote(parts.path.split("/", 2)[-1]))
        )
        if not found or found["kind"] == "/download":
            query["alt"] = "media"
        try:
            with self.state.lock:
                action, answer = work(bucket, name, query, body)
            self._answer(action, self._named, answer)
        except _Refusal as refusal:
            self._json(refusal.status, _error(refusal.status, refusal.said))

    def _answer(self, action: Action, name: str, answer: Callable[[], None]) -> None:
        fault = self.state.struck(action, name)
        if fault is None:
            answer()
        elif fault.does == "lost":
            self.close_connection = True
        elif fault.does == "cut":
            answer_of = self.wfile
            self.wfile = _Cut(answer_of)  # type: ignore[assignment]
            answer()
            self.wfile = answer_of
            self.close_connection = True

    # Each returns what it is, and how it answers; the work itself is done under the lock.

    def _get(self, bucket: str, name: str, query: dict[str, str], _: bytes) -> tuple[Action, Callable[[], None]]:
        if not name:
            self._note("list", bucket, query.get("prefix", ""))
            listed = self._listing(bucket, query)
            return "list", lambda: self._json(200, listed)
        if query.get("alt") != "media":
            self._note("stat", bucket, name)
            resource = _resource(bucket, name, self._object(bucket, name, query))
            return "stat", lambda: self._json(200, resource)
        self._note("get", bucket, name)
        stored = self._object(bucket, name, query)
        return "get", lambda: self._media(stored)

    def _post(self, bucket: str, name: str, query: dict[str, str], body: bytes) -> tuple[Action, Callable[[], None]]:
        if query["uploadType"] == "resumable":
            self._named = name = query.get("name") or json.loads(body)["name"]
            self._bucket(bucket)
            session = str(next(self.state.generations))
            self.state.sessions[session] = (bucket, name, query)
            place = f"{self.state.endpoint}/upload/storage/v1/b/{bucket}/o?upload_id={session}"
            return "create", lambda: self._reply(200, b"", {"Location": place})
        resource, content = _multipart(self.headers["Content-Type"], body)
        return self._create(bucket, resource["name"], query, content)

    def _put(self, bucket: str, name: str, query: dict[str, str], body: bytes) -> tuple[Action, Callable[[], None]]:
        bucket, name, asked = self.state.sessions[query["upload_id"]]
        return self._create(bucket, name, asked, body)

    def _create(
        self, bucket: str, name: str, query: dict[str, str], content: bytes
    ) -> tuple[Action, Callable[[], None]]:
        self._note("create", bucket, name)
        objects = self._bucket(bucket)
        there = objects.get(name)
        wanted = query.get("ifGenerationMatch")
        if (
            wanted is not None
            and not self.state.ignore_conditions
            and int(wanted) != (there.generation if there else 0)
        ):
            raise _Refusal(412, "At least one of the pre-conditions you specified did not hold.")
        objects[name] = Stored(content, next(self.state.generations))
        resource = _resource(bucket, name, objects[name])
        return "create", lambda: self._json(200, resource)

    def _delete(self, bucket: str, name: str, query: dict[str, str], _: bytes) -> tuple[Action, Callable[[], None]]:
        self._note("delete", bucket, name)
        self._object(bucket, name, query)
        del self.state.buckets[bucket][name]
        return "delete", lambda: self._reply(204, b"", {})

    def _note(self, action: Action, bucket: str, name: str) -> None:
        self._named = name
        self.state.calls.append((action, bucket, name))
        for fault in self.state.faults:
            if (
                isinstance(fault.does, int)
                and fault.action == action
                and fault.part in name
                and fault.used < fault.times
            ):
                fault.used += 1
                raise _Refusal(fault.does, fault.said)

    def _bucket(self, bucket: str) -> dict[str, Stored]:
        if bucket not in self.state.buckets:
            raise _Refusal(404, "The specified bucket does not exist.")
        return self.state.buckets[bucket]

    def _object(self, bucket: str, name: str, query: dict[str, str]) -> Stored:
        found = self._bucket(bucket).get(name)
        if found is None or int(query.get("generation") or found.generation) != found.generation:
            raise _Refusal(404, f"No such object: {bucket}/{name}")
        return found

    def _listing(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        start = max(query.get("startOffset", ""), query.get("pageToken", ""))
        size = min(int(query.get("maxResults") or self.state.page), self.state.page)
        entries: dict[str, Stored | None] = {}
        for name, stored in sorted(self._bucket(bucket).items()):
            if not name.startswith(prefix) or name < query.get("startOffset", ""):
                continue
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            entries.setdefault(prefix + head + delimiter if found and delimiter else name, None if found else stored)
        left = [it for it in entries if it >= start or it.startswith(start)]
        answer: dict[str, Any] = {"kind": "storage#objects"}
        page = left[:size]
        if items := [_resource(bucket, it, stored) for it in page if (stored := entries[it]) is not None]:
            answer["items"] = items
        if prefixes := [it for it in page if entries[it] is None]:
            answer["prefixes"] = prefixes
        if len(left) > size:
            answer["nextPageToken"] = left[size]
        return answer

    def _media(self, stored: Stored) -> None:
        content, status = stored.content, 200
        headers = {
            "X-Goog-Generation": str(stored.generation),
            "X-Goog-Hash": f"crc32c={_checksum(stored.content)}",
            "X-Goog-Stored-Content-Length": str(len(stored.content)),
        }
        if stored.encoding:
            headers["Content-Encoding"] = stored.encoding
            headers["X-Goog-Stored-Content-Encoding"] = stored.encoding
        if asked := re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
            if first >= len(content):
                self._json(416, _error(416, "Requested range not satisfiable"))
                return
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        self._reply(status, content, headers)

    def _json(self, status: int, answer: Any) -> None:
        self._reply(status, json.dumps(answer).encode(), {"Content-Type": "application/json; charset=UTF-8"})

    def _reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class _Cut:
    """A connection that lets the head of an answer through, and half of its body."""

    def __init__(self, file: Any) -> None:
        self._file, self._heads = file, 0

    def write(self, data: bytes) -> None:
        self._heads += 1
        self._file.write(data if self._heads == 1 else data[: len(data) // 2])

    def flush(self) -> None:
        self._file.flush()


def _checksum(content: bytes) -> str:
    return base64.b64encode(google_crc32c.value(content).to_bytes(4, "big")).decode()


def _resource(bucket: str, name: str, stored: Stored) -> dict[str, Any]:
    found = {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{stored.generation}",
        "name": name,
        "bucket": bucket,
        "generation": str(stored.generation),
        "metageneration": "1",
        "size": str(len(stored.content)),
        "crc32c": _checksum(stored.content),
        "etag": base64.b64encode(str(stored.generation).encode()).decode(),
        "timeCreated": stored.created.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "storageClass": "STANDARD",
    }
    return {**found, "contentEncoding": stored.encoding} if stored.encoding else found


def _error(status: int, said: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": said, "errors": [{"message": said, "reason": "test"}]}}


def _multipart(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    assert boundary
    mark = b"--" + boundary[1].encode()
    _, resource, media, _ = body.split(mark, 3)
    return json.loads(resource.split(b"\r\n\r\n", 1)[1]), media.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
