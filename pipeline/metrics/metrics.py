"""What the loop of `ingest` counts, for Prometheus, and whether it turns, for a supervisor."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline.ingestion.ingest import Turn
from schemas import counters
from transforms.stores import queue
from transforms.stores.faults import CallFault
from transforms.stores.parquet import SCHEMA_VERSION
from transforms.stores.sources import Source

# A run of a full micro-batch takes minutes at most; a pause of the circuit breaker five.
STALLED_S = 1800.0

# What a run received and did not delete; not counted by any stage.
_RETURNED = "messages_returned"
# Metric name (without `_total`): what it means, and the counter of each value of its one label.
_COUNTERS: Mapping[str, tuple[str, str, Mapping[str, str]]] = {
    "messages_received": ("Messages taken from the queues.", "", {"": counters.MESSAGES_RECEIVED}),
    "messages_deleted": ("Messages deleted, their objects durable.", "", {"": counters.MESSAGES_DELETED}),
    "messages_returned": ("Messages received and not deleted: they are delivered again.", "", {"": _RETURNED}),
    "messages_expired": ("Messages dropped, their visibility at its end.", "", {"": counters.MESSAGES_EXPIRED}),
    "receive_errors": ("Receives that failed and were tried again.", "", {"": counters.RECEIVE_ERRORS}),
    "visibility_extensions": ("Extensions of messages in hand.", "", {"": counters.VISIBILITY_EXTENSIONS}),
    "objects": (
        "Objects by what became of them.",
        "outcome",
        {
            "done": counters.OBJECTS_READ,
            "settled": counters.OBJECTS_SETTLED,
            "dead_letter": counters.OBJECTS_DEAD,
            "deferred": counters.OBJECTS_DEFERRED,
        },
    ),
    "object_bytes": (
        "Bytes of objects.",
        "form",
        {"compressed": counters.COMPRESSED_BYTES, "decompressed": counters.DECOMPRESSED_BYTES},
    ),
    "records": ("Records found.", "", {"": counters.RECORDS}),
    "events": (
        "Events by what became of them.",
        "outcome",
        {
            "new": counters.EVENTS_WRITTEN,
            "repeat": counters.EVENTS_DUPLICATE,
            "expired": counters.EVENTS_EXPIRED,
        },
    ),
    "dead_letters": (
        "Dead letters by what they are.",
        "reason",
        {it: f"{counters.REASONS}/{it}" for it in counters.DEAD_LETTER_REASONS},
    ),
    "commits": ("Raw files created.", "", {"": counters.COMMITS}),
    "commit_conflicts": ("Commits whose number another writer took.", "", {"": counters.COMMIT_CONFLICTS}),
    "commits_completed": ("Commits of another writer completed here.", "", {"": counters.COMMITS_COMPLETED}),
}
_BY_SOURCE = {"read": counters.READ, "denied": counters.DENIED}


@dataclass(frozen=True, slots=True)
class Health:
    """What `/healthz` says: whether every loop has turned lately, and what keeps it from receiving."""

    loops: int
    since_turn_s: float
    circuits_open: tuple[str, ...]
    failed_runs: int

    @property
    def status(self) -> str:
        """`stalled` alone is what a restart helps against; the others heal by themselves, or by granting access."""
        if self.since_turn_s > STALLED_S:
            return "stalled"
        if self.circuits_open:
            return "circuit_open"
        return "failing" if self.failed_runs else "ok"

    def as_json(self) -> dict[str, Any]:
        """The body of the answer."""
        return {
            "status": self.status,
            "loops": self.loops,
            "seconds_since_turn": round(self.since_turn_s, 1),
            "circuits_open": list(self.circuits_open),
            "failed_runs_in_a_row": self.failed_runs,
        }


class Metrics(Collector):
    """The counts and turns of all loops of this command, added up. Told by the loop, asked by other threads."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = [it for it in sources if it.queue_url]
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._turns: dict[int, tuple[float, Turn]] = {}
        self._began = time.monotonic()
        self._last: dict[str, float] = {}
        self._depths: Mapping[tuple[str, str], int] = {}
        self._faults: Counter[tuple[str, str]] = Counter()
        # What was evaluated beside ingestion: whoever does that counts here.
        self.alerts: Counter[str] = Counter()

    def ran(self, counts: Counter[str]) -> None:
        """A run has ended with these counts."""
        with self._lock:
            self._counts += counts
            self._counts[_RETURNED] += max(0, counts[counters.MESSAGES_RECEIVED] - counts[counters.MESSAGES_DELETED])
            self._last["last_run"] = time.time()
            if counts[counters.EVENTS_WRITTEN]:
                self._last["last_new_events"] = time.time()

    def turned(self, turn: Turn) -> None:
        """A loop has turned, or has ended."""
        with self._lock:
            for action, code, count in turn.faults:
                self._faults[action, code] += count
            if turn.ended:
                self._turns.pop(turn.loop, None)
            else:
                self._turns[turn.loop] = time.monotonic(), turn

    def look_at_queues(self) -> None:
        """Ask each queue how many messages it holds; one that may not be asked has no such metric."""
        found = {}
        for source in self._sources:
            try:
                for state, count in queue.depth(source).items():
                    found[source.name, state] = count
            except CallFault:
                continue
        self._depths = found

    def health(self) -> Health:
        """As of now."""
        with self._lock:
            turns = list(self._turns.values())
        now = time.monotonic()
        return Health(
            loops=len(turns),
            since_turn_s=now - min((at for at, _ in turns), default=self._began),
            circuits_open=tuple(sorted({name for _, turn in turns for name in turn.circuits_open})),
            failed_runs=max((turn.failures for _, turn in turns), default=0),
        )

    def collect(self) -> Iterator[Metric]:
        """Every metric family, for the registry."""
        with self._lock:
            counts, last, faults = Counter(self._counts), dict(self._last), Counter(self._faults)
            in_flight = sum(turn.in_flight for _, turn in self._turns.values())
        yield from _counter_families(counts)
        yield from _histogram_families(counts)
        yield _stage_family(counts)
        yield GaugeMetricFamily("trailweave_messages_in_flight", "Messages in the hand of the loops.", in_flight)
        yield _labelled("aws_errors", "Calls of AWS that failed, each attempt.", ["action", "code"], faults.items())
        evaluated = [((it,), self.alerts[it]) for it in ("recorded", "delivered")]
        yield _labelled("alerts", "Alerts that are new or have changed, and deliveries.", ["outcome"], evaluated)
        yield from _source_families(counts, [it.name for it in self._sources], self.health())
        for name, text in (("last_run", "When a run ended last"), ("last_new_events", "When one wrote new events")):
            if name in last:
                yield GaugeMetricFamily(f"trailweave_{name}_timestamp_seconds", f"{text}, epoch.", last[name])
        messages = GaugeMetricFamily(
            "trailweave_queue_messages", "Messages in the queue.", labels=["source", "state"]
        )
        for labels, count in self._depths.items():
            messages.add_metric(labels, count)
        yield messages
        build = GaugeMetricFamily("trailweave_build_info", "What runs here.", labels=["version", "schema"])
        build.add_metric([version("trailweave"), str(SCHEMA_VERSION)], 1)
        yield build


def _counter_families(counts: Counter[str]) -> Iterator[Metric]:
    for name, (text, label, values) in _COUNTERS.items():
        family = CounterMetricFamily(f"trailweave_{name}", text, labels=[label] if label else [])
        for value, counter in values.items():
            family.add_metric([value] if label else [], counts[counter])
        yield family


def _labelled(
    name: str, text: str, labels: Sequence[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(f"trailweave_{name}", text, labels=labels)
    for given, value in sorted(values):
        family.add_metric(given, value)
    return family


def _histogram_families(counts: Counter[str]) -> Iterator[Metric]:
    for name, (text, bounds) in counters.HISTOGRAMS.items():
        told = 0
        buckets = []
        for bound in (*map(str, bounds), "+Inf"):
            told += counts[counters.bucket(name, bound)]
            buckets.append((bound, told))
        total = counts[counters.bucket(name, "sum")] / counters.PARTS
        family = HistogramMetricFamily(f"trailweave_{name}", text)
        family.add_metric([], buckets, total)
        yield family


def _stage_family(counts: Counter[str]) -> Metric:
    start = f"{counters.STAGE_MS}/"
    spent = [((name.removeprefix(start),), ms / 1_000) for name, ms in counts.items() if name.startswith(start)]
    return _labelled(
        "stage_seconds", "Seconds at work by stage of the graph, as Beam samples them.", ["stage"], spent
    )


def _source_families(counts: Counter[str], sources: Sequence[str], health: Health) -> Iterator[Metric]:
    objects = CounterMetricFamily(
        "trailweave_source_objects", "Objects of a source that were read or denied.", labels=["source", "outcome"]
    )
    circuits = GaugeMetricFamily(
        "trailweave_circuit_open", "1 while nothing is received since all is denied.", labels=["source"]
    )
    for source in sources:
        for outcome, space in _BY_SOURCE.items():
            objects.add_metric([source, outcome], counts[f"{space}/{source}"])
        circuits.add_metric([source], source in health.circuits_open)
    yield objects
    yield circuits
    yield GaugeMetricFamily("trailweave_loops", "Loops that run: processes of --workers.", health.loops)
    yield GaugeMetricFamily("trailweave_failed_runs_in_a_row", "Runs that failed, the last ones.", health.failed_runs)
    yield GaugeMetricFamily(
        "trailweave_seconds_since_turn", "Since the slowest loop has turned last.", health.since_turn_s
    )
