"""What has become of everything that was delivered: the ledger and the tree, summed up for an operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import duckdb
import msgspec

from pipeline import sql
from pipeline.sql import query
from pipeline.sql.tree import open_tree
from transforms.stores.files import Output, Store
from transforms.stores.local import LocalStore
from transforms.stores.settings import Settings, read_settings

_T = TypeVar("_T")

# Counting rows opens the footer of every file: about a second for this many on a local disk, a request each on S3.
_COUNTED_LOCAL_FILES = 2_000
_COUNTED_REMOTE_FILES = 200


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects by the outcome of their last row in the ledger; bytes as stored and as text."""

    total: int
    done: int
    dead_letter: int
    digest: int
    ignored: int
    deferred: int
    messages_without_object: int
    compressed_bytes: int
    decompressed_bytes: int


@dataclass(frozen=True, slots=True)
class Records:
    """Records of those objects: `received` is the sum of the others.

    `written` were new at one of the object's attempts, `duplicates` at none; `bad` are dead letters.
    """

    received: int
    written: int
    duplicates: int
    expired: int
    bad: int


@dataclass(frozen=True, slots=True)
class PartitionStatus:
    """One account and day: objects and records by the object's key, rows by the events themselves.

    Rows are None where counting them would open too many files.
    """

    account_id: str
    day: str
    objects: int = 0
    records: int = 0
    written: int = 0
    duplicates: int = 0
    expired: int = 0
    dead_letters: int = 0
    deferred: int = 0
    raw_rows: int | None = None
    event_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Lag:
    """Seconds until an object was logged: from its message's sending, and from its earliest event.

    Over the objects that a message brought and that held something new, in the 24 hours before the last ingest.
    None where there were none.
    """

    objects: int
    sent_p50_s: float | None
    sent_p95_s: float | None
    sent_max_s: float | None
    event_p50_s: float | None
    event_p95_s: float | None
    event_max_s: float | None


@dataclass(frozen=True, slots=True)
class LastError:
    """The newest row of the ledger that is not all well: what it is about, and why."""

    time: datetime
    outcome: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeadLetterGroup:
    """Dead letters that still stand, by stage, scope (message, object or record) and reason."""

    stage: str
    scope: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Status:
    """The state of an output root. `files` are those that count, by dataset; times are UTC.

    `incomplete` are raw files without their file of `cloud_audit_logs`: work of a killed process that the next
    start or `trailweave repair` completes, or of one that is writing just now.
    """

    output: str
    normalize: bool
    objects: Objects
    records: Records
    lag: Lag
    last_event: datetime | None
    last_ingest: datetime | None
    last_error: LastError | None
    dead_letters: tuple[DeadLetterGroup, ...]
    incomplete: tuple[str, ...]
    files: dict[str, int]
    partitions: tuple[PartitionStatus, ...]


def status(output: Output) -> Status:
    """Read the state of the root. ConfigError when it holds no trailweave data, AccessError when out of reach."""
    store = open_tree(output)
    settings = read_settings(store) or Settings()
    with query.connect(output) as connection:
        files = {row["dataset"]: row["files"] for row in _ask(connection, "files")}
        last = _ask(connection, "last")[0]
        errors = _ask(connection, "last_error")
        return Status(
            output=output.uri,
            normalize=settings.normalize,
            objects=Objects(**_ask(connection, "objects")[0]),
            records=Records(**_ask(connection, "records")[0]),
            lag=Lag(**_ask(connection, "lag")[0]),
            last_event=last["last_event"],
            last_ingest=last["last_ingest"],
            last_error=LastError(**errors[0]) if errors else None,
            dead_letters=tuple(DeadLetterGroup(**row) for row in _ask(connection, "dead_letters")),
            incomplete=_unanswered(connection, settings),
            files=files,
            partitions=_partitions(connection, counted=_countable(store, files)),
        )


def _unanswered(connection: duckdb.DuckDBPyConnection, settings: Settings) -> tuple[str, ...]:
    if settings.marker is None:
        return ()
    return tuple(row["file"] for row in _ask(connection, "incomplete", marker=settings.marker.name))


def _ask(connection: duckdb.DuckDBPyConnection, name: str, **values: str) -> list[dict[str, Any]]:
    return query.run(connection, sql.text(f"status/{name}", **values)).read_all().to_pylist()


def _countable(store: Store, files: Mapping[str, int]) -> bool:
    limit = _COUNTED_LOCAL_FILES if isinstance(store, LocalStore) else _COUNTED_REMOTE_FILES
    return files.get("aws_s3_raw", 0) + files.get("cloud_audit_logs", 0) <= limit


def _partitions(connection: duckdb.DuckDBPyConnection, *, counted: bool) -> tuple[PartitionStatus, ...]:
    merged: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for row in _ask(connection, "partitions") + (_ask(connection, "rows") if counted else []):
        merged[row["day"], row["account_id"]] |= row
    absent = {"raw_rows": 0, "event_rows": 0} if counted else {}
    return tuple(PartitionStatus(**(absent | merged[key])) for key in sorted(merged))


def as_json(status: Status) -> str:
    """The status as one JSON object, keys as the fields, times RFC 3339."""
    return msgspec.json.format(msgspec.json.encode(status)).decode()
