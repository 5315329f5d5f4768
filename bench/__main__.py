"""`python -m bench`: measure, print a table and whether the goals are met. A timing never fails the command."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.contenders import measured
from bench.measure import Measurement, fastest
from bench.queued import MAX_WAIT_S, Ingested, from_full_queue, from_steady_feed
from bench.workloads import LARGE, LOW, TENFOLD, TINY, Workload

_MEMORY_BYTES = 700_000_000


@dataclass(frozen=True)
class Goal:
    """A ratio or a size and what it should be at most (or, for `least`, at least); no limit, no goal."""

    name: str
    value: float
    limit: float | None = None
    least: bool = False

    @property
    def met(self) -> bool | None:
        """Whether it is; None without a limit."""
        if self.limit is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit


@dataclass
class Report:
    """What was measured, by part and contender, and the goals."""

    rounds: int
    runs: dict[str, dict[str, Measurement]] = field(default_factory=dict)
    ingests: dict[str, Ingested] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)

    def run(self, part: str, workloads: dict[str, tuple[str, Workload]]) -> dict[str, Measurement]:
        """Measure (contender, workload) by name, round by round so that all meet the same weather."""
        rounds = [
            {name: measured(contender, workload) for name, (contender, workload) in workloads.items()}
            for _ in range(self.rounds)
        ]
        self.runs[part] = {name: fastest([it[name] for it in rounds]) for name in workloads}
        return self.runs[part]

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "runs": {part: {name: _told(it) for name, it in found.items()} for part, found in self.runs.items()},
            "ingest": {name: asdict(it) for name, it in self.ingests.items()},
            "goals": [{**asdict(goal), "met": goal.met} for goal in self.goals],
        }


def _told(found: Measurement) -> dict[str, float]:
    return {**asdict(found), "cpu_us_per_record": found.cpu_us, "records_per_cpu_s": found.per_cpu_s}


def compare(report: Report, workload: Workload, limits: dict[str, float]) -> None:
    """The product beside its contenders on one workload: `both datasets` does what they do, and more of it."""
    contenders = ("trailweave", "both datasets", "floor", "duckdb", "duckdb threads", "chdb")
    found = report.run(workload.name, {name: (name, workload) for name in contenders})
    ours, alike = found["trailweave"], found["both datasets"]
    report.goals += [
        Goal(f"{workload.name}: both datasets, CPU / {name}", alike.cpu_us / found[name].cpu_us, limits.get(name))
        for name in ("chdb", "duckdb", "floor")
    ]
    report.goals.append(Goal(f"{workload.name}: all of it, CPU / both datasets", ours.cpu_us / alike.cpu_us))
    report.goals.append(Goal(f"{workload.name}: peak memory, MB", ours.peak_bytes / 1e6, _MEMORY_BYTES / 1e6))


def growth(report: Report, few: Workload, many: Workload) -> None:
    """Ten times the objects: neither the cost of a record nor the memory may grow."""
    found = report.run("growth", {it.name: ("trailweave", it) for it in (few, many)})
    cpu = found[many.name].cpu_us / found[few.name].cpu_us
    memory = found[many.name].peak_bytes / found[few.name].peak_bytes
    report.goals += [
        Goal("ten times the objects: CPU a record", cpu, 1.05),
        Goal("ten times the objects: peak memory", memory, 1.1),
    ]


def workers(report: Report, workload: Workload) -> None:
    """Two processes beside one, by wall time."""
    found = report.run("workers", {"one worker": ("trailweave", workload), "two workers": ("two workers", workload)})
    gain = found["one worker"].wall_s / found["two workers"].wall_s
    report.goals.append(Goal("two workers: times the speed of one", gain, 1.7, least=True))


def stitching(report: Report, workload: Workload) -> None:
    """What session fragments and links add to a replay."""
    found = report.run("stitching", {name: (name, workload) for name in ("trailweave", "without sessions")})
    ratio = found["trailweave"].cpu_us / found["without sessions"].cpu_us
    report.goals.append(Goal("with sessions: CPU a record / without", ratio, 1.1))


def detection(report: Report, workload: Workload) -> None:
    """What rules add to a replay: the shipped ones, and 800."""
    found = report.run(
        "detection", {name: (name, workload) for name in ("without detections", "trailweave", "800 rules")}
    )
    without = found["without detections"].cpu_us
    report.goals += [
        Goal("with the shipped rules: CPU a record / without", found["trailweave"].cpu_us / without),
        Goal("with 800 rules: CPU a record / without", found["800 rules"].cpu_us / without, 1.25),
    ]


def queue(report: Report, workload: Workload) -> None:
    """Ingest beside a replay of the same objects."""
    replayed = report.run("queue", {"replay": ("trailweave", workload)})["replay"]
    full, steady = from_full_queue(workload), from_steady_feed(workload)
    report.ingests = {"full queue": full, f"steady feed, --max-wait {MAX_WAIT_S:g}": steady}
    report.runs["queue"]["ingest"] = full.measured
    report.goals.append(Goal("ingest: CPU a record / replay", full.measured.cpu_us / replayed.cpu_us, 1.2))


def parts(quick: bool) -> dict[str, Callable[[Report], None]]:
    """What can be measured, by name."""
    large, tiny, low, tenfold = LARGE, TINY, LOW, TENFOLD
    if quick:
        large, tiny, low = (it.scaled(it.name, 0.25) for it in (LARGE, TINY, LOW))
        tenfold = large.scaled("tenfold", 10)
    return {
        "large": lambda report: compare(report, large, {"chdb": 0.8, "duckdb": 0.75, "floor": 3.3}),
        "tiny": lambda report: compare(report, tiny, {"duckdb": 0.7}),
        "low": lambda report: compare(report, low, {}),
        "growth": lambda report: growth(report, large, tenfold),
        "stitching": lambda report: stitching(report, large),
        "detection": lambda report: detection(report, large),
        "workers": lambda report: workers(report, tenfold),
        "queue": lambda report: queue(report, large),
    }


def tables(report: Report) -> Iterator[Table]:
    """The report, for a person."""
    for part, found in report.runs.items():
        table = Table("", "us a record", "records per CPU s", "CPU s", "wall s", "peak MB", title=part)
        for name, it in found.items():
            table.add_row(
                name,
                f"{it.cpu_us:.2f}",
                f"{it.per_cpu_s:,.0f}",
                f"{it.cpu_s:.2f}",
                f"{it.wall_s:.2f}",
                f"{it.peak_bytes / 1e6:,.0f}",
            )
        yield table
    if report.ingests:
        table = Table("", "objects/s", "lag p50 s", "lag p95 s", title="ingest from emulated SQS and S3")
        for name, got in report.ingests.items():
            table.add_row(name, f"{got.objects_per_s:.1f}", f"{got.lag_p50_s:.2f}", f"{got.lag_p95_s:.2f}")
        yield table
    table = Table("", "measured", "goal", "", title="goals")
    for goal in report.goals:
        limit = "" if goal.limit is None else f"{'>=' if goal.least else '<='} {goal.limit:g}"
        verdict = {None: "", True: "[green]goal met[/]", False: "[red]goal missed[/]"}[goal.met]
        table.add_row(goal.name, f"{goal.value:.2f}", limit, verdict)
    yield table


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a quarter of the objects, one round: minutes less")
    parser.add_argument("--only", choices=[*parts(quick=False)], action="append", help="measure this part alone")
    parser.add_argument("--rounds", type=int, help="rounds, of which the fastest counts (default 3, quick 1)")
    parser.add_argument("--json", action="store_true", help="JSON on standard output instead of tables")
    options = parser.parse_args()
    report = Report(options.rounds or (1 if options.quick else 3))
    progress = Console(stderr=True)
    for name, part in parts(options.quick).items():
        if not options.only or name in options.only:
            with progress.status(f"measuring {name}"):
                part(report)
    if options.json:
        print(json.dumps(report.as_json(), indent=1))
        return
    console = Console()
    console.print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    for table in tables(report):
        console.print(table)


main()
