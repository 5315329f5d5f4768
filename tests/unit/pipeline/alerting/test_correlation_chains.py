"""Correlations that other correlations stand on."""

from __future__ import annotations

from datetime import timedelta

from support.correlated import EPOCH
from support.correlations import CHAIN, LATE, chained, hit, table, told

from pipeline.alerting.correlations import evaluate


def test_a_correlation_is_a_base_of_another_with_the_fields_of_the_hit_that_completes_it() -> None:
    found = chained().checked()
    outer, often = found.correlations
    assert (outer.alerts, often.alerts) == (True, False)
    assert outer.rules() == ("denied", "made")
    assert {rule.id: rule.group_fields for rule in found.rules} == {
        "denied": ("account", "user"),
        "made": ("account",),
    }
    failed = [hit(second, account="a") for second in (10, 20, 30)]
    after, before = hit(40, "made", account="a"), hit(25, "made", account="a")
    assert told(evaluate(outer, table([*failed, after]), LATE)) == {
        (("a",), 0, 10, 40, ("denied-10", "denied-20", "denied-30", "made-40"))
    }
    for hits in ([*failed, before], [*failed[1:], after], [*failed, hit(40, "made", account="b")]):
        assert not len(evaluate(outer, table(hits), LATE))


def test_a_match_counts_once_in_another_correlation_and_its_group_is_known_by_its_names() -> None:
    text = CHAIN.replace("temporal_ordered", "event_count").replace("rules: [often, made]", "rules: [often]")
    text = text.replace("group-by: [account]", "group-by: [user]").replace("10m", "10m\n    condition: {gte: 2}")
    outer, _ = chained(text).checked().correlations
    five = [hit(second) for second in (10, 11, 12, 13, 14)]
    assert not len(evaluate(outer, table(five), LATE))
    again = [hit(second) for second in (200, 201, 202)]
    (row,) = evaluate(outer, table(five + again), LATE).to_pylist()
    assert (row["group_values"], row["events"]) == (["ann"], 8)


def test_whole_buckets_over_a_correlation_wait_until_that_one_is_decided_too() -> None:
    text = CHAIN.replace("temporal_ordered", "event_count").replace("rules: [often, made]", "rules: [often]")
    text = text.replace("10m", "1m\n    condition: {eq: 1}").replace(
        "1m\n    condition: {gte: 3}", "1h\n    condition: {lt: 3}"
    )
    outer, often = chained(text).checked().correlations
    assert (often.rising, outer.unsettled) == (False, timedelta(hours=1))
    hits = table([hit(10, account="a")])
    assert not len(evaluate(outer, hits, EPOCH + timedelta(minutes=60), timedelta()))
    assert len(evaluate(outer, hits, EPOCH + timedelta(minutes=61), timedelta())) == 1


def test_correlations_that_stand_on_themselves_are_refused() -> None:
    (one, other) = chained(CHAIN.replace("rules: [denied]", "rules: [outer]")).problems
    for problem in (one, other):
        assert "stands on itself" in problem.why
        assert "field 'rules'" in problem.why
