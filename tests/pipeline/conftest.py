"""What several tests of alerts begin with."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.alerting import RULES

from transforms.rules.book import RuleBook
from transforms.rules.sigma import RuleSet


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules.yml").write_text(RULES)
    return tmp_path / "rules.yml"


@pytest.fixture
def rule_set(rules: Path) -> RuleSet:
    return RuleBook.of([rules], shipped=False).rule_set()
