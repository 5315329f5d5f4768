"""Profiles: a function of each file of events, made once, whatever is compacted or already there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.credentials import use, user
from support.records import event_id
from support.replaying import replay_records

from pipeline.alerting import profiles
from pipeline.commands import load
from pipeline.compaction import compact
from pipeline.sql import query
from schemas.datasets import EVENTS, PROFILES, RAW
from transforms.stores.files import Output, open_store
from transforms.stores.settings import Settings
from transforms.stores.tree import Numbered, folder_of, list_partitions

RECORDS = [use(f"e-{n:02}", 600 * n, user(), eventName="ListRoles" if n % 3 else "GetRole") for n in range(12)]


def keep(output: Path, *objects: Sequence[Any]) -> Output:
    config = load(output=str(output))
    for records in objects:
        replay_records(config, records)
    return config.root()


def complete(output: Output) -> int:
    with query.connect(output) as connection:
        return profiles.complete(open_store(output), connection)


def told(output: Output) -> list[dict[str, Any]]:
    with query.connect(output) as connection:
        rows: list[dict[str, Any]] = connection.sql("FROM profiles ORDER BY ALL").to_arrow_table().to_pylist()
    return rows


def files(output: Output, name: str) -> dict[str, bytes]:
    root = Path(output.uri, name)
    return {str(it.relative_to(root)): it.read_bytes() for it in root.rglob("*.parquet")}


def test_a_row_counts_what_a_session_did_in_an_hour(tmp_path: Path) -> None:
    output = keep(tmp_path / "out", RECORDS)
    assert complete(output) == 1
    rows = told(output)
    assert [(row["operation_name_orig"], row["hour"].hour, row["events"]) for row in rows] == [
        ("GetRole", 0, 2),
        ("ListRoles", 0, 4),
        ("GetRole", 1, 2),
        ("ListRoles", 1, 4),
    ]
    assert (rows[0]["first_event_id"], rows[0]["last_event_id"]) == (event_id("e-00"), event_id("e-03"))


def test_a_country_of_the_registries_is_in_events_and_not_in_profiles(tmp_path: Path) -> None:
    output = keep(tmp_path / "out", [use("e-1", 0, user(), sourceIPAddress="193.0.6.139")])
    complete(output)
    with query.connect(output) as connection:
        events = connection.sql("SELECT caller_ip_geolocation FROM cloud_audit_logs").fetchall()
    assert events == [("NL",)]
    assert [(row["caller_ip"], row["caller_ip_geolocation"]) for row in told(output)] == [("193.0.6.139", None)]


def test_profiles_are_made_once_for_each_file(tmp_path: Path) -> None:
    output = keep(tmp_path / "out", RECORDS[:5], RECORDS)
    assert complete(output) == 2
    before = files(output, PROFILES.name)
    assert before.keys() == files(output, EVENTS.name).keys()
    assert complete(output) == 0
    first = next(iter(before))
    Path(output.uri, PROFILES.name, first).unlink()
    assert complete(output) == 1
    assert files(output, PROFILES.name) == before


def test_profiles_do_not_depend_on_how_events_came(tmp_path: Path) -> None:
    one = keep(tmp_path / "one", RECORDS)
    other = keep(tmp_path / "other", RECORDS[::-2], RECORDS[4:], RECORDS)
    assert complete(one) == 1
    assert complete(other) == 3
    assert told(one) == told(other)


def test_a_file_that_compaction_made_is_profiled_anew_and_no_row_counts_twice(tmp_path: Path) -> None:
    output = keep(tmp_path / "out", RECORDS[:5], RECORDS)
    complete(output)
    before = told(output)
    store = open_store(output)
    (partition,) = list_partitions(store, RAW)
    folder = Path(output.uri, folder_of(EVENTS, partition))
    parts = sorted(folder.iterdir())
    whole = pq.ParquetDataset([str(it) for it in parts], partitioning=None).read()
    pq.write_table(whole, folder / Numbered(1, 2).name)
    assert told(output) == before
    assert complete(output) == 1
    assert told(output) == before


def test_compaction_removes_profiles_of_parts_once_the_range_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "GRACE_S", 0)
    output = keep(tmp_path / "out", RECORDS[:5], RECORDS)
    store = open_store(output)
    (partition,) = list_partitions(store, RAW)
    complete(output)
    before = told(output)
    compact.compact_partition(store, Settings(), partition, quiet_s=0)
    assert [Path(it).name for it in files(output, EVENTS.name)] == [Numbered(1, 2).name]
    assert len(files(output, PROFILES.name)) == 2
    assert told(output) == before
    assert complete(output) == 1
    assert told(output) == before
    compact.compact_partition(store, Settings(), partition, quiet_s=0)
    assert [Path(it).name for it in files(output, PROFILES.name)] == [Numbered(1, 2).name]
    assert told(output) == before


def test_a_column_that_an_older_file_lacks_is_null(tmp_path: Path) -> None:
    output = keep(tmp_path / "out", RECORDS)
    (path,) = Path(output.uri, EVENTS.name).rglob("*.parquet")
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["caller_tool"]), path)
    complete(output)
    assert {row["caller_tool"] for row in told(output)} == {None}
    assert sum(row["events"] for row in told(output)) == len(RECORDS)
