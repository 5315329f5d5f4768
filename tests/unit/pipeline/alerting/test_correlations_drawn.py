"""Correlations drawn at random, over hits drawn at random, against a plain look at every window."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.correlated import EPOCH, Hit, matches
from support.correlations import table, told

from pipeline.alerting.correlations import evaluate
from transforms.rules.correlations import (
    Absent,
    All,
    Base,
    Correlation,
    Expression,
    Seen,
    Some,
    holds_without,
)

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
