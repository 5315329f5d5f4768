"""Samples beside rules: series become records, and each shipped correlation has one that raises it."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.correlations import evaluate
from transforms.rules.book import SHIPPED
from transforms.rules.samples import Samples, Series, beside, detect, read_samples, records_of
from transforms.rules.sigma import compile_rules, read_rules

LATER = datetime(2100, 1, 1, tzinfo=UTC)


def test_series_in_a_list_come_one_after_the_other() -> None:
    records = list(records_of([Series({"eventName": "One{n}"}, times=2, every_s=5), Series({"eventName": "Two"})]))
    assert [(it["eventName"], it["eventTime"][-3:-1], it["eventID"]) for it in records] == [
        ("One0", "00", "sample-0"),
        ("One1", "05", "sample-1"),
        ("Two", "10", "sample-2"),
    ]


def test_every_shipped_correlation_is_raised_by_a_series_of_its_file() -> None:
    silent = []
    for path in sorted(SHIPPED.rglob("*.yml")):
        found = compile_rules(read_rules([path])).checked()
        samples = read_samples(beside(path)) or Samples()
        hits = [detect(found.rules, list(records_of(series))) for series in samples.raises]
        silent += [it.title for it in found.correlations if not any(len(evaluate(it, rows, LATER)) for rows in hits)]
    assert silent == []


def test_a_rule_that_only_feeds_a_correlation_does_not_alert_by_itself() -> None:
    found = compile_rules(read_rules([SHIPPED / "discovery" / "denied_call.yml"]))
    samples = read_samples(SHIPPED / "discovery" / "denied_call.samples.json")
    assert samples is not None
    hits = detect(found.rules, list(records_of(samples.raises[0])))
    assert hits["alerts"].to_pylist() == [False] * len(hits)
    assert len(hits) == 10
