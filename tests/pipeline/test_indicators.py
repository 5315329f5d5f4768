"""Indicators over the whole pipeline: by ingestion and by hunts alike, and the command that checks lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands import load, replay, rule_book
from pipeline.detection.hunt import hunt
from pipeline.sql import query
from schemas.errors import ConfigError
from transforms.list_objects import Selection
from transforms.rules.samples import whole
from transforms.stores.files import Output


@pytest.fixture
def feed(tmp_path: Path) -> Path:
    path = tmp_path / "feed.csv"
    path.write_text(
        "type,value,confidence,valid_until\n"
        "ip,203.0.113.9,80,2024-01-02\n"
        "cidr,2001:db8::/64,,\n"
        "access-key,AKIAIOSFODNN7EXAMPLE,50,\n"
    )
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    key = {"type": "IAMUser", "userName": "dana", "accessKeyId": "AKIAIOSFODNN7EXAMPLE"}
    made = [
        {"eventID": "known", "sourceIPAddress": "203.0.113.9"},
        {"eventID": "ended", "sourceIPAddress": "203.0.113.9", "eventTime": "2024-01-02T00:00:00Z"},
        {"eventID": "near", "sourceIPAddress": "2001:db8::77"},
        {"eventID": "key", "userIdentity": key},
        {"eventID": "nothing"},
    ]
    folder = tmp_path / "in"
    folder.mkdir()
    records: list[dict[str, Any]] = [{**whole({}), **it} for it in made]
    (folder / "one.json").write_text(json.dumps({"Records": records[:3]}))
    (folder / "other.json").write_text(json.dumps({"Records": records[1:]}))
    return folder


def replayed(source: Path, output: Path, **flags: Any) -> Output:
    config = load(output=str(output), **flags)
    replay(config, [str(source)], Selection(), workers=1, force=False, dead_letters=False, beam_flags=(), quiet=True)
    return Output(str(output))


def shown(output: Output) -> list[tuple[Any, ...]]:
    with query.connect(output) as connection:
        asked = (
            "SELECT event_id, rule_id, level, evidence, rule_version FROM detections WHERE kind = 'ioc' ORDER BY ALL"
        )
        return connection.sql(asked).fetchall()


def test_a_hunt_with_indicators_finds_what_ingestion_with_them_finds(
    tmp_path: Path, source: Path, feed: Path
) -> None:
    ingested = replayed(source, tmp_path / "with", indicators=[feed])
    assert [it[:4] for it in shown(ingested)] == [
        ("key", "ioc/access_key/AKIAIOSFODNN7EXAMPLE", "medium", ["access_key_id=AKIAIOSFODNN7EXAMPLE"]),
        ("known", "ioc/address/203.0.113.9", "high", ["caller_ip=203.0.113.9"]),
        ("near", "ioc/network/2001:db8::/64", "medium", ["caller_ip=2001:db8::77"]),
    ]
    later = replayed(source, tmp_path / "without")
    assert shown(later) == []
    counts = hunt(later, rule_book([], [feed]), Selection(), quiet=True)
    assert counts["rule_hits"] == 3, "no rule is hunted with but the lists"
    assert shown(later) == shown(ingested)


def test_indicators_without_normalized_events_are_refused(tmp_path: Path, source: Path, feed: Path) -> None:
    with pytest.raises(ConfigError, match="indicators are looked for in normalized events"):
        replayed(source, tmp_path / "raw", indicators=[feed], normalize=False)


def test_the_command_tells_what_lists_hold_and_what_of_them_is_not_looked_for(tmp_path: Path, feed: Path) -> None:
    with feed.open("a") as opened:
        opened.write("sha512,00ff,,\n")
    result = CliRunner().invoke(app, ["indicators", str(feed)])
    assert result.output.splitlines() == [
        f"{feed}: 1 access_key, 1 address, 1 network",
        "  not looked for: 1, type 'sha512' is not looked for, such as '00ff'",
    ]
    told = json.loads(CliRunner().invoke(app, ["indicators", str(feed), "--json"]).output)
    assert told["lists"][0]["taken"] == {"access_key": 1, "address": 1, "network": 1}
