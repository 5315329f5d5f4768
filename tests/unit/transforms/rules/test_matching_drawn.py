"""Rules drawn at random, over records drawn at random, against a plain evaluator."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from support import plain_sigma
from support.matched import PROVIDER, RECORD, compiled, decoded, hit

from transforms.rules.matching import RuleMatcher

# Random rules over random records, from a few words, so that they meet.
WORDS = st.sampled_from(["a", "A", "ab", "b", "", "a*", "*b", "?b", "x"])
TEXTS = st.sampled_from(["a", "A", "ab", "aab", "b", "", "x"])
FIELDS = st.sampled_from(
    ["eventName", "errorCode", "userAgent", "userIdentity.type", "requestParameters.a", "requestParameters.b.c"]
)
MODIFIERS = st.sampled_from(["", "|contains", "|startswith", "|endswith", "|cased", "|contains|all", "|neq"])
TESTS = st.one_of(
    st.tuples(st.tuples(FIELDS, MODIFIERS).map("".join), st.lists(WORDS, min_size=2, max_size=3)),
    st.tuples(FIELDS.map(lambda it: f"{it}|exists"), st.booleans()),
    st.tuples(FIELDS, st.none()),
    st.tuples(FIELDS.map(lambda it: f"{it}|fieldref"), FIELDS),
)
SELECTIONS = st.lists(TESTS, min_size=1, max_size=3).map(dict)
CONDITIONS = st.sampled_from(
    [
        "s0",
        "not s0",
        "s0 and s1",
        "s0 or s1",
        "s0 and not s1",
        "not (s0 or s1)",
        "1 of s*",
        "all of them",
        "not 1 of s*",
    ]
)
VALUES = st.one_of(TEXTS, st.none(), st.lists(TEXTS, max_size=2))
RECORDS = st.fixed_dictionaries(
    {"eventName": st.sampled_from(["a", "ab", "b"])},
    optional={
        "errorCode": TEXTS,
        "userAgent": TEXTS,
        "userIdentity": st.fixed_dictionaries({}, optional={"type": TEXTS}),
        "requestParameters": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {},
                optional={
                    "a": VALUES,
                    "b": st.one_of(
                        st.none(), st.lists(st.fixed_dictionaries({}, optional={"c": VALUES}), max_size=2)
                    ),
                },
            ),
        ),
    },
)


@settings(max_examples=150)
@given(SELECTIONS, SELECTIONS, CONDITIONS, st.lists(RECORDS, min_size=1, max_size=6))
def test_any_rule_hits_what_a_plain_evaluator_says(
    first: dict[str, Any], second: dict[str, Any], condition: str, members: list[dict[str, Any]]
) -> None:
    detection = {"s0": first, "s1": second, "condition": condition}
    base = {"eventSource": "s.amazonaws.com", "eventVersion": "1.0", "eventTime": RECORD["eventTime"], "eventID": "e"}
    records = [{**base, **it} for it in members]
    expected = [plain_sigma.matches({"detection": detection}, it) for it in records]
    assert hit(compiled(detection), records) == expected


MORE_RECORDS = st.fixed_dictionaries(
    {"eventName": st.sampled_from(["a", "ab"])},
    optional={
        "errorCode": st.one_of(TEXTS, st.none()),
        "vpcEndpointId": st.one_of(TEXTS, st.none()),
        "requestParameters": st.fixed_dictionaries({}, optional={"a": VALUES, "b": st.none()}),
        "requestParameters.a": VALUES,
        "requestParameters.b": st.fixed_dictionaries({}, optional={"c": VALUES}),
        "requestParameters.b.c": VALUES,
    },
)
MORE_FIELDS = ["eventName", "errorCode", "vpcEndpointId", "requestParameters.a", "requestParameters.b.c"]
MORE_TESTS = st.one_of(
    st.tuples(
        st.tuples(st.sampled_from(MORE_FIELDS), MODIFIERS).map("".join), st.lists(WORDS, min_size=2, max_size=3)
    ),
    st.tuples(st.sampled_from(MORE_FIELDS).map(lambda it: f"{it}|exists"), st.booleans()),
    st.tuples(st.sampled_from(MORE_FIELDS), st.none()),
)
MORE_SELECTIONS = st.lists(MORE_TESTS, min_size=1, max_size=3).map(dict)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(MORE_SELECTIONS, MORE_SELECTIONS, CONDITIONS), min_size=2, max_size=5),
    st.lists(st.lists(MORE_RECORDS, min_size=1, max_size=6), min_size=1, max_size=2),
)
def test_rules_that_share_fields_and_questions_hit_as_a_plain_evaluator_says_of_each(
    drawn: list[tuple[dict[str, Any], dict[str, Any], str]], slices: list[list[dict[str, Any]]]
) -> None:
    detections = [{"s0": first, "s1": second, "condition": condition} for first, second, condition in drawn]
    rules = [compiled(it, id=str(uuid.uuid5(uuid.NAMESPACE_URL, str(n)))) for n, it in enumerate(detections)]
    matcher = RuleMatcher(rules, PROVIDER)
    base = {"eventSource": "s.amazonaws.com", "eventVersion": "1.0", "eventTime": RECORD["eventTime"], "eventID": "e"}
    for members in slices:
        records = [{**base, **it} for it in members]
        found = {hits.rule.id: hits.rows.tolist() for hits in matcher.hits(decoded(records), None)}
        for rule, detection in zip(rules, detections, strict=True):
            held = [plain_sigma.matches({"detection": detection}, it) for it in records]
            assert found.get(rule.id, []) == np.flatnonzero(held).tolist()
