"""What a run did, as one frozen value: the summary that ingest, replay and the demo print."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from pipeline.terminal.words import counted
from schemas import counters


@dataclass(frozen=True)
class Summary:
    """Totals of one command. `seconds` is wall time, start-up excluded.

    With `is_counted` false the engine ended without a word of what it counted, and every total is null.
    `passed_over` are listed objects that were done before; None where nothing is listed.
    """

    counts: Counter[str]
    seconds: float
    is_counted: bool = True
    passed_over: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The keys that scripts rely on, then every counter by its name."""
        count = self.counts
        told = {
            "objects": sum(
                count[name] for name in (counters.OBJECTS_READ, counters.OBJECTS_DEAD, counters.OBJECTS_SETTLED)
            ),
            "records": count[counters.RECORDS],
            "written": count[counters.EVENTS_WRITTEN],
            "duplicates": count[counters.EVENTS_DUPLICATE],
            "dead_letters": count[counters.DEAD_LETTERS],
            "deferred": count[counters.OBJECTS_DEFERRED],
        }
        return {
            **(told if self.is_counted else dict.fromkeys(told)),
            "seconds": round(self.seconds, 3),
            "counters": {name: count[name] for name in counters.MEANING} if self.is_counted else None,
        }

    def as_text(self) -> str:
        """One line for a person."""
        if not self.is_counted:
            return f"ended after {self.seconds:.1f} s; the engine told no counts: see `trailweave status`"
        told = self.as_json()
        rate = told["records"] / self.seconds if self.seconds else 0.0
        return (
            f"{counted(told['objects'], 'object')}, {counted(told['records'], 'record')}:"
            f" {told['written']:,} written,"
            f" {counted(told['duplicates'], 'duplicate')}, {counted(told['dead_letters'], 'dead letter')},"
            f" {told['deferred']:,} deferred, in {self.seconds:.1f} s ({rate:,.0f} records/s){self._listed(told)}"
        )

    def _listed(self, told: dict[str, Any]) -> str:
        """Why a listing gave less than was expected, or nothing."""
        if self.passed_over:
            return f"; {counted(self.passed_over, 'object')} {'was' if self.passed_over == 1 else 'were'} done before"
        found_nothing = self.passed_over == 0 and not told["objects"] and not told["deferred"]
        return "; nothing to read was found there" if found_nothing else ""
