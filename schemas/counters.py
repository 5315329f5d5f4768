"""The one vocabulary of counters: what the stages count, and what the summaries, the demo and `status` print."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from schemas.values import DeadLetter, ObjectPart

NAMESPACE = "trailweave"

# By source: what the circuit breaker of each decides by.
READ = "trailweave.read"
DENIED = "trailweave.denied"

MESSAGES_RECEIVED = "messages_received"
MESSAGES_DELETED = "messages_deleted"
MESSAGES_EXPIRED = "messages_expired"
RECEIVE_ERRORS = "receive_errors"
VISIBILITY_EXTENSIONS = "visibility_extensions"
OBJECTS_READ = "objects_read"
OBJECTS_SETTLED = "objects_settled"
OBJECTS_DEAD = "objects_dead"
OBJECTS_DEFERRED = "objects_deferred"
OBJECTS_DENIED = "objects_denied"
RECORDS = "records"
EVENTS_WRITTEN = "events_written"
EVENTS_DUPLICATE = "events_duplicate"
EVENTS_EXPIRED = "events_expired"
DEAD_LETTERS = "dead_letters"
COMMITS = "commits"
COMMIT_CONFLICTS = "commit_conflicts"
COMMITS_COMPLETED = "commits_completed"
COMPRESSED_BYTES = "compressed_bytes"
DECOMPRESSED_BYTES = "decompressed_bytes"

MEANING = {
    MESSAGES_RECEIVED: "messages taken from the queue",
    MESSAGES_DELETED: "messages deleted, each of its objects having a durable outcome",
    MESSAGES_EXPIRED: "messages dropped because their visibility had ended; the queue delivers them again",
    RECEIVE_ERRORS: "receives that failed and were tried again later",
    VISIBILITY_EXTENSIONS: "times that a message in hand was hidden for longer",
    OBJECTS_READ: "objects read to their end",
    OBJECTS_SETTLED: "objects and notices that need no reading: digests, other kinds, test events",
    OBJECTS_DEAD: "objects that could not be read, or not to their end",
    OBJECTS_DEFERRED: "objects left in the queue: denied, throttled or unreachable",
    OBJECTS_DENIED: "of those, the ones whose access was denied",
    RECORDS: "records found",
    EVENTS_WRITTEN: "events that were new",
    EVENTS_DUPLICATE: "events that were known already",
    EVENTS_EXPIRED: "events of partitions that retention has emptied",
    DEAD_LETTERS: "dead letters",
    COMMITS: "raw files created",
    COMMIT_CONFLICTS: "commits tried again because another writer took the number",
    COMMITS_COMPLETED: "commits of a killed or concurrent writer whose derived files were written here",
    COMPRESSED_BYTES: "bytes read",
    DECOMPRESSED_BYTES: "bytes of text in them",
}

# Histograms over objects, each bucket a counter: the metric's name, what it measures, and its upper bounds.
SPREAD = "trailweave.spread"
HISTOGRAMS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "event_lag_seconds": (
        "From the last event of an object to its commit.",
        (60, 180, 300, 420, 600, 900, 1_200, 1_800, 3_600, 7_200, 21_600, 86_400, 604_800),
    ),
    "delivery_lag_seconds": (
        "From the sending of an object's message to its commit.",
        (1, 2, 5, 10, 20, 30, 60, 120, 300, 900, 3_600, 14_400, 86_400),
    ),
    "receive_lag_seconds": (
        "From the receiving of an object's message to its commit.",
        (1, 2, 5, 10, 20, 30, 60, 120, 300, 900, 3_600),
    ),
    "object_size_bytes": (
        "Size of an object as stored.",
        (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000),
    ),
    "object_records": ("Records of an object.", (0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)),
}
# By reason, which stage and scope of a letter tell; what stands there names no object, so that the metric is bounded.
REASONS = "trailweave.dead_letters"
_REASONS = {
    ("parse_notifications", "message"): "unreadable_message",
    ("fetch_objects", "object"): "missing_object",
    ("explode_records", "object"): "unreadable_object",
    ("explode_records", "record"): "bad_record",
}
DEAD_LETTER_REASONS = (*_REASONS.values(), "other")
# By stage: milliseconds at work, as Beam samples them.
STAGE_MS = "trailweave.stage_ms"
# Beam counts in whole numbers: a sum is kept in thousandths.
PARTS = 1_000


def reason_of(letter: DeadLetter) -> str:
    """Why there is a dead letter, as the metric tells it."""
    return _REASONS.get((letter.stage, letter.scope), "other")


def bucket(name: str, bound: str) -> str:
    """The name that a run's counts have for a bucket of a histogram; `sum` for its sum."""
    return f"{SPREAD}/{name}/{bound}"


def observed(part: ObjectPart, now: datetime) -> dict[str, float]:
    """What the histograms measure of an object that is done at `now`, by their names."""
    found: dict[str, float] = {"object_size_bytes": part.compressed_bytes, "object_records": part.records}
    if part.written and part.last_event_time:
        found["event_lag_seconds"] = (now - part.last_event_time).total_seconds()
    if part.message and part.message.sent:
        found["delivery_lag_seconds"] = (now - part.message.sent).total_seconds()
    if part.message and part.message.received:
        found["receive_lag_seconds"] = (now - part.message.received).total_seconds()
    return found


def in_buckets(name: str, values: Sequence[float]) -> dict[str, int]:
    """What observations add to the counters of a histogram, by bound; and to its sum."""
    bounds = HISTOGRAMS[name][1]
    found = Counter(bisect_left(bounds, value) for value in values)
    texts = [*map(str, bounds), "+Inf"]
    return {**{texts[place]: count for place, count in found.items()}, "sum": sum(round(it * PARTS) for it in values)}
