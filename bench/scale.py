"""`python -m bench.scale`: measure what an object and a record cost here, and write docs/scaling.md from it."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.days import Costs, Day, Organisation, day
from bench.measure import Measurement, answer, child, measure
from bench.workloads import CACHE, LARGE, TINY, WARM_UP, Workload
from pipeline.demo.emulator import emulator, provision, upload
from schemas import counters

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"
_MANY = Organisation("10,000 accounts", 10_000, 2, 144, 12)
_ROUNDS = 3
_QUEUED = Workload("queued", objects=1_200, events=24_000)
_DATASETS = ("aws_s3_raw", "cloud_audit_logs", "sessions", "detections")


@dataclass(frozen=True)
class Replayed:
    """One replay: what it took, milliseconds at work by stage, and bytes and files of each dataset."""

    measured: Measurement
    objects: int
    text_bytes: int
    gzip_bytes: int
    stage_ms: dict[str, int]
    stored: dict[str, tuple[int, int]]


def replayed(objects: Path, output: Path) -> Replayed:
    """Replay a folder in this process."""
    from pipeline import commands
    from transforms.list_objects import Selection

    found: list[Any] = []

    def work() -> int:
        config = commands.load(output=str(output))
        options: dict[str, Any] = {"workers": 1, "force": False, "dead_letters": False, "beam_flags": []}
        found.append(commands.replay(config, [str(objects)], Selection(), quiet=True, **options))
        return int(found[0].as_json()["records"])

    measured = measure(work)
    counts = found[0].counts
    stages = {
        name.rpartition("/")[2]: number for name, number in counts.items() if name.startswith(counters.STAGE_MS)
    }
    sizes = counts[counters.DECOMPRESSED_BYTES], counts[counters.COMPRESSED_BYTES]
    return Replayed(measured, counts[counters.OBJECTS_READ], *sizes, stages, _stored(output))


def _stored(output: Path) -> dict[str, tuple[int, int]]:
    files = {name: [*output.glob(f"{name}/**/*.parquet")] for name in _DATASETS}
    return {name: (len(found), sum(it.stat().st_size for it in found)) for name, found in files.items()}


def requested(workload: Workload) -> tuple[int, Counter[str]]:
    """Ingest from an emulated queue and bucket into another bucket: how many objects, and each request by name."""
    from pipeline import commands
    from transforms.stores import aws

    asked: Counter[str] = Counter()
    with emulator() as emulated, emulated.applied():
        access = aws.Access(endpoint_url=emulated.endpoint_url)
        s3, sqs = aws.client("s3", access), aws.client("sqs", access)
        s3.create_bucket(Bucket="lake")
        url = provision(s3, sqs, bucket="trail", queue="trail")
        upload(s3, "trail", workload.bodies())
        for client in (aws.client(service, aws.Access()) for service in ("s3", "sqs")):
            client.meta.events.register("before-call", lambda model, **_: asked.update([model.name]))
        config = commands.load(output="s3://lake/root")
        summary = commands.ingest(config, [], url, until_idle_s=2.0, beam_flags=[], quiet=True)
    return summary.counts[counters.OBJECTS_READ], asked


def main(arguments: Sequence[str]) -> None:
    """Measure and write the page; as a child, do one measurement and print it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if arguments and arguments[0] == "requests":
        objects, asked = requested(_QUEUED)
        print(json.dumps({"objects": objects, "asked": asked}))
    elif arguments:
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="output-") as folder:
            replayed(Path(arguments[1]), Path(folder, "warm"))
            found = replayed(Path(arguments[0]), Path(folder, "measured"))
        print(json.dumps({**vars(found), "measured": vars(found.measured)}))
    else:
        large, tiny = _best(LARGE), _best(TINY.scaled("tiny-fourfold", 4))
        with child("bench.scale", "requests") as output:
            queued = answer(output)
        PAGE.write_text(page(large, tiny, queued["objects"], Counter(queued["asked"])), encoding="utf-8")
        print(f"wrote {PAGE.name}", file=sys.stderr)


def _best(workload: Workload) -> Replayed:
    found = []
    for _ in range(_ROUNDS):
        with child("bench.scale", str(workload.folder()), str(WARM_UP.folder())) as output:
            told = answer(output)
        found.append(Replayed(Measurement(**told.pop("measured")), **told))
    return min(found, key=lambda it: it.measured.cpu_s)


def costs(large: Replayed, tiny: Replayed, objects: int, asked: Counter[str]) -> Costs:
    """The cost of a record and of an object: what objects of many and of few records cost tells them apart."""
    of_large, of_tiny = large.measured.cpu_s / large.objects, tiny.measured.cpu_s / tiny.objects
    records_large, records_tiny = large.measured.records / large.objects, tiny.measured.records / tiny.objects
    record = (of_large - of_tiny) / (records_large - records_tiny)
    commits = large.stored["aws_s3_raw"][0]

    def each(*names: str) -> float:
        return sum(asked[name] for name in names) / objects

    return Costs(
        record_cpu_s=record,
        object_cpu_s=max(0.0, of_tiny - record * records_tiny),
        text_bytes=large.text_bytes / large.measured.records,
        gzip_bytes=large.gzip_bytes / large.measured.records,
        stored=sum(size for _, size in large.stored.values()) / large.measured.records,
        files=sum(count for count, _ in large.stored.values()) / commits,
        receives=each("ReceiveMessage"),
        deletes=each("DeleteMessageBatch"),
        extensions=each("ChangeMessageVisibilityBatch"),
        gets=each("GetObject", "HeadObject"),
        lists=asked["ListObjectsV2"] / asked["PutObject"],
        worker_bytes=max(large.measured.peak_bytes, tiny.measured.peak_bytes),
    )


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


def page(large: Replayed, tiny: Replayed, objects: int, asked: Counter[str]) -> str:
    """The whole page."""
    found = costs(large, tiny, objects, asked)
    days = [day(it, found) for it in organisations(found)]
    waits = [(30, 1_000), (120, 5_000), (300, 20_000)]
    texts = (Path(__file__).parent / "scaling.md.txt").read_text(encoding="utf-8")
    return texts.format(
        machine=f"{os.cpu_count()} cores, Python {sys.version.split()[0]}",
        record_us=found.record_cpu_s * 1e6,
        object_us=found.object_cpu_s * 1e6,
        text_bytes=found.text_bytes,
        gzip_bytes=found.gzip_bytes,
        worker_mb=found.worker_bytes / 1e6,
        stages=_stages(large, tiny),
        stored=_table(
            ("dataset", "bytes a record", "files a commit"),
            [
                (f"`{name}`", f"{size / large.measured.records:.0f}", f"{count / large.stored['aws_s3_raw'][0]:.2f}")
                for name, (count, size) in large.stored.items()
            ],
        ),
        requests=_table(
            ("request", "of one object"),
            [(f"`{name}`", f"{count / objects:.3f}") for name, count in sorted(asked.items())],
        ),
        objects=objects,
        days=_days(days),
        waits=_table(
            ("`max_wait`", "`max_messages`", "micro-batches", "files a day", "$ a day"),
            [
                (str(wait), f"{messages:,}", f"{it.batches:,}", f"{it.files:,}", f"{it.dollars:,.2f}")
                for wait, messages in waits
                for it in [day(_MANY, found, max_wait_s=wait, max_messages=messages)]
            ],
        ),
    )


def _stages(large: Replayed, tiny: Replayed) -> str:
    names = [name for name, _ in Counter(large.stage_ms).most_common()]
    rows = []
    for name in names:
        shares = [it.stage_ms.get(name, 0) / sum(it.stage_ms.values()) * it.measured.cpu_us for it in (large, tiny)]
        if max(shares) >= 0.05:
            rows.append((name, *(f"{share:.1f}" for share in shares)))
    total = ("all of it", f"{large.measured.cpu_us:.1f}", f"{tiny.measured.cpu_us:.1f}")
    return _table(("stage", "objects of 1,000 records", "objects of 12"), [*rows, total])


def _days(days: Sequence[Day]) -> str:
    rows = []
    for it in days:
        of = it.organisation
        rows.append(
            (
                of.name,
                f"{of.objects:,}",
                f"{of.events / 1e6:,.2f} M",
                f"{it.text_bytes / 1e9:,.1f}",
                f"{it.cores:.3f}",
                f"{it.files:,}",
                f"{it.merged:,}",
                f"{it.sqs_requests:,}",
                f"{it.s3_requests:,}",
                f"{it.dollars:,.2f}",
                it.limit,
            )
        )
    names = ("", "objects", "events", "GB of JSON", "cores", "files", "after `compact`", "to SQS", "to S3", "$ a day")
    return _table((*names, "felt first"), rows)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


if __name__ == "__main__":
    main(sys.argv[1:])
