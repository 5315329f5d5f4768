"""A bucket that announces its objects in a queue, on the emulated AWS, and the product between them and an output."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import graph
from pipeline.commands import begin
from pipeline.config import load
from pipeline.demo.emulator import Emulator, provision, upload
from pipeline.graph import Plan
from pipeline.ingestion.ingest import Turn, ingest_until_stopped, unheard
from pipeline.ingestion.runs import run
from pipeline.ingestion.summary import Summary
from support.proxy import FaultProxy, fault_proxy
from transforms import fetch_objects
from transforms.fetch_objects import FetchLimits
from transforms.receive_messages import Limits
from transforms.stores import aws, client_side
from transforms.stores.aws import Access, client
from transforms.stores.sources import Source

PROVENANCE = ("ingestion_time", "commit_number", "source_name", "source_bucket", "source_key", "source_version")
_PLACE = ("source_index",)


@dataclass
class World:
    """One bucket, one queue with its dead-letter queue, one output root; calls pass a `proxy`, if there is one."""

    emulator: Emulator
    bucket: str
    queue_url: str
    output: Path
    proxy: FaultProxy | None = None
    flags: dict[str, Any] = field(default_factory=dict)
    access_options: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)

    @property
    def endpoint_url(self) -> str:
        return self.proxy.endpoint_url if self.proxy else self.emulator.endpoint_url

    @property
    def access(self) -> Access:
        """What the product calls with."""
        return Access(endpoint_url=self.endpoint_url, **self.access_options)

    @cached_property
    def s3(self) -> Any:
        """The test's own client, past the proxy."""
        return client("s3", Access(endpoint_url=self.emulator.endpoint_url))

    @cached_property
    def sqs(self) -> Any:
        return client("sqs", Access(endpoint_url=self.emulator.endpoint_url))

    def source(self, **members: Any) -> Source:
        return replace(Source("trail", queue_url=self.queue_url, access=self.access), **members)

    def plan(self, **members: Any) -> Plan:
        sources = {"trail": self.source(**members), **self.sources}
        return begin(load({"output": str(self.output), **self.flags}), sources)

    # Giving.

    def put(self, key: str, body: bytes) -> None:
        """Store an object; the bucket announces it."""
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        upload(self.s3, self.bucket, objects.items())

    def send(self, *bodies: str) -> None:
        for start in range(0, len(bodies), 10):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(bodies[start : start + 10])]
            self.sqs.send_message_batch(QueueUrl=self.queue_url, Entries=entries)

    # Running.

    def one_run(
        self, messages: int, *, slice_bytes: int = 64_000_000, reads: int = 32, idle_s: float = 20.0, **members: Any
    ) -> Counter[str]:
        """One micro-batch of so many messages, at once; `idle_s` is how long the first may take to come."""
        plan = replace(self.plan(**members), fetch=FetchLimits(slice_bytes=slice_bytes, reads=reads))
        limits = Limits(messages=messages, wait_s=20.0, idle_s=idle_s)
        return run(lambda pipeline: graph.ingest(pipeline, plan, {"trail": limits}))

    def ingest(
        self,
        *,
        until_idle_s: float = 1.0,
        limits: Limits | None = None,
        on_run: Callable[[Counter[str]], None] = unheard,
        on_turn: Callable[[Turn], None] = unheard,
        **members: Any,
    ) -> Summary:
        """The whole loop, until idle."""
        limits = limits or Limits(messages=1000, wait_s=0.5, idle_s=0.5)
        return ingest_until_stopped(
            self.plan(**members), limits, until_idle_s=until_idle_s, quiet=True, on_run=on_run, on_turn=on_turn
        )

    # Looking.

    def waiting(self) -> tuple[int, int]:
        """Messages in the queue: visible, and in somebody's hand."""
        return _depth(self.sqs, self.queue_url)

    @cached_property
    def dead_queue_url(self) -> str:
        return str(self.sqs.get_queue_url(QueueName=self.queue_url.rsplit("/", 1)[1] + "-dead")["QueueUrl"])

    def redriven(self) -> int:
        """Messages in the queue's own dead-letter queue."""
        return sum(_depth(self.sqs, self.dead_queue_url))

    def rows(self, dataset: str) -> pa.Table:
        return read_rows(self.output, dataset)

    def ids(self, dataset: str = "aws_s3_raw") -> list[str]:
        return sorted(self.rows(dataset)["event_id"].to_pylist())

    def letters(self) -> list[dict[str, Any]]:
        return read_letters(self.output)

    def outcomes(self) -> list[tuple[str, str]]:
        """(key, outcome) of the ledger, sorted."""
        rows = self.rows("ingest_log").select(["object_key", "outcome"]).to_pylist()
        return sorted((row["object_key"], row["outcome"]) for row in rows)


def _depth(sqs: Any, url: str) -> tuple[int, int]:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def read_rows(output: Path, dataset: str) -> pa.Table:
    """Every row of a dataset, by a plain walk over the tree's files."""
    files = sorted(it for it in output.glob(f"{dataset}/**/*.parquet") if not it.name.startswith("."))
    tables = [pq.ParquetFile(it).read() for it in files]
    return pa.concat_tables(tables) if tables else pa.table({"event_id": pa.array([], pa.string())})


def read_letters(output: Path) -> list[dict[str, Any]]:
    """Every dead letter."""
    letters = []
    for path in sorted(output.glob("dead_letters/**/*.avro")):
        with path.open("rb") as file:
            letters += [dict(it) for it in fastavro.reader(file)]  # type: ignore[arg-type]
    return letters


def event_rows(output: Path, dataset: str) -> list[dict[str, Any]]:
    """The rows of a dataset without their provenance, in an order of their own."""
    table = read_rows(output, dataset)
    kept = [name for name in table.column_names if name not in {*PROVENANCE, *_PLACE}]
    return table.select(kept).sort_by("event_id").to_pylist()


def assert_one_to_one(output: Path, expected: Sequence[str] | set[str]) -> None:
    """Each expected event is once in each dataset, and raw and normalized files match number for number.

    The fragments of each commit count the events of its sessions, no more and no less.
    """
    raw, events = read_rows(output, "aws_s3_raw"), read_rows(output, "cloud_audit_logs")
    wanted = sorted(set(expected))
    for name, rows in (("aws_s3_raw", raw), ("cloud_audit_logs", events)):
        ids = sorted(rows["event_id"].to_pylist())
        lost, surplus = set(wanted) - set(ids), set(ids) - set(wanted)
        double = [it for it, count in Counter(ids).items() if count > 1]
        assert (len(lost), len(surplus), len(double)) == (0, 0, 0), (name, sorted(lost)[:3], double[:3])
    assert _numbered(raw) == _numbered(events)
    assert _files(output, "aws_s3_raw") == _files(output, "cloud_audit_logs")
    assert _fragments(output) == sorted(_sessions(events).items())


_FRAGMENT = ("recipient_account_id", "day", "commit_number", "session_id")


def _fragments(output: Path) -> list[tuple[Any, int]]:
    """Every fragment's key, with how many events it counts."""
    fragments = [row for row in _rows_by_day(output, "sessions") if row["kind"] == "fragment"]
    return sorted((tuple(row[name] for name in _FRAGMENT), row["events"]) for row in fragments)


def _rows_by_day(output: Path, dataset: str) -> list[dict[str, Any]]:
    """Rows with the day of their partition."""
    return [
        {**row, "day": folder.name.removeprefix("day=")}
        for folder in output.glob(f"{dataset}/*/day=*")
        for path in folder.glob("[0-9]*.parquet")
        for row in pq.ParquetFile(path).read().to_pylist()
    ]


def _sessions(events: pa.Table) -> Counter[Any]:
    """How many events of each session each commit holds."""
    names = [name for name in (*_FRAGMENT[:1], "event_time", *_FRAGMENT[2:]) if name in events.column_names]
    rows = zip(*(events[name].to_pylist() for name in names), strict=True)
    return Counter(
        (account, time.date().isoformat(), number, session) for account, time, number, session in rows if session
    )


def _numbered(table: pa.Table) -> list[tuple[str, int]]:
    columns = table.select(["event_id", "commit_number"]).to_pydict()
    return sorted(zip(columns["event_id"], columns["commit_number"], strict=True))


def _files(output: Path, dataset: str) -> list[str]:
    root = output / dataset
    return sorted(str(it.relative_to(root)) for it in root.glob("**/[0-9]*.parquet"))


def forget_clients() -> None:
    """Clients are kept for the life of a process, with the endpoint of the environment: not between emulators."""
    for cached in (aws._client, aws._session, aws._principal, client_side._opener):
        cached.cache_clear()


def _forget_foreign_clients(emulator: Emulator) -> None:
    """Whatever ran before on another emulator, the default clients are of this one."""
    endpoints = {client(service, Access()).meta.endpoint_url for service in ("s3", "sqs", "sts")}
    if endpoints != {emulator.endpoint_url}:
        forget_clients()


@contextmanager
def world(emulator: Emulator, folder: Path, *, proxied: bool = False, **queue: Any) -> Iterator[World]:
    """A fresh world on a running emulator; the test event of its bucket is gone already."""
    name = f"w{uuid.uuid4().hex[:12]}"
    fetch_objects._readable.clear()
    fetch_objects._refused.clear()
    with emulator.applied():
        _forget_foreign_clients(emulator)
        access = Access(endpoint_url=emulator.endpoint_url)
        s3, sqs = client("s3", access), client("sqs", access)
        url = provision(s3, sqs, bucket=name, queue=name, **queue)
        _drop_test_event(sqs, url)
        if not proxied:
            yield World(emulator, name, url, folder / "out")
            return
        with fault_proxy(emulator.endpoint_url) as proxy:
            yield World(emulator, name, url, folder / "out", proxy)


def _drop_test_event(sqs: Any, url: str) -> None:
    """So that tests count their own messages alone; `s3:TestEvent` has tests of its own."""
    for message in sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages", []):
        assert json.loads(message["Body"])["Event"] == "s3:TestEvent"
        sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
