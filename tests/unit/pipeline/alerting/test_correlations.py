"""Correlations: many hits that mean something together."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sigma.collection import SigmaCollection
from support.correlated import EPOCH, Hit, matches
from support.published import DATA

from pipeline.alerting.correlations import HITS, evaluate
from schemas.errors import ConfigError
from transforms.rules.correlations import (
    Absent,
    All,
    Base,
    Correlation,
    Expression,
    Seen,
    Some,
    correlations,
    holds_without,
)
from transforms.rules.sigma import RuleSet, RuleText, compile_rules

BASE = """
title: {title}
name: {name}
logsource: {{product: aws, service: cloudtrail}}
detection: {{one: {{eventName: X}}, condition: one}}
"""
BASES = BASE.format(title="Denied call", name="denied") + "---" + BASE.format(title="Key made", name="made")
LATE = datetime(2100, 1, 1, tzinfo=UTC)


def together(correlation: str) -> Correlation:
    return parsed(
        f"{BASES}---\ntitle: Together\nid: 0e95725d-7320-415d-80f7-004da920fc11\ncorrelation:\n{correlation}"
    )


def parsed(text: str) -> Correlation:
    rules = SigmaCollection.from_yaml(text, collect_errors=True, resolve_references=False).rules
    (rule,) = correlations(rules)
    return rule


def table(hits: Iterable[Hit]) -> pa.Table:
    rows = [
        {
            "rule_id": hit.rule,
            "event_id": hit.event,
            "event_time": EPOCH + timedelta(seconds=hit.second),
            "group_fields": [name for name, _ in hit.fields],
            "group_values": [value for _, value in hit.fields],
        }
        for hit in hits
    ]
    return pa.Table.from_pylist(rows, HITS)


def told(found: pa.Table) -> set[Any]:
    def second(time: datetime) -> int:
        return int(time.timestamp())

    return {
        (
            tuple(row["group_values"]),
            second(row["bucket"]),
            second(row["first_seen"]),
            second(row["last_seen"]),
            tuple(row["evidence"]),
        )
        for row in found.to_pylist()
    }


def hit(second: int, rule: str = "denied", user: str | None = "ann", **fields: str) -> Hit:
    return Hit(rule, f"{rule}-{second}", second, (("user", user), *fields.items()))


COUNT_OF_THREE = "  type: event_count\n  rules: denied\n  group-by: user\n  timespan: 1m\n  condition: {gte: 3}\n"


def test_a_window_that_crosses_the_edge_of_a_bucket_is_seen() -> None:
    found = evaluate(together(COUNT_OF_THREE), table([hit(50), hit(65), hit(110)]), LATE)
    assert told(found) == {(("ann",), 60, 50, 110, ("denied-50", "denied-65", "denied-110"))}


def test_hits_of_others_and_hits_without_a_group_do_not_count() -> None:
    hits = [hit(1), hit(2), hit(3, user="bob"), hit(4, user=None), hit(5, rule="made")]
    assert not len(evaluate(together(COUNT_OF_THREE), table(hits), LATE))


def test_a_hit_that_comes_late_completes_its_window_under_the_id_that_any_order_gives() -> None:
    rule, hits = together(COUNT_OF_THREE), [hit(1), hit(2), hit(3), hit(4)]
    assert not len(evaluate(rule, table(hits[2:]), LATE))
    before, after = (evaluate(rule, table(part), LATE) for part in (hits[1:], hits))
    assert before["match_id"].to_pylist() == after["match_id"].to_pylist()
    assert (before["events"].to_pylist(), after["events"].to_pylist()) == ([3], [4])


def test_rules_in_order_are_not_met_in_another_order() -> None:
    rule = together("  type: temporal_ordered\n  rules: [denied, made]\n  group-by: [user]\n  timespan: 10s\n")
    assert told(evaluate(rule, table([hit(1), hit(5, "made")]), LATE)) == {
        (("ann",), 0, 1, 5, ("denied-1", "made-5"))
    }
    assert not len(evaluate(rule, table([hit(1, "made"), hit(5)]), LATE))


def test_rules_near_each_other_are_all_asked_for_and_joined_by_aliases() -> None:
    rule = together(
        "  type: temporal\n  rules: [denied, made]\n  group-by: [who]\n  timespan: 10s\n"
        "  aliases: {who: {denied: user, made: maker}}\n"
    )
    assert rule.conditions == (("gte", 2),)
    both = [hit(9, user="ann"), hit(5, "made", user="eve", maker="ann")]
    assert told(evaluate(rule, table(both), LATE)) == {(("ann",), 0, 5, 9, ("made-5", "denied-9"))}
    assert not len(evaluate(rule, table(both[:1]), LATE))


def test_a_condition_that_more_events_may_break_waits_for_lateness() -> None:
    rule = together(COUNT_OF_THREE.replace("gte: 3", "lt: 3"))
    hits, end = table([hit(61), hit(62)]), EPOCH + timedelta(minutes=2)
    assert not len(evaluate(rule, hits, end + timedelta(seconds=59), timedelta(minutes=1)))
    assert told(evaluate(rule, hits, end + timedelta(seconds=60), timedelta(minutes=1))) == {
        (("ann",), 60, 61, 62, ("denied-61", "denied-62"))
    }


def test_a_percentile_is_that_of_the_values_of_a_bucket() -> None:
    rule = together(
        "  type: value_percentile\n  rules: denied\n  timespan: 1m\n"
        "  condition: {gte: 75, field: size, percentile: 75}\n"
    )
    sizes = [hit(second, size=str(second * 10)) for second in range(11)]
    assert len(evaluate(rule, table(sizes), LATE)) == 1
    assert not len(evaluate(rule, table(sizes[:10]), LATE))


@pytest.mark.parametrize("name", ["denied", "Denied call"])
def test_a_base_rule_is_found_by_name_and_by_title(name: str) -> None:
    assert together(COUNT_OF_THREE.replace("denied", name)).bases == (Base("denied", ("user",)),)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("denied", "nowhere"), "rules"),
        (("denied", "[denied, Denied call]"), "rules"),
        (("gte: 3", "lt: 1"), "condition"),
        (("gte: 3", "eq: 0"), "condition"),
        (
            (COUNT_OF_THREE, COUNT_OF_THREE.replace("event_count", "value_sum").replace("3}", "3, field: [a, b]}")),
            "condition.field",
        ),
        (("timespan: 1m", "timespan: 1x"), "correlation"),
        (("timespan: 1m", "timespan: 1m\n  aliases: {user: {made: maker}}"), "aliases.user"),
    ],
)
def test_what_is_not_supported_is_refused_with_rule_and_field(change: tuple[str, str], field: str) -> None:
    with pytest.raises(ConfigError, match=rf"'Together'.*field '{field}'"):
        together(COUNT_OF_THREE.replace(*change))


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


SPECIFICATION = DATA / "sigma-spec/tests/schema/correlation"


@pytest.mark.skipif(not SPECIFICATION.is_dir(), reason="the specification of Sigma is not in TRAILWEAVE_DATA")
def test_the_examples_of_the_specification_are_read_but_for_a_percentile_that_is_not_given() -> None:
    read, refused = [], []
    for path in sorted(SPECIFICATION.glob("*.yml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        section = document["correlation"]
        # The examples name base rules that the specification does not hold.
        bases = [BASE.format(title=name, name=name) for name in section["rules"]]
        try:
            rule = parsed("\n---\n".join([*bases, yaml.safe_dump(document)]))
        except ConfigError as error:
            refused.append((path.stem, "condition.percentile" in str(error)))
            continue
        expected = [tuple(section["group-by"])] * len(bases)
        assert (rule.kind, [base.group_by for base in rule.bases]) == (section["type"], expected)
        read.append(path.stem)
    assert refused == [("value_percentile", True)]
    assert {"event_count", "value_count", "temporal", "temporal_ordered", "value_sum", "value_avg"} <= set(read)


CHAIN = """
title: Failed often, then signed in
name: outer
correlation:
    type: temporal_ordered
    rules: [often, made]
    group-by: [account]
    timespan: 10m
---
title: Failed often
name: often
correlation:
    type: event_count
    rules: [denied]
    group-by: [user]
    timespan: 1m
    condition: {gte: 3}
"""


def chained(text: str = CHAIN) -> RuleSet:
    return compile_rules([RuleText("chain.yml", f"{BASES}---{text}")])


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


def test_a_condition_may_be_a_range() -> None:
    text = CHAIN.split("---")[1].replace("gte: 3", "gt: 1, lte: 3")
    (rule,) = chained(text).checked().correlations
    assert rule.conditions == (("gt", 1), ("lte", 3))
    assert not rule.rising
    counts = {n: len(evaluate(rule, table([hit(second) for second in range(n)]), LATE)) for n in (1, 2, 3, 4)}
    assert counts == {1: 0, 2: 1, 3: 1, 4: 0}


def test_several_fields_are_counted_as_one_value_where_all_are_there() -> None:
    rule = together(COUNT_OF_THREE.replace("event_count", "value_count").replace("3}", "3, field: [a, b]}"))
    pairs = [("x", "y"), ("x", "y"), ("x", "z"), ("y", "x")]
    hits = [hit(second, a=a, b=b) for second, (a, b) in enumerate(pairs)]
    assert len(evaluate(rule, table(hits), LATE)) == 1
    assert not len(evaluate(rule, table([*hits[:3], hit(9, a="q")]), LATE))


NAMES = ("denied", "made", "other")
RULES = st.one_of(
    st.tuples(st.just("event_count"), st.sampled_from(["gt", "gte", "lt", "lte", "eq", "neq"]), st.integers(2, 4)),
    st.tuples(st.just("value_count"), st.sampled_from(["gte", "lt", "eq"]), st.integers(2, 3)),
    st.tuples(st.just("temporal"), st.sampled_from(["gte", "lt"]), st.integers(2, 3)),
    st.tuples(st.just("temporal_ordered"), st.just("gte"), st.just(3)),
    st.tuples(
        st.sampled_from(["value_sum", "value_avg", "value_median"]),
        st.sampled_from(["gt", "lt", "eq"]),
        st.integers(-2, 9),
    ),
)
HIT = st.builds(
    # An event has one time and one set of fields, whichever rules it hits.
    lambda rule, n, second, user, size: Hit(
        rule, f"e{n}-{second}-{user}-{size}", second, (("user", user), ("size", size))
    ),
    st.sampled_from([*NAMES, "unasked"]),
    st.integers(0, 2),
    st.integers(0, 60),
    st.sampled_from(["ann", "bob", None]),
    st.sampled_from(["-3", "1", "4", "much", None]),
)

PLACES = st.integers(0, len(NAMES) - 1)
EXPRESSIONS = st.recursive(
    st.builds(Seen, PLACES) | st.builds(Absent, PLACES),
    lambda parts: st.builds(
        lambda kind, inner: kind(tuple(inner)), st.sampled_from([All, Some]), st.lists(parts, min_size=2, max_size=3)
    ),
    max_leaves=5,
).filter(lambda it: not holds_without(it))


def expressed(draw: st.DrawFn, kind: str) -> Expression | None:
    return draw(st.none() | EXPRESSIONS) if kind == "temporal" else None


@st.composite
def drawn(draw: st.DrawFn) -> Correlation:
    """A correlation, perhaps with another one among its bases."""
    name, operator, count = draw(RULES)
    group = draw(st.sampled_from([(), ("user",)]))
    bases = [Base(base, group) for base in NAMES]
    if draw(st.booleans()):
        inner_name, inner_operator, inner_count = draw(RULES)
        inner_group = draw(st.sampled_from([(), ("user",), ("size",)]))
        inner = Correlation(
            rule_id="inner",
            title="Inner",
            kind=inner_name,
            bases=tuple(Base(base, inner_group) for base in NAMES),
            timespan=timedelta(seconds=draw(st.sampled_from([5, 10, 25]))),
            conditions=() if (inner_expression := expressed(draw, inner_name)) else ((inner_operator, inner_count),),
            expression=inner_expression,
            fields=("size",),
            group_names=inner_group,
        )
        bases[draw(st.integers(0, 2))] = Base("inner", group, inner)
    expression = expressed(draw, name)
    return Correlation(
        rule_id="r",
        title="R",
        kind=name,
        bases=tuple(bases),
        timespan=timedelta(seconds=draw(st.sampled_from([5, 10, 25]))),
        conditions=() if expression else ((operator, count), *draw(st.sampled_from([(), (("lt", 6),)]))),
        expression=expression,
        fields=draw(st.sampled_from([("size",), ("size", "user")])) if name == "value_count" else ("size",),
        group_names=group,
    )


@settings(max_examples=150, deadline=None)
@given(drawn(), st.lists(HIT, max_size=14), st.integers(0, 80), st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_what_a_plain_look_at_every_window_gives(
    rule: Correlation, hits: list[Hit], settled: int, random: Any
) -> None:
    now = EPOCH + timedelta(seconds=settled)
    shuffled = hits + random.choices(hits, k=3) if hits else []
    random.shuffle(shuffled)
    found = evaluate(rule, table(shuffled), now, timedelta())
    assert told(found) == matches(rule, set(hits), settled)
    assert found.equals(evaluate(rule, table(hits), now, timedelta()))
