"""The rules that come with trailweave: each says what it must, and does what its samples say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.detection import rules
from transforms.rules.book import SHIPPED, RuleBook
from transforms.rules.samples import beside, read_samples
from transforms.rules.sigma import compile_rules, read_rules

FILES = sorted(SHIPPED.rglob("*.yml"))


def test_there_are_rules_and_each_can_be_used() -> None:
    found = RuleBook.of().rule_set()
    assert len(found.rules) >= 50
    assert len(found.correlations) >= 9
    assert found.elsewhere == ()


@pytest.mark.parametrize("path", FILES, ids=lambda it: it.stem)
def test_a_rule_hits_what_it_must_and_nothing_near_it(path: Path) -> None:
    (result,) = rules.tested(RuleBook(read_rules([path])))
    assert result.wrong == ()


@pytest.mark.parametrize("path", FILES, ids=lambda it: it.stem)
def test_a_rule_has_samples_of_each_kind(path: Path) -> None:
    samples = read_samples(beside(path))
    assert samples is not None
    assert samples.hits
    assert samples.near_misses
    has_correlation = bool(compile_rules(read_rules([path])).correlations)
    assert has_correlation == bool(samples.raises) == bool(samples.quiet)


@pytest.mark.parametrize("path", FILES, ids=lambda it: it.stem)
def test_a_rule_says_what_an_analyst_needs(path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        assert {"title", "id", "description", "tags", "level", "falsepositives"} <= set(document)
        assert any(tag.startswith("attack.t") for tag in document["tags"])


def test_every_sample_file_stands_beside_a_rule() -> None:
    samples = {path.name.removesuffix(".samples.json") for path in SHIPPED.rglob("*.samples.json")}
    assert samples == {path.stem for path in FILES}
