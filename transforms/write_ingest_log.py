"""WriteIngestLog: one row for each object that ended in this slice, with its outcome and counts."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from schemas import counters
from schemas.datasets import INGEST_LOG
from schemas.values import ObjectPart, ObjectRef, Slice
from transforms.dofn import StageFn
from transforms.stores.files import Output, Store, open_store
from transforms.stores.keys import facts, is_of_tree
from transforms.stores.parquet import LOG_LAYOUT, encode
from transforms.stores.tree import dated_path

log = logging.getLogger(__name__)

_ADDED = ("records", "written", "duplicates", "expired", "dead_letters", "compressed_bytes", "decompressed_bytes")
_TOLD = ("outcome", "reason", "provider", "first_event_time", "last_event_time")


class Ledger:
    """Adds up the parts of each object over the slices of a batch."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, ObjectRef], ObjectPart] = {}

    def fold(self, filled: Slice) -> list[ObjectPart]:
        """The objects that end in this slice, each as the sum of its parts."""
        ended = []
        for part in filled.objects:
            key = part.source, part.ref
            total = add(self._open.pop(key, None), part)
            if part.last:
                ended.append(total)
            else:
                self._open[key] = total
        return ended


def add(one: ObjectPart | None, other: ObjectPart) -> ObjectPart:
    """Two parts of one object as one: counts add up, times widen, the worse outcome and its reason hold."""
    if one is None:
        return other
    firsts = [it.first_event_time for it in (one, other) if it.first_event_time]
    lasts = [it.last_event_time for it in (one, other) if it.last_event_time]
    worse = one if one.outcome != "done" else other
    return other.but(
        **{name: getattr(one, name) + getattr(other, name) for name in _ADDED},
        outcome=worse.outcome,
        reason=worse.reason,
        provider=other.provider or one.provider,
        first_event_time=min(firsts, default=None),
        last_event_time=max(lasts, default=None),
    )


def ingest_log_rows(ended: Sequence[ObjectPart], run_id: str, now: datetime) -> pa.Table:
    """The objects as rows of `ingest_log`."""
    refs = [part.ref for part in ended]
    keys = [facts(ref.key) for ref in refs]
    messages = [part.message for part in ended]
    columns: dict[str, list[Any]] = {
        "logged_time": [now] * len(ended),
        "run_id": [run_id] * len(ended),
        "source_name": [part.source for part in ended],
        "object_bucket": [ref.bucket for ref in refs],
        "object_key": [ref.key for ref in refs],
        "object_version": [ref.version for ref in refs],
        "object_etag": [ref.etag for ref in refs],
        "key_account_id": [key.account for key in keys],
        "key_region": [key.region for key in keys],
        "key_day": [key.day for key in keys],
        **{name: [getattr(part, name) for part in ended] for name in (*_TOLD, *_ADDED)},
        "message_id": [it and it.message_id for it in messages],
        "sent_time": [it and it.sent for it in messages],
        "receive_count": [it and it.receive_count for it in messages],
    }
    return pa.Table.from_pydict(columns, INGEST_LOG.arrow)


def write_ingest_log(ended: Sequence[ObjectPart], store: Store, run_id: str) -> None:
    """Create one file of the objects' rows under today's day; nothing for no objects.

    A file of an output root that a queue announces has no row: the row's own file would be announced, for ever.
    """
    logged = [part for part in ended if not _is_announced_output(part)]
    if logged:
        now = datetime.now(UTC)
        store.create(dated_path(INGEST_LOG, now), encode(ingest_log_rows(logged, run_id, now), LOG_LAYOUT))
    if len(logged) < len(ended):
        _warn_of_loop(next(part.ref.bucket for part in ended if _is_announced_output(part)))


def _is_announced_output(part: ObjectPart) -> bool:
    return part.outcome == "ignored" and part.message is not None and is_of_tree(part.ref.key)


@lru_cache(maxsize=64)
def _warn_of_loop(bucket: str) -> None:
    """Once for a bucket and process."""
    log.warning(
        "output_announced: the queue announces files of an output of trailweave in s3://%s, which are passed over;"
        " limit the bucket's notification to the trail's prefix, or put the output into another bucket",
        bucket,
    )


def spread(ended: Sequence[ObjectPart], now: datetime) -> Counter[str]:
    """What the histograms count of the objects that are done: `name/bound`, and `name/sum`."""
    seen: defaultdict[str, list[float]] = defaultdict(list)
    for part in ended:
        if part.outcome == "done":
            for name, value in counters.observed(part, now).items():
                seen[name].append(value)
    return Counter(
        {
            f"{name}/{bound}": n
            for name, values in seen.items()
            for bound, n in counters.in_buckets(name, values).items()
        }
    )


@dataclass(eq=False)
class WriteIngestLog(beam.PTransform[Any, Any]):
    """Slice in, the same slice out once the outcome of each object that it ends is durable."""

    output: Output
    run_id: str

    def expand(self, slices: Any) -> Any:
        """Log the objects of each slice."""
        return slices | beam.ParDo(_Write(self.output, self.run_id)).with_output_types(Slice)


class _Write(StageFn):
    def __init__(self, output: Output, run_id: str) -> None:
        self._output, self._run_id = output, run_id
        self._outcomes = {
            outcome: Metrics.counter(counters.NAMESPACE, name)
            for outcome, name in {
                "done": counters.OBJECTS_READ,
                "dead_letter": counters.OBJECTS_DEAD,
                "deferred": counters.OBJECTS_DEFERRED,
                "digest": counters.OBJECTS_SETTLED,
                "ignored": counters.OBJECTS_SETTLED,
            }.items()
        }
        self._counts = {
            field: Metrics.counter(counters.NAMESPACE, name)
            for field, name in {
                "records": counters.RECORDS,
                "written": counters.EVENTS_WRITTEN,
                "duplicates": counters.EVENTS_DUPLICATE,
                "expired": counters.EVENTS_EXPIRED,
                "compressed_bytes": counters.COMPRESSED_BYTES,
                "decompressed_bytes": counters.DECOMPRESSED_BYTES,
            }.items()
        }

    def setup(self) -> None:
        self._store = open_store(self._output)

    def start_bundle(self) -> None:
        self._ledger = Ledger()

    def process(self, filled: Slice) -> Iterator[Slice]:
        ended = self._ledger.fold(filled)
        write_ingest_log(ended, self._store, self._run_id)
        for part in ended:
            self._outcomes[part.outcome].inc()
            if part.outcome == "done":
                Metrics.counter(counters.READ, part.source).inc()
        for name, count in spread(ended, datetime.now(UTC)).items():
            Metrics.counter(counters.SPREAD, name).inc(count)
        for field, counter in self._counts.items():
            counter.inc(sum(getattr(part, field) for part in ended))
        yield filled
