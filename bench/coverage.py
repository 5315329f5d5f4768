"""`python -m bench.coverage`: which shipped rules find which labelled attack, and how loud they are on benign events.

Writes docs/coverage.md. Labelled attacks are JSON arrays of CloudTrail records, `aws.<tactic>.<technique>.json` as in
the detonation logs of Stratus Red Team; benign events are one record a line. An alert is fitting if its rule carries
the tactic of the label: the name of the file decides, nobody's judgement.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bench.history import DAYS, unusual
from pipeline.alerting.correlations import evaluate
from pipeline.terminal.words import counted
from transforms.rules.book import RuleBook
from transforms.rules.correlations import Correlation
from transforms.rules.samples import detect
from transforms.rules.sigma import Rule, RuleSet

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "coverage.md"
DATA = Path(os.environ.get("TRAILWEAVE_DATA", str(ROOT.parent / "shared" / "data")))
ATTACKS = DATA / "stratus-red-team" / "docs" / "detonation-logs"
BENIGN = DATA / "derived" / "opensearch_samples_large.jsonl"

# The data are of the past: every window of theirs has ended.
_LATER = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Raised:
    """A rule or correlation that alerts, and how often: events, or a group's windows."""

    rule: Rule | Correlation
    times: int


def raised(rules: RuleSet, records: Sequence[dict[str, Any]]) -> tuple[Raised, ...]:
    """What alerts on some whole CloudTrail records: rules in their order, then correlations."""
    hits = detect(rules.rules, list(records))
    counts = Counter(hits["rule_id"].to_pylist())
    alone = [Raised(it, counts[it.id]) for it in rules.rules if it.alerts and counts[it.id]]
    asked = [it for it in rules.correlations if any(counts[base.rule_id] for base in it.bases)]
    together = [Raised(it, evaluate(it, hits, _LATER).num_rows) for it in asked]
    return (*alone, *(it for it in together if it.times))


@dataclass(frozen=True, slots=True)
class Attack:
    """A labelled attack: its tactic as ATT&CK tags have it, its events, and what they raise."""

    name: str
    tactic: str
    events: int
    alerts: tuple[Raised, ...]

    @property
    def fitting(self) -> tuple[Raised, ...]:
        """Alerts whose rule carries the tactic of the attack."""
        return tuple(it for it in self.alerts if f"attack.{self.tactic}" in it.rule.tags)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What some rules find: attacks by name, what benign events raise, and what analytics on a month of those."""

    rules: RuleSet
    attacks: tuple[Attack, ...]
    benign_events: int
    benign: tuple[Raised, ...]
    history_events: int
    history: Mapping[str, int]

    @property
    def found(self) -> int:
        """Attacks with a fitting alert."""
        return sum(bool(it.fitting) for it in self.attacks)

    def per_thousand(self, count: int) -> float:
        """So many of the benign events, in a thousand."""
        return 1000 * count / self.benign_events


def measured(rules: RuleSet, attacks: Path, benign: Path) -> Coverage:
    """The rules over every attack of a folder and over a file of benign records."""
    found = []
    for path in sorted(attacks.glob("aws.*.*.json")):
        records = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
        tactic = path.name.split(".")[1]
        found.append(Attack(path.stem, tactic, len(records), raised(rules, records)))
    quiet = [msgspec.json.decode(line, type=dict[str, Any]) for line in benign.read_bytes().splitlines() if line]
    return Coverage(rules, tuple(found), len(quiet), raised(rules, quiet), *unusual(quiet))


def page(coverage: Coverage) -> str:
    """The coverage as Markdown."""
    hits = sum(it.times for it in coverage.benign)
    lines = [
        "# What the shipped rules find",
        "",
        "Made by `make coverage`, with the rules that come with trailweave alone. The attacks are the detonation",
        "logs of [Stratus Red Team](https://stratus-red-team.cloud), one technique a file; the benign events are the",
        "CloudTrail samples of the OpenSearch catalogue. Neither is part of this repository, and no rule names a",
        "value of theirs. A rule fits if it carries the tactic that the technique's name has.",
        "",
        f"- {len(coverage.rules.rules)} rules and {len(coverage.rules.correlations)} correlations; "
        f"**{coverage.found} of {len(coverage.attacks)} techniques raise a fitting alert**.",
        f"- Benign events: {counted(hits, 'alert')} on {counted(coverage.benign_events, 'event')}, "
        f"**{coverage.per_thousand(hits):.1f} per 1,000**.",
        "",
        "| technique | events | fitting rules, with their level and how often | others |",
        "|---|--:|---|---|",
    ]
    for attack in coverage.attacks:
        others = [it for it in attack.alerts if it not in attack.fitting]
        lines.append(f"| {attack.name} | {attack.events} | {_told(attack.fitting)} | {_told(others)} |")
    lines += [
        "",
        "## On benign events",
        "",
        "| rule | level | alerts | per 1,000 events |",
        "|---|---|--:|--:|",
        *(
            f"| {it.rule.title} | {it.rule.level} | {it.times} | {coverage.per_thousand(it.times):.1f} |"
            for it in coverage.benign
        ),
        "",
        "## Analytics on benign events",
        "",
        "Analytics compare with a history, so the benign events are told again on",
        f"{DAYS} days, on each a third of them: {counted(sum(coverage.history.values()), 'alert')} on "
        f"{counted(coverage.history_events, 'event')}.",
        *(["", "| alert | times |", "|---|--:|"] if coverage.history else []),
        *(f"| {title} | {times} |" for title, times in sorted(coverage.history.items())),
    ]
    return "\n".join(lines) + "\n"


def _told(alerts: Sequence[Raised]) -> str:
    return "; ".join(f"{it.rule.title} ({it.rule.level}, {it.times})" for it in alerts) or "none"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, write the page, say the sum; 2 where there is nothing to measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=__doc__)
    parser.add_argument("--samples", type=Path, default=ATTACKS, metavar="DIR", help="labelled attacks")
    parser.add_argument("--benign", type=Path, default=BENIGN, metavar="FILE", help="benign records, one a line")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help="what to write")
    asked = parser.parse_args(arguments)
    for place in (asked.samples, asked.benign):
        if not place.exists():
            print(
                f"nothing to measure at {place}; set TRAILWEAVE_DATA, or give --samples and --benign", file=sys.stderr
            )
            return 2
    coverage = measured(RuleBook.of().rule_set(), asked.samples, asked.benign)
    asked.page.write_text(page(coverage), encoding="utf-8")
    hits = sum(it.times for it in coverage.benign)
    print(f"{coverage.found} of {len(coverage.attacks)} techniques found; on benign events {hits} alerts,")
    print(f"{coverage.per_thousand(hits):.1f} per 1,000. Written to {asked.page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
