"""What a run did, as one frozen value: the summary that ingest, replay and the demo print."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from schemas import counters


@dataclass(frozen=True)
class Summary:
    """Totals of one command. `seconds` is wall time, start-up excluded."""

    counts: Counter[str]
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The keys that scripts rely on, then every counter by its name."""
        count = self.counts
        return {
            "objects": sum(
                count[name] for name in (counters.OBJECTS_READ, counters.OBJECTS_DEAD, counters.OBJECTS_SETTLED)
            ),
            "records": count[counters.RECORDS],
            "written": count[counters.EVENTS_WRITTEN],
            "duplicates": count[counters.EVENTS_DUPLICATE],
            "dead_letters": count[counters.DEAD_LETTERS],
            "deferred": count[counters.OBJECTS_DEFERRED],
            "seconds": round(self.seconds, 3),
            "counters": {name: count[name] for name in counters.MEANING},
        }

    def as_text(self) -> str:
        """One line for a person."""
        told = self.as_json()
        rate = told["records"] / self.seconds if self.seconds else 0.0
        return (
            f"{told['objects']:,} objects, {told['records']:,} records: {told['written']:,} written,"
            f" {told['duplicates']:,} duplicates, {told['dead_letters']:,} dead letters,"
            f" {told['deferred']:,} deferred, in {self.seconds:.1f} s ({rate:,.0f} records/s)"
        )
