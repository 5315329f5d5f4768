"""What a command says of what it did."""

from __future__ import annotations

from collections import Counter

from pipeline.ingestion.summary import Summary
from schemas import counters


def test_totals_are_what_was_counted() -> None:
    counts = Counter({counters.OBJECTS_READ: 2, counters.RECORDS: 30, counters.EVENTS_WRITTEN: 20})
    summary = Summary(counts, 2.0)
    told = summary.as_json()
    assert (told["objects"], told["records"], told["written"]) == (2, 30, 20)
    assert summary.as_text().startswith("2 objects, 30 records: 20 written")


def test_an_engine_that_told_no_counts_is_not_taken_for_one_that_did_nothing() -> None:
    summary = Summary(Counter(), 2.0, is_counted=False)
    told = summary.as_json()
    assert (told["objects"], told["counters"], told["seconds"]) == (None, None, 2.0)
    assert summary.as_text() == "ended after 2.0 s; the engine told no counts: see `trailweave status`"
