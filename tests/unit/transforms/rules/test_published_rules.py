"""Rules by others, over records by others: the same hits as a plain evaluator."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest
from support import plain_sigma
from support.published import DATA, published

from transforms.providers import PROVIDERS_BY_NAME
from transforms.rules.matching import RuleMatcher
from transforms.rules.sigma import RuleSet, compile_rules, read_rules

PLACES = (DATA / "sigma" / "rules", DATA / "suzaku-rules")
PROVIDER = PROVIDERS_BY_NAME["cloudtrail"]

pytestmark = pytest.mark.skipif(not all(it.is_dir() for it in PLACES), reason=f"no published rules in {DATA}")


def loaded() -> RuleSet:
    return compile_rules(read_rules(PLACES))


def test_every_published_rule_for_cloudtrail_loads() -> None:
    found = loaded()
    assert found.problems == ()
    wanted = set()
    for place in PLACES:
        for path in place.rglob("*.yml"):
            for rule in plain_sigma.rules_in(path.read_text()):
                if (rule["logsource"].get("product"), rule["logsource"].get("service")) == ("aws", "cloudtrail"):
                    wanted.add(rule["id"])
    assert len(wanted) > 100
    assert {rule.id for rule in found.rules} == wanted


def test_published_rules_hit_the_events_that_a_plain_evaluator_hits() -> None:
    rules = {rule.id: rule for rule in loaded().rules}
    plain = {
        rule["id"]: rule
        for path in {rule.path for rule in rules.values()}
        for rule in plain_sigma.rules_in(Path(path).read_text())
        if rule.get("id") in rules
    }
    raws = sorted({text for _, text in published()})
    records = PROVIDER.decode(raws).combine_chunks()
    keep = records["problem"].is_null().combine_chunks().to_numpy(zero_copy_only=False)
    raws = [raw for raw, kept in zip(raws, keep, strict=True) if kept]
    table = PROVIDER.decode(raws).combine_chunks().append_column("raw_json", pa.array(raws, pa.binary()))
    hits = RuleMatcher(rules.values(), PROVIDER).hits(table, None)
    found = {(hit.rule.id, row) for hit in hits for row in hit.rows.tolist()}

    parsed = [json.loads(raw) for raw in raws]
    expected = {
        (id_, row)
        for row, record in enumerate(parsed)
        for id_, rule in plain.items()
        if plain_sigma.matches(rule, record, raws[row].decode())
    }
    assert len(expected) > 100
    assert found == expected
