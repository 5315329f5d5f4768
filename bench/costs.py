"""What was measured for docs/scaling.md, and what records, objects, commits and runs cost by it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bench.days import Costs, Organisation
from bench.measure import Measurement

MANY = Organisation("10,000 accounts", 10_000, 2, 144, 12)


@dataclass(frozen=True)
class Replayed:
    """One replay: what it took, CPU seconds by stage, and bytes and files of each dataset."""

    measured: Measurement
    objects: int
    text_bytes: int
    gzip_bytes: int
    stages: dict[str, float]
    stored: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Visit:
    """What objects that came at once took: CPU seconds, all of it and by stage, and each request by name."""

    objects: int
    records: int
    commits: int
    cpu_s: float
    asked: dict[str, int]
    stages: dict[str, float]


@dataclass(frozen=True)
class Visits:
    """Visits of the same accounts, one after the other, and what they left: bytes and files by dataset.

    `run_cpu_s` is what a run without any message takes.
    """

    each: tuple[Visit, ...]
    stored: dict[str, tuple[int, int]]
    run_cpu_s: float = 0.0

    @property
    def first(self) -> Visit:
        """The one that found nothing in memory."""
        return self.each[0]

    @property
    def steady(self) -> Visit:
        """All but the first, as one."""
        rest = self.each[1:]
        return Visit(
            objects=sum(it.objects for it in rest),
            records=sum(it.records for it in rest),
            commits=sum(it.commits for it in rest),
            cpu_s=sum(it.cpu_s for it in rest),
            asked=_added([it.asked for it in rest]),
            stages=_added([it.stages for it in rest]),
        )


def _added(counts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(it.get(name, 0) for it in counts) for name in dict.fromkeys(key for it in counts for key in it)}


@dataclass(frozen=True)
class Worked:
    """What some processes took for the same objects: seconds of CPU, without the emulated AWS, and of wall."""

    records: int
    cpu_s: float
    wall_s: float


@dataclass(frozen=True)
class Compared:
    """The same objects in few partitions, and each alone in its own: what a commit adds is the difference."""

    together: Visits
    alone: Visits

    def of_commit(self, what: Callable[[Visit], float], *, is_first: bool = False) -> float:
        """What a commit takes of something; with `is_first` the first one of a partition that this process sees."""
        few, many = (it.first if is_first else it.steady for it in (self.together, self.alone))
        return max(0.0, (what(many) - what(few)) / (many.commits - few.commits))

    def of_object(self, what: Callable[[Visit], float]) -> float:
        """What an object and its records take beside its commit."""
        few = self.together.steady
        return max(0.0, (what(few) - few.commits * self.of_commit(what)) / few.objects)


@dataclass(frozen=True)
class Found:
    """Everything that was measured. `replay` and `ingest` are by one process and by two."""

    large: Replayed
    tiny: Replayed
    local: Compared
    queued: Compared
    replay: tuple[Worked, ...]
    ingest: tuple[Worked, ...]

    @property
    def record_cpu_s(self) -> float:
        """CPU of a record: what objects of many and of few records cost tells it from the object's."""
        return (self._of(self.large) - self._of(self.tiny)) / (self._records(self.large) - self._records(self.tiny))

    @property
    def object_cpu_s(self) -> float:
        """CPU of an object in a folder, beside its records."""
        return max(0.0, self._of(self.tiny) - self.record_cpu_s * self._records(self.tiny))

    @property
    def queued_object_cpu_s(self) -> float:
        """CPU of an object that is announced in a queue and read from a bucket, beside its records."""
        few = self.queued.together.steady
        # Each visit is a run with messages and one without.
        runs = 2 * (len(self.queued.together.each) - 1) * self.queued.together.run_cpu_s
        whole = self.queued.of_object(cpu_of) - runs / few.objects
        return max(0.0, whole - self.record_cpu_s * few.records / few.objects)

    @staticmethod
    def _of(it: Replayed) -> float:
        return it.measured.cpu_s / it.objects

    @staticmethod
    def _records(it: Replayed) -> float:
        return it.measured.records / it.objects


def cpu_of(visit: Visit) -> float:
    """Its CPU seconds."""
    return visit.cpu_s


def asked_of(*names: str) -> Callable[[Visit], float]:
    """How many requests of these names it made."""
    return lambda visit: sum(visit.asked.get(name, 0) for name in names)


def costs(found: Found) -> Costs:
    """What the days are simulated with: a queue, and buckets on both sides."""
    large, alone, queued = found.large, found.local.alone, found.queued
    commits = sum(it.commits for it in alone.each)
    stored = _bytes(large.stored) / large.measured.records
    records = sum(it.records for it in alone.each)
    return Costs(
        record_cpu_s=found.record_cpu_s,
        object_cpu_s=found.queued_object_cpu_s,
        commit_cpu_s=queued.of_commit(cpu_of),
        run_cpu_s=queued.together.run_cpu_s,
        text_bytes=large.text_bytes / large.measured.records,
        gzip_bytes=large.gzip_bytes / large.measured.records,
        stored=stored,
        commit_bytes=max(0.0, (_bytes(alone.stored) - records * stored) / commits),
        files=sum(count for count, _ in alone.stored.values()) / commits,
        deletes=queued.of_object(asked_of("DeleteMessageBatch")),
        extensions=queued.of_object(asked_of("ChangeMessageVisibilityBatch")),
        gets=queued.of_object(asked_of("GetObject", "HeadObject")),
        worker_bytes=max(large.measured.peak_bytes, found.tiny.measured.peak_bytes),
    )


def _bytes(stored: dict[str, tuple[int, int]]) -> int:
    return sum(size for _, size in stored.values())


def organisations(found: Costs) -> tuple[Organisation, ...]:
    """Those on the page; a terabyte a day comes from 500 accounts with four regions each."""
    accounts, regions, deliveries = 500, 4, 288
    terabyte = 1e12 / (accounts * regions * deliveries)
    return (
        Organisation("1 account", 1, 3, 288, 20),
        Organisation("100 accounts", 100, 3, 288, 20),
        MANY,
        Organisation("1 TB of JSON", accounts, regions, deliveries, round(terabyte / found.text_bytes)),
        Organisation("1 TB of gzip", accounts, regions, deliveries, round(terabyte / found.gzip_bytes)),
    )
