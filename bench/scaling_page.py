"""docs/scaling.md, from what was measured."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.costs import MANY, Compared, Found, asked_of, costs, cpu_of, organisations
from bench.days import Day, day


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
        objects=found.local.alone.first.objects,
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
                for it in [day(MANY, known, max_wait_s=wait, max_messages=messages)]
            ],
        ),
    )


def _cpu(found: Found) -> str:
    queued = found.queued
    rows: list[tuple[str, float | None, float | None]] = [
        ("a record", found.record_cpu_s, found.record_cpu_s),
        ("an object", found.object_cpu_s, found.queued_object_cpu_s),
        ("a commit", found.local.of_commit(cpu_of), queued.of_commit(cpu_of)),
        (
            "the first commit of a partition",
            found.local.of_commit(cpu_of, is_first=True),
            queued.of_commit(cpu_of, is_first=True),
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
