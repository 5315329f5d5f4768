"""The one vocabulary of counters: what the stages count, and what the summaries, the demo and `status` print."""

from __future__ import annotations

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
