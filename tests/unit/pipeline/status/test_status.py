from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.trees import ACCOUNT, DAY, OTHER, Tree, at

from pipeline.status import status as module
from pipeline.status.page import render, watch
from pipeline.status.status import (
    DeadLetterGroup,
    LastError,
    Objects,
    PartitionStatus,
    Records,
    as_json,
    status,
)
from schemas.datasets import EVENTS, RAW
from schemas.errors import AccessError, ConfigError
from transforms.stores.files import Output


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def of(tree: Tree) -> module.Status:
    return status(Output(str(tree.root)))


OBJECT = {
    "object_bucket": "trail",
    "object_version": "v",
    "outcome": "done",
    "key_account_id": ACCOUNT,
    "key_day": DAY,
    "logged_time": at("12:00:10"),
    "sent_time": at("12:00:00"),
    "first_event_time": at("11:55:00"),
    "last_event_time": at("11:59:00"),
}


def story(tree: Tree) -> None:
    """Four objects: one twice, one with a bad record, one unreadable, one denied; and a test event."""
    tree.commit([{}] * 12, 1)
    tree.commit([{}] * 2, 2)
    tree.commit([], 3, account=OTHER)
    tree.ledger(
        OBJECT
        | {
            "object_key": "a",
            "records": 10,
            "written": 8,
            "duplicates": 2,
            "compressed_bytes": 1500,
            "decompressed_bytes": 12_000_000,
        },
        OBJECT | {"object_key": "b", "records": 5, "written": 4, "dead_letters": 1, "logged_time": at("12:00:20")},
    )
    again = OBJECT | {"object_key": "a", "records": 10, "duplicates": 10, "logged_time": at("13:00:00")}
    tree.ledger(again | {"compressed_bytes": 1500, "decompressed_bytes": 12_000_000})
    late = OBJECT | {"key_account_id": OTHER, "first_event_time": None, "last_event_time": None}
    tree.ledger(
        late
        | {
            "object_key": "c",
            "outcome": "dead_letter",
            "dead_letters": 1,
            "reason": "not gzip",
            "logged_time": at("13:30:00"),
        },
        late
        | {
            "object_key": "d",
            "outcome": "deferred",
            "reason": "s3:GetObject was refused to \x1b[31mme",
            "logged_time": at("14:00:00"),
        },
        {"outcome": "ignored", "message_id": "m", "logged_time": at("13:00:00")},
    )
    bad = {"object_bucket": "trail", "object_version": "v", "scope": "record", "stage": "explode_records"}
    tree.dead_letters(bad | {"object_key": "b", "reason": "no eventTime", "input": b"{}"})
    tree.dead_letters(bad | {"object_key": "c", "scope": "object", "reason": "not [bold]gzip"})
    tree.dead_letters(bad | {"object_key": "a", "reason": "mended since"})


def test_the_counts_of_a_story(tree: Tree) -> None:
    story(tree)
    found = of(tree)
    assert found.objects == Objects(
        total=4,
        done=2,
        dead_letter=1,
        digest=0,
        ignored=0,
        deferred=1,
        messages_without_object=1,
        compressed_bytes=1500,
        decompressed_bytes=12_000_000,
    )
    assert found.records == Records(received=15, written=12, duplicates=2, expired=0, bad=1)
    assert found.files == {"aws_s3_raw": 3, "cloud_audit_logs": 3, "ingest_log": 3}
    assert (found.last_event, found.last_ingest) == (at("11:59:00"), at("14:00:00"))
    assert found.last_error == LastError(
        at("14:00:00"), "deferred", "s3://trail/d", "s3:GetObject was refused to \x1b[31mme"
    )
    assert found.dead_letters == (
        DeadLetterGroup("explode_records", "object", "not [bold]gzip", 1),
        DeadLetterGroup("explode_records", "record", "no eventTime", 1),
    )
    assert found.partitions == (
        PartitionStatus(ACCOUNT, DAY, 2, 15, 12, 2, 0, 1, 0, raw_rows=14, event_rows=14),
        PartitionStatus(OTHER, DAY, 2, 0, 0, 0, 0, 1, 1, raw_rows=0, event_rows=0),
    )


def test_lag_is_of_objects_that_brought_something_new_within_a_day(tree: Tree) -> None:
    story(tree)
    old = OBJECT | {"object_key": "old", "records": 1, "written": 1, "sent_time": at("2026-01-01T00:00:00")}
    replayed = OBJECT | {"object_key": "replayed", "records": 1, "written": 1, "sent_time": None}
    tree.ledger(old | {"logged_time": at("2026-01-29T00:00:00")}, replayed)
    lag = of(tree).lag
    assert (lag.objects, lag.sent_p50_s, lag.sent_p95_s, lag.sent_max_s) == (2, 15, 19.5, 20)
    assert (lag.event_p50_s, lag.event_max_s) == (315, 320)


def test_an_empty_tree(tree: Tree) -> None:
    found = of(tree)
    assert found.objects.total == found.records.received == found.lag.objects == 0
    assert (found.last_event, found.last_error, found.partitions, found.files) == (None, None, (), {})
    assert "none" in page(found)


def test_rows_are_left_uncounted_when_there_are_many_files(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COUNTED_LOCAL_FILES", 3)
    story(tree)
    assert {row.raw_rows for row in of(tree).partitions} == {None}


def test_raw_files_without_their_marker_are_named(tree: Tree) -> None:
    for number in (1, 2, 3):
        tree.commit([{}], number, datasets=[RAW])
    tree.commit([{}] * 2, "00000001-00000002.parquet", datasets=[EVENTS])
    tree.commit([{}], 1, account=OTHER)
    tree.commit([{}], 3, account=OTHER, datasets=[EVENTS])
    assert of(tree).incomplete == (f"aws_s3_raw/account_id={ACCOUNT}/day={DAY}/00000003.parquet",)


def test_a_raw_only_tree_lacks_no_marker(tree: Tree) -> None:
    tree.write(".trailweave/settings.json", json.dumps({"normalize": False}).encode())
    tree.commit([{}], datasets=[RAW])
    found = of(tree)
    assert (found.normalize, found.incomplete) == (False, ())
    assert "(raw only)" in page(found)


def test_settings_that_cannot_be_read_are_named(tree: Tree) -> None:
    tree.write(".trailweave/settings.json", b"[]")
    with pytest.raises(ConfigError, match=r"settings\.json holds settings that this version does not know"):
        of(tree)


def test_a_root_without_our_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no trailweave data"):
        status(Output(str(tmp_path)))


def test_json_has_every_field_and_times_in_utc(tree: Tree) -> None:
    story(tree)
    found = json.loads(as_json(of(tree)))
    assert found["last_ingest"] == f"{DAY}T14:00:00Z"
    assert found["objects"]["total"] == 4
    assert found["partitions"][0]["raw_rows"] == 14
    assert list(found) == list(module.Status.__dataclass_fields__)


def page(found: module.Status, width: int = 80) -> str:
    stream = io.StringIO()
    render(found, Console(file=stream, width=width), now=at("14:03:00"))
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 132])
def test_the_page(tree: Tree, width: int) -> None:
    story(tree)
    text = page(of(tree), width)
    assert max(len(line) for line in text.splitlines()) <= width
    flat = " ".join(text.split())
    for expected in (
        "4 = 2 done + 1 deferred + 1 dead letter",
        "15 = 12 written + 2 duplicates + 1 bad",
        "1.5 kB stored, 12.0 MB as text",
        "2026-01-31T14:00:00Z (3.0 min ago)",
        "p50 15.0 s, p95 19.5 s, max 20.0 s",
        "\\x1b[31mme",
        "1 that name no object",
    ):
        assert expected in flat
    assert "\x1b" not in text
    if width > 60:
        assert "not [bold]gzip" in flat


def test_the_page_says_that_a_time_is_yet_to_come(tree: Tree) -> None:
    tree.ledger(OBJECT | {"object_key": "a", "last_event_time": at("16:03:00")})
    tree.commit([{"event_time": at("16:03:00")}])
    assert "Z (in 2.0 h)" in page(of(tree))


def test_the_page_shows_the_last_days_of_many(tree: Tree) -> None:
    days = [f"2026-01-{day:02}" for day in range(1, 31)]
    tree.ledger(*(OBJECT | {"object_key": day, "key_day": day} for day in days))
    text = page(of(tree))
    assert "2026-01-30" in text
    assert "2026-01-02" not in text
    assert "The last 15 of 30" in text


def test_watching_prints_a_page_for_each_look_where_there_is_no_terminal(tree: Tree) -> None:
    story(tree)
    stream = io.StringIO()
    looks = iter([True, True, False])

    watch(lambda: of(tree), Console(file=stream, width=80), lambda: next(looks))

    assert stream.getvalue().count("Last ingest") == 3


def test_watching_on_a_terminal_changes_one_page_in_place_and_leaves_the_last(tree: Tree) -> None:
    story(tree)
    stream = io.StringIO()
    looks = iter([True, False])

    watch(
        lambda: of(tree),
        Console(file=stream, width=80, height=50, force_terminal=True),
        lambda: next(looks),
    )

    enter, leave = "\x1b[?1049h", "\x1b[?1049l"
    assert stream.getvalue().count(enter) == stream.getvalue().count(leave) == 1
    assert stream.getvalue().split(leave)[1].count("Last ingest") == 1


def test_a_look_that_fails_is_shown_and_the_next_one_may_succeed(tree: Tree) -> None:
    story(tree)
    stream = io.StringIO()
    pauses = iter([True, True, False])
    found: Iterator[Any] = iter([of(tree), AccessError("s3:ListBucket was refused"), None])

    def look() -> module.Status:
        it = next(found)
        if isinstance(it, Exception):
            raise it
        return it or of(tree)

    watch(look, Console(file=stream, width=80), lambda: next(pauses))

    assert "TW-ACCESS: s3:ListBucket was refused" in stream.getvalue()
    assert stream.getvalue().count("Last ingest") == 2
