"""`trailweave rule`: what rules there are, whether they can be used, and whether they do what their samples say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from pipeline.alerting.correlations import evaluate
from transforms.rules.book import RuleBook
from transforms.rules.samples import Outcome, Samples, beside, detect, outcomes, read_samples, records_of
from transforms.rules.sigma import RuleSet

# Samples are of the past: every window of theirs has ended.
_LATER = datetime(2100, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Tested:
    """What the samples beside one file say; none: the file has no samples."""

    path: str
    outcomes: tuple[Outcome, ...]

    @property
    def wrong(self) -> tuple[Outcome, ...]:
        """The samples that came otherwise than they should."""
        return tuple(it for it in self.outcomes if not it.is_right)


def listed(found: RuleSet) -> pa.Table:
    """One row a rule or correlation."""
    rows = [
        {
            "title": rule.title,
            "kind": "sigma" if rule.alerts else "feeds a correlation",
            "level": rule.level,
            "tags": ", ".join(rule.tags),
            "id": rule.id,
            "file": rule.path,
        }
        for rule in found.rules
    ]
    rows += [
        {
            "title": it.title,
            "kind": it.kind,
            "level": it.level,
            "tags": ", ".join(it.tags),
            "id": it.rule_id,
            "file": it.path,
        }
        for it in found.correlations
    ]
    names = ("title", "kind", "level", "tags", "id", "file")
    return pa.Table.from_pylist(rows, pa.schema([pa.field(name, pa.string()) for name in names]))


def tested(book: RuleBook) -> Iterator[Tested]:
    """Each file of rules with what its samples say. Raises ConfigError for rules or samples that cannot be used."""
    found = book.rule_set().checked()
    for text in book.texts:
        samples = read_samples(beside(text.path))
        yield Tested(text.path, tuple(_outcomes(found, text.path, samples)) if samples else ())


def _outcomes(found: RuleSet, path: str, samples: Samples) -> Iterator[Outcome]:
    yield from outcomes(tuple(it for it in found.rules if it.path == path), samples)
    # What only feeds another correlation raises nothing; rules that a correlation stands on may lie in other files.
    own = [it for it in found.correlations if it.path == path and it.alerts]
    bases = {rule for it in own for rule in it.rules()}
    rules = tuple(it for it in found.rules if it.id in bases)
    for kind in ("raises", "quiet"):
        for number, series in enumerate(getattr(samples, kind), 1):
            hits = detect(rules, list(records_of(series)))
            yield Outcome(kind, number, any(len(evaluate(it, hits, _LATER)) for it in own))
