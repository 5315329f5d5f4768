"""Correlations: many hits that mean something together."""

from __future__ import annotations

from datetime import timedelta

import pytest
import yaml
from support.correlated import EPOCH
from support.correlations import BASE, CHAIN, LATE, chained, hit, parsed, table, together, told
from support.published import DATA

from pipeline.alerting.correlations import evaluate
from schemas.errors import ConfigError
from transforms.rules.correlations import (
    Base,
)

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
    one = together(COUNT_OF_THREE.replace("event_count", "value_count").replace("3}", "3, field: 5}"))
    assert one.fields == ("5",)
