"""`python -m bench.scale`: measure what an object and a record cost here, and write docs/scaling.md from it."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

from bench.costs import Compared, Found, Replayed, Visit, Visits, Worked
from bench.measure import Measurement, answer, child, measure
from bench.scaling_page import page
from bench.stages import timed
from bench.workloads import CACHE, LARGE, TINY, WARM_UP, Workload
from pipeline.demo.emulator import Emulator, emulator, provision, upload
from schemas import counters

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
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
    from pipeline.ingestion.ingest import ingest_until_stopped
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
        options = commands.IngestOptions(until_idle_s=2.0, workers=workers, quiet=True)
        found = measure(lambda: commands.ingest(config, [], url, options).counts[counters.RECORDS])
    ended = duckdb.execute(f"SELECT epoch(max(logged_time)) FROM '{output}/ingest_log/*/*.parquet'").fetchall()[0][0]
    return Worked(found.records, found.cpu_s, ended - begin)


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
