"""The small frozen values that flow through the graph, and the slice that carries the Arrow tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

import msgspec
import pyarrow as pa

Stage = Literal["parse_notifications", "fetch_objects", "explode_records"]
Scope = Literal["message", "object", "record"]
Outcome = Literal["done", "dead_letter", "digest", "ignored", "deferred"]

_ACCOUNT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

# The bucket of a local file, and how that of an object on Google Cloud Storage begins. A real name has no colon.
LOCAL = "file:"
GOOGLE = "gs://"


class Value(msgspec.Struct, frozen=True):
    """Base of the values that every object has some of: made, compared and changed faster than a dataclass."""

    def but(self, **changes: Any) -> Self:
        """The same with other members."""
        return msgspec.structs.replace(self, **changes)


class ObjectRef(Value, frozen=True):
    """One object to read: in a bucket (`bucket`, `key`, perhaps `version_id`) or a local file (bucket `LOCAL`).

    On Google Cloud Storage the bucket is written `gs://NAME` and the version is the generation.

    `etag` and `size` (bytes) are what the notification or the listing said, where it said it.
    """

    bucket: str
    key: str
    version_id: str | None = None
    etag: str | None = None
    size: int | None = None

    @property
    def version(self) -> str:
        """What tells two contents under one key apart: the etag, else the version id, else nothing.

        Notifications, listings and the object itself give the etag alike; a version id only some of them.
        """
        return self.etag or self.version_id or ""

    @property
    def uri(self) -> str:
        """The object as one writes it."""
        if self.bucket == LOCAL:
            return self.key
        return f"{self.bucket if self.bucket.startswith(GOOGLE) else f's3://{self.bucket}'}/{self.key}"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be processed. A function of its object (or message body) alone."""

    stage: Stage
    scope: Scope
    reason: str
    ref: ObjectRef | None = None
    record_index: int | None = None
    input: bytes | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """The right to delete a message, until `deadline` (seconds of the epoch) when the queue gives it to another."""

    queue_url: str
    message_id: str
    handle: str
    deadline: float
    receive_count: int
    sent: datetime | None
    received: datetime | None = None

    @property
    def is_troubled(self) -> bool:
        """Whether the message was received more than twice: it may have brought its worker down before."""
        return self.receive_count > 2


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as received from the queue of `source`: its body and the right to delete it.

    A body that comes from a dead letter has no receipt.
    """

    source: str
    body: str
    receipt: Receipt | None


@dataclass(frozen=True, slots=True)
class Message:
    """The atom of acknowledgement: every object that one notification names.

    A replay has messages too: one object each and no receipt. `dead_letters` are those of the body itself.
    `settled` are objects that need no reading, with their outcome (`ignored`, `digest`) and the reason; a body that
    names no object at all, a test event say, settles an object without bucket and key.
    """

    source: str
    objects: tuple[ObjectRef, ...] = ()
    receipt: Receipt | None = None
    dead_letters: tuple[DeadLetter, ...] = ()
    settled: tuple[tuple[ObjectRef, Outcome, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that are worked on together. References only: this is what crosses a shuffle."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class NoRecord:
    """Something in an object that is no whole record, as found (cut at the record cap), and why.

    `damage` says that the object itself stopped being readable here.
    """

    text: bytes
    reason: str
    damage: bool = False


class Document(Value, frozen=True):
    """Content of one object or a piece of it; one of `text`, `records` and `rows` is set.

    `object_index` points into the slice's `objects`. `text` is a small object's JSON as found; `records` are those of
    a large or damaged one, cut out already, the first of them the `first_record`-th; `rows` are rows of `aws_s3_raw`,
    when the object is a file of an output's raw tree.
    """

    object_index: int
    text: bytes | bytearray | None = None
    records: Sequence[bytes | NoRecord] | None = None
    rows: pa.Table | None = None
    first_record: int = 0


class ObjectPart(Value, frozen=True):
    """What one slice knows of one object; the parts of an object add up to its row in the ingest log.

    `last` marks the part that ends the object. Counts are of this part alone; bytes likewise.
    """

    source: str
    ref: ObjectRef
    message: Receipt | None
    last: bool = True
    outcome: Outcome = "done"
    reason: str | None = None
    provider: str | None = None
    records: int = 0
    written: int = 0
    duplicates: int = 0
    expired: int = 0
    dead_letters: int = 0
    compressed_bytes: int = 0
    decompressed_bytes: int = 0
    first_event_time: datetime | None = None
    last_event_time: datetime | None = None


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """An account and the UTC day of its events (`yyyy-mm-dd`): the unit of the commit."""

    account: str
    day: str

    def __post_init__(self) -> None:
        # Both become parts of a path: nothing may lead out of the partition's folder.
        if not (_ACCOUNT.fullmatch(self.account) and _DAY.fullmatch(self.day)):
            raise ValueError(f"no partition: account {self.account!r}, day {self.day!r}")

    @property
    def path(self) -> str:
        """The partition's folder below a dataset."""
        return f"account_id={self.account}/day={self.day}"


@dataclass(frozen=True, slots=True)
class Commit:
    """Rows `start` to `start + length` of the slice's tables are file `number` of `partition`."""

    partition: Partition
    number: int
    start: int
    length: int


@dataclass(frozen=True)
class Slice:
    """The element of the fused chain: up to about 48 MB of records, filled in stage by stage.

    FetchObjects sets `documents`, which can be read once: each is let go when it is read. ExplodeRecords replaces
    them by `records` (one row a record: the provider's decoded columns beside event_id, event_time,
    recipient_account_id, raw_json and the record's place); CommitRaw keeps the new rows, ordered by partition, and
    says in `commits` which file each range became; NormalizeRecords adds `events`, row for row; MatchRules adds
    `detections` and StitchSessions `sessions`, a table for each commit. `receipts`, the last parts of `objects`, and
    `dead_letters` ride on the slice that ends them, so what is earlier is durable before a message is deleted.
    """

    objects: tuple[ObjectPart, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    dead_letters: tuple[DeadLetter, ...] = ()
    documents: Iterable[Document] = field(default=(), repr=False)
    provider: str | None = None
    records: pa.Table | None = field(default=None, repr=False)
    commits: tuple[Commit, ...] = ()
    events: pa.Table | None = field(default=None, repr=False)
    detections: tuple[pa.Table, ...] = field(default=(), repr=False)
    sessions: tuple[pa.Table, ...] = field(default=(), repr=False)
