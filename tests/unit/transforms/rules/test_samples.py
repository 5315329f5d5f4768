"""Samples beside rules: series become records, and each shipped correlation has one that raises it."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.alerting.correlations import evaluate
from pipeline.detection import rules as running
from schemas.errors import ConfigError
from transforms.rules.book import SHIPPED, RuleBook
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


def test_samples_of_a_correlation_see_rules_of_other_files_and_not_what_only_feeds_it(tmp_path: Path) -> None:
    source = "logsource: {product: aws, service: cloudtrail}"
    rule = f"title: One\nname: one\n{source}\ndetection: {{it: {{eventName: X}}, condition: it}}\n"
    count = "title: {0}\nname: {0}\ncorrelation:\n  type: event_count\n  rules: [{1}]\n  timespan: 1h\n"
    (tmp_path / "one.yml").write_text(rule)
    outer = count.format("twice", "often") + "  condition: {gte: 2}\n"
    inner = count.format("often", "one") + "  condition: {gte: 2}\n"
    (tmp_path / "two.yml").write_text(f"{outer}---\n{inner}")
    series = [{"record": {"eventName": "X"}, "times": times, "every_s": 3000} for times in (4, 2)]
    (tmp_path / "two.samples.json").write_text(json.dumps({"raises": series}))
    one, two = running.tested(RuleBook.of([tmp_path], shipped=False))
    assert one.outcomes == ()
    assert [it.is_hit for it in two.outcomes] == [True, False]
    assert [it.wrong for it in two.wrong] == ["raises 2 raises nothing"]


def test_samples_of_another_form_are_refused_with_the_form_that_is_expected(tmp_path: Path) -> None:
    (tmp_path / "one.samples.json").write_text('{"hit": []}')
    with pytest.raises(ConfigError, match=r"one.samples.json.*`hit`.*an object of hits, near_misses, raises, quiet"):
        read_samples(tmp_path / "one.samples.json")


def test_the_first_rule_of_the_documentation_does_what_its_samples_say(tmp_path: Path) -> None:
    page = (Path(__file__).parents[4] / "docs" / "rules.md").read_text(encoding="utf-8")
    for kind, name in (("yaml", "rule.yml"), ("json", "rule.samples.json")):
        found = re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)
        assert found is not None
        (tmp_path / name).write_text(found[1])
    (result,) = running.tested(RuleBook.of([tmp_path], shipped=False))
    assert [(it.kind, it.is_right) for it in result.outcomes] == [("hits", True), ("near_misses", True)]
