"""Alerts that somebody knows of: suppressed with a reason, or told what is wrong with the file of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.alerting import ISSUE, NOW, USES, keep, told

from pipeline.alerting import alerts
from pipeline.alerting.suppressions import Suppression, read_suppressions
from schemas.errors import ConfigError
from transforms.rules.sigma import RuleSet


def test_a_suppressed_alert_is_kept_with_the_reason(tmp_path: Path, rules: Path, rule_set: RuleSet) -> None:
    config = keep(tmp_path / "out", rules, [ISSUE, *USES])
    (tmp_path / "known.toml").write_text(
        """
[[suppress]]
rule = "key MADE"
identity = "an*"
seen = "*userName=*a*"
reason = "rotation by Ana"

[[suppress]]
rule = "Many*"
until = 1999-12-31
reason = "over"
"""
    )
    alerts.evaluate(config.root(), rule_set, read_suppressions(tmp_path / "known.toml"), now=NOW)
    with alerts.connect(config.root()) as connection:
        rows = connection.sql("SELECT rule_title, status, reason FROM alerts ORDER BY 1").fetchall()
    ours = [row for row in rows if row[0] in ("Key made", "Many calls refused")]
    assert ours == [("Key made", "suppressed", "rotation by Ana"), ("Many calls refused", "open", None)]
    alerts.evaluate(config.root(), rule_set, now=NOW)
    assert {row["status"] for row in told(config)} == {"open"}


NAME, RUN = "params.name", "params.name=Run*"


@pytest.mark.parametrize(
    ("keys", "about", "is_hidden"),
    [
        ({"seen": RUN}, {"seen": [f"{NAME}=RunPatch", f"{NAME}=RunAgent", "eventName=SendCommand"]}, True),
        ({"seen": RUN}, {"seen": [f"{NAME}=RunPatch", f"{NAME}=Shell"]}, False),
        ({"seen": RUN}, {"seen": ["eventName=SendCommand"]}, False),
        ({"seen": RUN}, {"seen": []}, False),
        ({"seen": RUN}, {"seen": [f"{NAME}=Run{it}" for it in range(12)]}, False),
        ({"account": "1111*"}, {"accounts": ["111122223333", "111144445555"]}, True),
        ({"account": "1111*"}, {"accounts": ["111122223333", "444455556666"]}, False),
        ({"account": "*"}, {"accounts": []}, False),
        ({"account": "*"}, {"accounts": [f"{it:012}" for it in range(64)]}, False),
    ],
)
def test_nothing_hides_behind_an_account_or_a_value_that_is_known(
    keys: dict[str, Any], about: dict[str, Any], is_hidden: bool
) -> None:
    alert = {"rule_title": "t", "rule_id": "r", "root_identity": None, "accounts": ["111122223333"], "seen": []}

    assert Suppression(reason="known", **keys).fits(alert | about) is is_hidden


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[suppress]]\nreason = 'x'\n", "entry 1: .*give one of rule"),
        ("[[suppress]]\nrule = 'x'\n", "entry 1: reason"),
        ("[[suppress]]\nrule = 'x'\nreason = 'y'\nuser = 'z'\n", "entry 1: user"),
        ("[[suppres]]\nrule = 'x'\n", "unknown table 'suppres'"),
        ("[[suppress]\n", "no TOML"),
    ],
)
def test_suppressions_that_cannot_be_used_are_told(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "known.toml").write_text(text)
    with pytest.raises(ConfigError, match=rf"known\.toml.*{why}"):
        read_suppressions(tmp_path / "known.toml")


def test_suppressions_that_cannot_be_read_name_the_file_once(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none.toml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(ConfigError, match=why) as told:
            read_suppressions(path)
        assert str(told.value).count(str(tmp_path)) == 1
