"""`python -m bench.scale`: measure what an object and a record cost here, and write docs/scaling.md from it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from bench.days import Costs, Day, Organisation, day
from bench.measure import Measurement, answer, child, measure
from bench.stages import timed
from bench.workloads import CACHE, LARGE, TINY, WARM_UP, Workload
from pipeline.demo.emulator import Emulator, emulator, provision, upload
from schemas import counters

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
_MANY = Organisation("10,000 accounts", 10_000, 2, 144, 12)
_ROUNDS = 2
_DATASETS = ("aws_s3_raw", "cloud_audit_logs", "sessions", "detections")
# Objects of twelve records: each alone in its partition, or the same ones in four partitions; they come in visits.
_VISITS, _ACCOUNTS = 4, 400
TOGETHER = Workload("together", objects=_VISITS * _ACCOUNTS, events=_VISITS * _ACCOUNTS * 12, spread=0, days=1)
ALONE = replace(TOGETHER, name="alone", accounts=_ACCOUNTS)
_WORKLOADS = {it.name: it for it in (TOGETHER, ALONE)}
_IDLE_S = 1.5
_IDLE_RUNS = 5
_LONG = LARGE.scaled("long", 4)
# Few enough that both processes have some all the time.
_BATCH = 50


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
            *(sum(getattr(it, name) for it in rest) for name in ("objects", "records", "commits", "cpu_s")),
            asked=_added([it.asked for it in rest]),
            stages=_added([it.stages for it in rest]),
        )


def replayed(objects: Path, output: Path) -> Replayed:
    """Replay a folder in this process."""
    found: list[Counter[str]] = []

    def work() -> int:
        found.append(_replay(objects, output))
        return found[0][counters.RECORDS]

    with timed() as spent:
        measured = measure(work)
    counts = found[0]
    sizes = counts[counters.DECOMPRESSED_BYTES], counts[counters.COMPRESSED_BYTES]
    return Replayed(measured, counts[counters.OBJECTS_READ], *sizes, dict(spent), _stored(output))


def _replay(objects: Path, output: Path, workers: int = 1) -> Counter[str]:
    from pipeline import commands
    from transforms.list_objects import Selection

    config = commands.load(output=str(output))
    options: dict[str, Any] = {"workers": workers, "force": False, "dead_letters": False, "beam_flags": []}
    return commands.replay(config, [str(objects)], Selection(), quiet=True, **options).counts


def _stored(output: Path) -> dict[str, tuple[int, int]]:
    files = {name: [*output.glob(f"{name}/**/*.parquet")] for name in _DATASETS}
    return {name: (len(found), sum(it.stat().st_size for it in found)) for name, found in files.items()}


def visited(workload: Workload, folder: Path) -> Visits:
    """Replay the workload's visits from a folder into another, in this process."""
    output = folder / "output"
    each = []
    for number, objects in enumerate(_cut(workload)):
        source = folder / f"visit-{number}"
        for key, body in objects:
            path = source / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
        each.append(_visit(lambda source=source: _replay(source, output), Counter()))  # type: ignore[misc]
    return Visits(tuple(each), _stored(output))


def requested(workload: Workload, emulated: Emulator) -> Visits:
    """Ingest the workload's visits from a queue and a bucket into another bucket, in this process."""
    from pipeline.commands import begin, load, queue_sources
    from pipeline.ingest import ingest_until_stopped
    from transforms.receive_messages import Limits
    from transforms.stores import aws

    asked: Counter[str] = Counter()
    access = aws.Access(endpoint_url=emulated.endpoint_url)
    s3, sqs = aws.client("s3", access), aws.client("sqs", access)
    s3.create_bucket(Bucket="lake")
    url = provision(s3, sqs, bucket="trail", queue="trail")
    for client in (aws.client(service, aws.Access()) for service in ("s3", "sqs")):
        client.meta.events.register("before-call", lambda model, **_: asked.update([model.name]))
    config = load(output="s3://lake/root")
    plan = begin(config, queue_sources(config, [], url))

    def ingest(idle_s: float = _IDLE_S) -> Counter[str]:
        return ingest_until_stopped(plan, Limits(_ACCOUNTS), until_idle_s=idle_s, quiet=True).counts

    ingest()
    each = []
    for objects in _cut(workload):
        upload(s3, "trail", objects)
        each.append(_visit(ingest, asked))
    idle = [measure(lambda: ingest(0.1)[counters.RECORDS]).cpu_s for _ in range(_IDLE_RUNS)]
    return Visits(tuple(each), {}, min(idle))


def _cut(workload: Workload) -> Iterator[list[tuple[str, bytes]]]:
    bodies = workload.bodies()
    while objects := list(islice(bodies, _ACCOUNTS)):
        yield objects


def _visit(work: Callable[[], Counter[str]], asked: Counter[str]) -> Visit:
    asked.clear()
    found: list[Counter[str]] = []

    def once() -> int:
        found.append(work())
        return found[0][counters.RECORDS]

    with timed() as spent:
        measured = measure(once)
    objects, commits = found[0][counters.OBJECTS_READ], found[0][counters.COMMITS]
    return Visit(objects, measured.records, commits, measured.cpu_s, dict(asked), dict(spent))


def _added(counts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {name: sum(it.get(name, 0) for it in counts) for name in dict.fromkeys(key for it in counts for key in it)}


@dataclass(frozen=True)
class Worked:
    """What some processes took for the same objects: seconds of CPU, without the emulated AWS, and of wall."""

    records: int
    cpu_s: float
    wall_s: float


def replayed_by(workers: int, objects: Path, output: Path) -> Worked:
    """Replay a folder by some processes, which have to be started first."""
    found = measure(lambda: _replay(objects, output, workers)[counters.RECORDS])
    return Worked(found.records, found.cpu_s, found.wall_s)


def ingested_by(workers: int, workload: Workload, output: Path) -> Worked:
    """Ingest a full queue by some processes; the wall time ends with the last object."""
    import duckdb

    from pipeline import commands
    from transforms.stores import aws

    with emulator() as emulated, emulated.applied():
        access = aws.Access(endpoint_url=emulated.endpoint_url)
        s3, sqs = aws.client("s3", access), aws.client("sqs", access)
        url = provision(s3, sqs, bucket="trail", queue="trail")
        upload(s3, "trail", workload.bodies())
        begin = time.time()
        config = commands.load(output=str(output), max_messages=_BATCH)
        options: dict[str, Any] = {"until_idle_s": 2.0, "beam_flags": [], "quiet": True, "workers": workers}
        found = measure(lambda: commands.ingest(config, [], url, **options).counts[counters.RECORDS])
    ended = duckdb.sql(f"SELECT epoch(max(logged_time)) FROM '{output}/ingest_log/*/*.parquet'").fetchall()[0][0]
    return Worked(found.records, found.cpu_s, ended - begin)


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
        _MANY,
        Organisation("1 TB of JSON", accounts, regions, deliveries, round(terabyte / found.text_bytes)),
        Organisation("1 TB of gzip", accounts, regions, deliveries, round(terabyte / found.gzip_bytes)),
    )


def page(found: Found) -> str:
    """The whole page."""
    known = costs(found)
    days = [day(it, known) for it in organisations(known)]
    waits = [(30, 1_000), (120, 5_000), (300, 20_000)]
    texts = (Path(__file__).parent / "scaling.md.txt").read_text(encoding="utf-8")
    return texts.format(
        machine=f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, load {os.getloadavg()[2]:.0f}",
        text_bytes=known.text_bytes,
        gzip_bytes=known.gzip_bytes,
        worker_mb=known.worker_bytes / 1e6,
        cpu=_cpu(found),
        stages=_stages(found),
        stored=_stored_table(found),
        requests=_requests(found.queued),
        objects=_ACCOUNTS,
        workers=_workers(found),
        days=_days(days),
        cores=_cores(days),
        commits_ms=known.commit_cpu_s * 1e3,
        waits=_table(
            ("`max_wait`", "`max_messages`", "micro-batches", "commits", "files", "GB stored", "cores", "$"),
            [
                (
                    *(str(wait), f"{messages:,}", f"{it.batches:,}", f"{it.commits:,}", f"{it.files:,}"),
                    *(f"{it.stored / 1e9:,.0f}", f"{it.all_cores:.2f}", f"{it.dollars:,.2f}"),
                )
                for wait, messages in waits
                for it in [day(_MANY, known, max_wait_s=wait, max_messages=messages)]
            ],
        ),
    )


def _cpu(found: Found) -> str:
    queued = found.queued
    rows = [
        ("a record", found.record_cpu_s, found.record_cpu_s),
        ("an object", found.object_cpu_s, found.queued_object_cpu_s),
        ("a commit", found.local.of_commit(cpu_of), queued.of_commit(cpu_of)),
        (
            "the first commit of a partition",
            *(it.of_commit(cpu_of, is_first=True) for it in (found.local, found.queued)),
        ),
        ("a run of the loop", None, queued.together.run_cpu_s),
    ]
    return _table(
        ("us of CPU", "`replay`, folders", "`ingest`, SQS and S3"),
        [(name, *("" if it is None else f"{it * 1e6:,.0f}" for it in values)) for name, *values in rows],
    )


def _stages(found: Found) -> str:
    alone = found.local.alone.steady
    columns = [
        *((it.stages, it.measured.cpu_s, it.measured.records) for it in (found.large, found.tiny)),
        (alone.stages, alone.cpu_s, alone.records),
    ]
    rows = [
        (name, *(f"{stages[name] / records * 1e6:.1f}" for stages, _, records in columns))
        for name in found.large.stages
    ]
    rest = [f"{(cpu - sum(stages.values())) / records * 1e6:.1f}" for stages, cpu, records in columns]
    total = [f"{cpu / records * 1e6:.1f}" for _, cpu, records in columns]
    return _table(
        ("us of CPU a record", "objects of 1,000", "objects of 12", "each alone in its partition"),
        [*rows, ("listing, Beam", *rest), ("all of it", *total)],
    )


def _stored_table(found: Found) -> str:
    large, alone = found.large, found.local.alone
    commits = sum(it.commits for it in alone.each)
    rows = [
        (f"`{name}`", f"{size / large.measured.records:.0f}", f"{quiet / commits:,.0f}", f"{files / commits:.2f}")
        for (name, (_, size)), (files, quiet) in zip(large.stored.items(), alone.stored.values(), strict=True)
    ]
    return _table(("dataset", "bytes a record", "bytes a commit of 12", "files a commit of 12"), rows)


def _requests(queued: Compared) -> str:
    names = sorted({name for visits in (queued.together, queued.alone) for it in visits.each for name in it.asked})
    rows = []
    for name in names:
        counts = asked_of(name)
        told = (queued.of_object(counts), queued.of_commit(counts), queued.of_commit(counts, is_first=True))
        if max(told) >= 0.005:
            rows.append((f"`{name}`", *(f"{it:.2f}" for it in told)))
    return _table(("request", "of an object", "of a commit", "of the first commit of a partition"), rows)


def _workers(found: Found) -> str:
    rows = []
    for name, (one, two) in (("`replay`", found.replay), ("`ingest`", found.ingest)):
        rows.append(
            (
                name,
                *(f"{it:.1f}" for it in (one.wall_s, two.wall_s, one.cpu_s, two.cpu_s)),
                f"{one.wall_s / two.wall_s:.2f}",
                f"{two.cpu_s / one.cpu_s:.2f}",
            )
        )
    names = ("wall s, one", "wall s, two", "CPU s, one", "CPU s, two", "times as fast", "times the CPU")
    return _table(("", *names), rows)


def _days(days: Sequence[Day]) -> str:
    rows = []
    for it in days:
        of = it.organisation
        rows.append(
            (
                *(of.name, f"{of.objects:,}", f"{of.events / 1e6:,.2f} M", f"{it.text_bytes / 1e9:,.1f}"),
                *(f"{it.commits:,}", f"{it.all_cores:.3f}", f"{it.files:,}", f"{it.merged:,}"),
                *(f"{it.stored / 1e9:,.1f}", f"{it.merged_bytes / 1e9:,.1f}"),
                *(f"{it.sqs_requests:,}", f"{it.s3_requests:,}", f"{it.dollars:,.2f}", it.limit),
            )
        )
    names = ("", "objects", "events", "GB of JSON", "commits", "cores", "files", "after `compact`", "GB stored")
    return _table((*names, "after `compact`", "to SQS", "to S3", "$", "felt first"), rows)


def _cores(days: Sequence[Day]) -> str:
    return _table(
        ("cores by cause", *days[0].cores),
        [(it.organisation.name, *(f"{share:.3f}" for share in it.cores.values())) for it in days],
    )


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def _measurement(arguments: Sequence[str], folder: Path) -> Any:
    """What a child measures: of its arguments the first says what."""
    match arguments:
        case ["replay", objects, warm_up]:
            _replay(Path(warm_up), folder / "warm")
            return replayed(Path(objects), folder / "measured")
        case ["visits", name]:
            _replay(WARM_UP.folder(), folder / "warm")
            return visited(_WORKLOADS[name], folder)
        case ["requests", name]:
            _replay(WARM_UP.folder(), folder / "warm")
            with emulator() as emulated, emulated.applied():
                return requested(_WORKLOADS[name], emulated)
        case ["replay by", workers]:
            _replay(WARM_UP.folder(), folder / "warm")
            return replayed_by(int(workers), _LONG.folder(), folder / "measured")
        case ["ingest by", workers]:
            _replay(WARM_UP.folder(), folder / "warm")
            return ingested_by(int(workers), _LONG, folder / "measured")
    raise ValueError(f"nothing is measured by {arguments}")


def _told(*arguments: str) -> dict[str, Any]:
    print(*arguments, file=sys.stderr)
    with child("bench.scale", *arguments) as output:
        return answer(output)


def _replay_of(workload: Workload) -> Replayed:
    found = [_told("replay", str(workload.folder()), str(WARM_UP.folder())) for _ in range(_ROUNDS)]
    runs = [Replayed(**{**it, "measured": Measurement(**it["measured"])}) for it in found]
    return min(runs, key=lambda it: it.measured.cpu_s)


def _visits_of(kind: str, workload: Workload) -> Visits:
    found = [_told(kind, workload.name) for _ in range(_ROUNDS)]
    runs = [Visits(**{**it, "each": tuple(Visit(**visit) for visit in it["each"])}) for it in found]
    return min(runs, key=lambda it: it.steady.cpu_s)


def measured() -> Found:
    """Everything that the page tells, each in a process of its own; of the rounds those with the least CPU."""
    LARGE.folder(), _LONG.folder()
    workers = {
        kind: tuple(Worked(**_told(kind, str(number))) for number in (1, 2)) for kind in ("replay by", "ingest by")
    }
    return Found(
        large=_replay_of(LARGE),
        tiny=_replay_of(TINY.scaled("tiny-fourfold", 4)),
        local=Compared(_visits_of("visits", TOGETHER), _visits_of("visits", ALONE)),
        queued=Compared(_visits_of("requests", TOGETHER), _visits_of("requests", ALONE)),
        replay=workers["replay by"],
        ingest=workers["ingest by"],
    )


def main(arguments: Sequence[str]) -> None:
    """Measure and write the page; as a child, do one measurement and print it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if arguments:
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="output-") as folder:
            print(json.dumps(asdict(_measurement(arguments, Path(folder)))))
    else:
        PAGE.write_text(page(measured()), encoding="utf-8")
        print(f"wrote {PAGE.name}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
