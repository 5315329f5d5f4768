"""Correlations by an expression of rules, with those that may not be seen."""

from __future__ import annotations

from datetime import timedelta

import pytest
from support.correlated import EPOCH
from support.correlations import BASES, CHAIN, LATE, chained, hit, table, together, told

from pipeline.alerting.correlations import evaluate
from transforms.rules.correlations import (
    Absent,
    All,
    Seen,
)
from transforms.rules.sigma import RuleText, compile_rules

NEAR = (
    "  type: temporal\n  rules: [denied, made]\n  group-by: [user]\n  timespan: 10s\n  condition: denied and made\n"
)


def test_an_expression_of_rules_holds_as_soon_as_its_rules_are_seen() -> None:
    rule = together(NEAR.replace("denied and made", "made or denied").replace("  rules: [denied, made]\n", ""))
    assert (rule.rising, rule.rules()) == (True, ("made", "denied"))
    assert told(evaluate(rule, table([hit(4)]), EPOCH)) == {(("ann",), 0, 4, 4, ("denied-4",))}
    both = together(NEAR)
    assert not len(evaluate(both, table([hit(4), hit(15, "made"), hit(9, "made", user="bob")]), EPOCH))
    assert told(evaluate(both, table([hit(4), hit(14, "made")]), EPOCH)) == {
        (("ann",), 10, 4, 14, ("denied-4", "made-14"))
    }


@pytest.mark.parametrize("second", [5, 9, 11, 15])
def test_a_rule_that_is_denied_may_be_neither_before_nor_after_whatever_the_bucket(second: int) -> None:
    rule = together(NEAR.replace("denied and made", "denied and not made"))
    assert not rule.rising
    assert len(evaluate(rule, table([hit(10)]), LATE)) == 1
    assert len(evaluate(rule, table([hit(10), hit(second, "made", user="bob")]), LATE)) == 1
    assert not len(evaluate(rule, table([hit(10), hit(second, "made")]), LATE))


def test_an_absence_is_told_when_what_is_late_can_no_longer_break_it() -> None:
    rule = together(NEAR.replace("denied and made", "denied and not made"))
    late = timedelta(minutes=1)
    assert not len(evaluate(rule, table([hit(5)]), EPOCH + timedelta(seconds=74), late))
    assert len(evaluate(rule, table([hit(5)]), EPOCH + timedelta(seconds=75), late)) == 1


def test_not_goes_to_the_rules_of_an_expression() -> None:
    rule = together(NEAR.replace("denied and made", "denied and not (made or not denied)"))
    assert rule.expression == All((Seen(0), All((Absent(1), Seen(0)))))


def test_a_correlation_may_stand_in_an_expression() -> None:
    text = CHAIN.replace("temporal_ordered", "temporal").replace("10m", "10m\n    condition: often and not made", 1)
    outer, _ = chained(text).checked().correlations
    failed = [hit(second, account="a") for second in (10, 20, 30)]
    assert told(evaluate(outer, table(failed), LATE)) == {
        (("a",), 0, 10, 30, ("denied-10", "denied-20", "denied-30"))
    }
    assert not len(evaluate(outer, table([*failed, hit(600, "made", account="a")]), LATE))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("denied and made", "not denied or made"), "none of its rules is seen"),
        (("denied and made", "not (denied and made)"), "none of its rules is seen"),
        (("type: temporal", "type: temporal_ordered"), "temporal_ordered has no expression"),
        (("type: temporal", "type: event_count"), "temporal"),
        (("denied and made", "denied and"), "parse"),
        (("denied and made", "denied"), "made"),
        (("[denied, made]", "[denied, made, Denied call]"), "Denied call"),
    ],
)
def test_an_expression_that_cannot_be_decided_is_refused_with_its_rule_and_line(
    change: tuple[str, str], why: str
) -> None:
    text = f"{BASES}---\ntitle: Together\ncorrelation:\n{NEAR.replace(*change)}"
    (problem,) = compile_rules([RuleText("near.yml", text)]).problems
    assert why in problem.why
    assert "Together" in problem.why
    assert problem.line > text.splitlines().index("correlation:")
