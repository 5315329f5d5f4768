"""Rule hits as a dataset: by ingestion, repair and hunts alike, whatever the order and the cut of the input."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.replaying import replay_from

from pipeline.commands import hunt as look
from pipeline.commands import load, repair
from pipeline.detection.hunt import hunt
from pipeline.ingestion.summary import Summary
from pipeline.sql import query
from schemas.errors import ConfigError
from transforms.enrichment.book import EnrichmentBook
from transforms.list_objects import Selection
from transforms.rules.book import RuleBook
from transforms.rules.samples import whole
from transforms.stores.files import Output

RULES = """
title: User made
id: 0e95725d-7320-415d-80f7-004da920fc10
logsource: {product: aws, service: cloudtrail}
detection: {one: {eventName: CreateUser}, condition: one}
level: high
---
title: Named like me
logsource: {product: trailweave, service: cloud_audit_logs}
detection: {one: {identity_name|contains: ada}, condition: one}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "mine.yml").write_text(RULES)
    return folder


def records() -> list[dict[str, Any]]:
    made = [
        {"eventID": f"made-{n}", "eventName": "CreateUser", "eventTime": f"2024-03-0{1 + n % 3}T0{n}:00:00Z"}
        for n in range(6)
    ]
    ada = {"type": "IAMUser", "arn": "arn:aws:iam::111122223333:user/ada", "userName": "ada", "principalId": "AIDA1"}
    other = [{"eventID": f"read-{n}", "eventName": "ListUsers", "userIdentity": ada} for n in range(4)]
    return [{**whole({}), **it} for it in made + other]


def trail(folder: Path, *objects: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    for number, found in enumerate(objects):
        (folder / f"{number}.json").write_text(json.dumps({"Records": found}))
    return folder


def replayed(source: Path, output: Path, *rules: Path, **flags: Any) -> Summary:
    config = load(output=str(output), rules=list(rules) or None, **flags)
    return replay_from(config, source, force=False)


def hits(output: Path, view: str = "detections") -> list[tuple[Any, ...]]:
    with query.connect(Output(str(output))) as connection:
        columns = "rule_title, event_id, event_time, session_id, level, evidence, rule_version"
        return connection.sql(f"SELECT {columns} FROM {view} ORDER BY ALL").fetchall()


def test_hits_do_not_depend_on_order_grouping_or_repetition(tmp_path: Path, rules: Path) -> None:
    found = records()
    replayed(trail(tmp_path / "one", found), tmp_path / "a", rules)
    cut = [found[7:], found[:3], found[2:8], found[:1]]
    replayed(trail(tmp_path / "cut", *cut), tmp_path / "b", rules)
    assert hits(tmp_path / "a") == hits(tmp_path / "b")
    by_rule = [title for title, *_ in hits(tmp_path / "a")]
    assert by_rule.count("User made") == 6
    assert by_rule.count("Named like me") == 4


def test_a_hunt_finds_what_ingestion_would_have_raised(tmp_path: Path, rules: Path) -> None:
    source = trail(tmp_path / "in", records()[:5], records()[4:])
    replayed(source, tmp_path / "with", rules)
    replayed(source, tmp_path / "without")
    assert hits(tmp_path / "without") != hits(tmp_path / "with")
    book = RuleBook.of([rules], shipped=False)
    for _ in range(2):
        counts = hunt(Output(str(tmp_path / "without")), book, Selection(), quiet=True)
        assert counts["records"] == 10
        assert counts["rule_hits"] == 10
    mine = {title for title, *_ in hits(tmp_path / "without", "tree.hunts")}
    assert mine == {"User made", "Named like me"}
    assert hits(tmp_path / "without") == hits(tmp_path / "with")


def test_a_hunt_tells_its_hits_by_rule_and_once_though_files_were_merged_in_between(
    tmp_path: Path, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    replayed(trail(tmp_path / "in", records()[:5], records()[5:]), tmp_path / "out")
    config = load(output=str(tmp_path / "out"))

    def told() -> list[dict[str, Any]]:
        capsys.readouterr()
        look(config, RuleBook.of([rules], shipped=False), Selection(), beam_flags=(), form="json", quiet=True)
        found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
        return found

    first = told()
    assert [{name: it[name] for name in ("rule", "level", "hits", "sessions", "rule_id")} for it in first] == [
        {
            "rule": "User made",
            "level": "high",
            "hits": 6,
            "sessions": 0,
            "rule_id": "0e95725d-7320-415d-80f7-004da920fc10",
        },
        {"rule": "Named like me", "level": "medium", "hits": 4, "sessions": 0, "rule_id": "Named like me"},
    ]
    (folder,) = (tmp_path / "out" / "hunts").iterdir()
    for file in [*folder.rglob("*.parquet")]:
        shutil.copy(file, file.with_name("00000001-00000002.parquet"))
    assert told() == first


def test_a_hunt_with_other_enrichment_data_writes_beside_the_one_before(tmp_path: Path, rules: Path) -> None:
    replayed(trail(tmp_path / "in", records()), tmp_path / "out")
    output, book = Output(str(tmp_path / "out")), RuleBook.of([rules], shipped=False)
    accounts = tmp_path / "accounts.csv"
    accounts.write_text("account_id,name\n111122223333,ada\n")
    for enrichment in (EnrichmentBook(), EnrichmentBook.of({"accounts": [accounts]}), EnrichmentBook()):
        hunt(output, book, Selection(), enrichment=enrichment, quiet=True)
    assert len([*(tmp_path / "out" / "hunts").iterdir()]) == 2


def test_a_hunt_over_what_had_these_rules_adds_nothing(tmp_path: Path, rules: Path) -> None:
    replayed(trail(tmp_path / "in", records()), tmp_path / "out", rules)
    before = hits(tmp_path / "out")
    hunt(Output(str(tmp_path / "out")), RuleBook.of([rules]), Selection(), quiet=True)
    assert hits(tmp_path / "out") == before


def test_a_hunt_looks_at_the_days_and_accounts_asked_for(tmp_path: Path, rules: Path) -> None:
    replayed(trail(tmp_path / "in", records()), tmp_path / "out")
    book = RuleBook.of([rules], shipped=False)
    output = Output(str(tmp_path / "out"))
    assert hunt(output, book, Selection(first_day="2024-03-02", last_day="2024-03-02"), quiet=True)["records"] == 2
    assert hunt(output, book, Selection(accounts=frozenset({"444455556666"})), quiet=True)["records"] == 0


def test_repair_derives_the_hits_that_a_killed_writer_left_out(tmp_path: Path, rules: Path) -> None:
    replayed(trail(tmp_path / "in", records()), tmp_path / "out", rules)
    before = hits(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "detections")
    shutil.rmtree(tmp_path / "out" / "cloud_audit_logs")
    assert hits(tmp_path / "out") == []
    completed, _ = repair(load(output=str(tmp_path / "out"), rules=[rules]))
    assert completed == 4
    assert hits(tmp_path / "out") == before


def test_a_root_of_before_there_were_detections_is_upgraded_by_a_replay_of_its_raw_tree(
    tmp_path: Path, rules: Path
) -> None:
    source = trail(tmp_path / "in", records())
    replayed(source, tmp_path / "old", detections=False)
    (tmp_path / "old" / ".trailweave" / "settings.json").write_text('{"normalize": true, "sessions": true}')
    with pytest.raises(ConfigError, match=r"detections is False there and True here.*replay its raw records"):
        replayed(source, tmp_path / "old", rules)
    assert hits(tmp_path / "old") == []
    replayed(tmp_path / "old" / "aws_s3_raw", tmp_path / "new", rules)
    replayed(source, tmp_path / "fresh", rules)
    assert hits(tmp_path / "new") == hits(tmp_path / "fresh") != []


def test_rules_hold_over_raw_records_alone(tmp_path: Path, rules: Path) -> None:
    source = trail(tmp_path / "in", records())
    replayed(source, tmp_path / "out", rules, normalize=False, detections=True)
    assert not (tmp_path / "out" / "cloud_audit_logs").exists()
    assert [title for title, *_ in hits(tmp_path / "out")] == ["User made"] * 6
    assert repair(load(output=str(tmp_path / "out"), normalize=False, detections=True, rules=[rules]))[0] == 0


def test_without_detections_no_rule_is_asked(tmp_path: Path, rules: Path) -> None:
    replayed(trail(tmp_path / "in", records()), tmp_path / "out", rules, detections=False)
    assert not (tmp_path / "out" / "detections").exists()
