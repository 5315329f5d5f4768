from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest
from support.locked import lock
from support.trees import ACCOUNT, DAY, OTHER, Tree, at

from pipeline.ingestion.dead_letters import RECORDS
from pipeline.sql import query
from schemas.datasets import ALL, EVENTS, HUNTS, SESSIONS, STORIES
from schemas.errors import AccessError, ConfigError, StoreError
from transforms.stores.files import Output

VIEWS = [dataset.name for dataset in ALL if dataset != HUNTS] + [
    "cloud_audit_logs_with_raw",
    "objects",
    "open_dead_letters",
]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "it's [a] *tree*")


def connect(tree: Tree) -> duckdb.DuckDBPyConnection:
    return query.connect(Output(str(tree.root)))


def ask(tree: Tree, sql: str, parameters: dict[str, str] | None = None) -> list[tuple[Any, ...]]:
    with connect(tree) as connection:
        return [tuple(row.values()) for row in query.run(connection, sql, parameters).read_all().to_pylist()]


def test_a_root_without_our_data_is_refused_with_the_remedy(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ConfigError, match=r"holds no trailweave data .*`trailweave ingest`"):
            query.connect(Output(str(root)))


@pytest.mark.parametrize("view", VIEWS)
def test_datasets_without_files_are_empty_views_with_their_columns(tree: Tree, view: str) -> None:
    with connect(tree) as connection:
        rows = query.run(connection, f"FROM {view}").read_all()
    assert rows.num_rows == 0
    for dataset in ALL:
        if {SESSIONS: "session_fragments", STORIES: "recorded_stories"}.get(dataset, dataset.name) == view:
            types = {field.name: field.type for field in rows.schema if field.type != "timestamp[us, tz=UTC]"}
            times = [field.name for field in dataset.arrow if str(field.type).startswith("timestamp")]
            assert set(dataset.arrow.names) <= set(rows.schema.names)
            assert all(
                types[f.name].equals(f.type) or str(f.type).startswith("list")
                for f in dataset.arrow
                if f.name not in times
            )


def test_accounts_keep_their_zeros_and_days_are_dates(tree: Tree) -> None:
    tree.commit([{}, {}])
    tree.commit([{}], account="unknown", day="2026-02-01")
    tree.commit([{}], account=OTHER)
    assert ask(
        tree, "SELECT account_id, recipient_account_id, day + 1, count(*) FROM aws_s3_raw GROUP BY ALL ORDER BY 1"
    ) == [
        (ACCOUNT, ACCOUNT, at("2026-02-01T00:00:00").date(), 2),
        (OTHER, OTHER, at("2026-02-01T00:00:00").date(), 1),
        ("unknown", "unknown", at("2026-02-02T00:00:00").date(), 1),
    ]


def test_a_folder_above_the_tree_that_is_named_as_a_partition_is_none(tmp_path: Path) -> None:
    tree = Tree(tmp_path / "day=2020-02-02" / "account_id=x" / "year=2020" / "it's a *copy*")
    tree.commit([{}])
    tree.commit([{}], "00000001-00000002.parquet")
    tree.ledger(LEDGER)
    tree.dead_letters({})
    assert ask(tree, "SELECT account_id, day FROM aws_s3_raw") == [(ACCOUNT, at(f"{DAY}T00:00:00").date())]
    assert ask(tree, "SELECT day::VARCHAR FROM ingest_log") == [(DAY,)]
    assert ask(tree, "SELECT day FROM dead_letters") == [(DAY,)]


def test_files_that_are_not_whole_or_not_ours_are_not_read(tree: Tree) -> None:
    tree.commit([{}])
    for name in (".00000002.parquet.abc", ".00000002.parquet", "00000003.parquet.tmp", "notes.parquet"):
        tree.write(f"aws_s3_raw/account_id={ACCOUNT}/day={DAY}/{name}", b"not parquet")
        tree.write(f"ingest_log/day={DAY}/.x.parquet", b"not parquet")
    assert ask(tree, "SELECT count(*) FROM aws_s3_raw") == [(1,)]
    assert ask(tree, "SELECT count(*) FROM ingest_log") == [(0,)]


def test_parts_that_a_compacted_file_covers_are_not_read_twice(tree: Tree) -> None:
    events = [{"event_id": name} for name in "abcd"]
    for number, event in enumerate(events[:3], 1):
        tree.commit([event], number)
    tree.commit(events[:2], "00000001-00000002.parquet")
    tree.commit(events[:3], "00000001-00000003.parquet")
    tree.commit(events[3:], 4)
    tree.commit([{"event_id": "z"}], 2, account=OTHER)
    rows = ask(
        tree,
        "SELECT event_id, count(*) FROM cloud_audit_logs JOIN aws_s3_raw USING (event_id) GROUP BY ALL ORDER BY 1",
    )
    assert rows == [("a", 1), ("b", 1), ("c", 1), ("d", 1), ("z", 1)]
    assert ask(tree, "SELECT count(*) FROM tree.files WHERE void") == [(8,)]


def test_files_of_other_schema_versions_read_together(tree: Tree) -> None:
    tree.commit([{"event_id": "new", "session_id": "s"}], 1, datasets=[EVENTS])
    tree.commit([{"event_id": "old"}], 2, datasets=[EVENTS], lacking="session_id")
    tree.commit([{"event_id": "older"}], 1, datasets=[EVENTS], lacking="session_id", day="2026-01-01")
    rows = ask(tree, "SELECT event_id, session_id FROM cloud_audit_logs ORDER BY 1")
    assert rows == [("new", "s"), ("old", None), ("older", None)]


def test_empty_markers_hold_no_rows(tree: Tree) -> None:
    tree.commit([], 1, datasets=[EVENTS])
    tree.commit([{}], 2)
    assert ask(tree, "SELECT count(*), max(referenced_resources_count) FROM cloud_audit_logs") == [(1, None)]


def test_names_of_the_cortex_dataset_and_lists(tree: Tree) -> None:
    tree.commit(
        [{"event_id": "e", "event_time": at("10:00:00"), "raw_json": '{"a":1}', "referenced_resources": ["x", "y"]}]
    )
    row = ask(
        tree,
        "SELECT _time, event_timestamp, event_base_id, referenced_resources, raw_log FROM cloud_audit_logs_with_raw",
    )
    assert row == [(at("10:00:00"), at("10:00:00"), "e", ["x", "y"], '{"a":1}')]


def test_an_event_without_its_raw_record_still_has_a_row(tree: Tree) -> None:
    tree.commit([{}], datasets=[EVENTS])
    assert ask(tree, "SELECT count(*), count(raw_log) FROM cloud_audit_logs_with_raw") == [(1, 0)]


def test_predicates_on_the_partition_open_no_other_file(tree: Tree) -> None:
    tree.commit([{}])
    tree.commit([{}], account=OTHER)
    tree.write(f"cloud_audit_logs/account_id={OTHER}/day={DAY}/00000002.parquet", b"broken")
    sql = "SELECT count(*) FROM cloud_audit_logs WHERE account_id = $a AND day BETWEEN $d::DATE AND '9999-12-31'"
    assert ask(tree, sql, {"a": ACCOUNT, "d": DAY}) == [(1,)]
    with pytest.raises(StoreError, match=r"could not read the tree.*00000002\.parquet"):
        ask(tree, "SELECT max(identity_name) FROM cloud_audit_logs")


def test_new_files_are_seen_by_the_next_connection(tree: Tree) -> None:
    tree.commit([{}])
    with connect(tree) as connection:
        tree.commit([{}], 2)
        assert query.run(connection, "SELECT count(*) AS n FROM aws_s3_raw").read_all().to_pylist() == [{"n": 1}]
    assert ask(tree, "SELECT count(*) FROM aws_s3_raw") == [(2,)]


def test_a_file_that_was_removed_since_is_an_error_and_not_passed_over(tree: Tree) -> None:
    tree.commit([{}])
    tree.commit([{}], 2)
    with connect(tree) as connection:
        (tree.root / f"aws_s3_raw/account_id={ACCOUNT}/day={DAY}/00000002.parquet").unlink()
        with pytest.raises(StoreError, match=r"run it again: .*00000002\.parquet"):
            query.run(connection, "FROM aws_s3_raw").read_all()


LEDGER = {"object_bucket": "b", "object_key": "k", "object_version": "v", "outcome": "done"}


def test_the_last_row_of_an_object_holds_and_counts_what_was_new_at_any_attempt(tree: Tree) -> None:
    first = LEDGER | {"logged_time": at("01:00:00"), "records": 10, "written": 7, "duplicates": 2, "dead_letters": 1}
    again = LEDGER | {"logged_time": at("02:00:00"), "records": 10, "written": 0, "duplicates": 9, "dead_letters": 1}
    tree.ledger(again)
    tree.ledger(first, LEDGER | {"object_version": "v2", "logged_time": at("01:30:00"), "outcome": "deferred"})
    rows = ask(
        tree,
        "SELECT object_version, outcome, attempts, records, written, duplicates, dead_letters FROM objects",
    )
    assert sorted(rows) == [("v", "done", 2, 10, 7, 2, 1), ("v2", "deferred", 1, 0, 0, 0, 0)]
    assert ask(tree, "SELECT count(*) FROM ingest_log") == [(3,)]


def test_records_that_retention_has_taken_since_count_as_written_once(tree: Tree) -> None:
    tree.ledger(LEDGER | {"logged_time": at("01:00:00"), "records": 10, "written": 10})
    tree.ledger(LEDGER | {"logged_time": at("02:00:00"), "records": 10, "expired": 10})
    assert ask(tree, "SELECT records, written, expired, duplicates FROM objects") == [(10, 10, 0, 0)]


def test_messages_that_name_no_object_are_told_apart(tree: Tree) -> None:
    tree.ledger(*({"outcome": "ignored", "message_id": name} for name in ("m1", "m2", "m1")))
    assert ask(tree, "SELECT message_id, attempts FROM objects ORDER BY 1") == [("m1", 2), ("m2", 1)]


def test_dead_letters_give_their_input_as_bytes_and_as_text(tree: Tree) -> None:
    tree.dead_letters({"stage": "explode_records", "input": "é".encode(), "record_index": 3}, {"input": b"\xff"})
    tree.dead_letters({"stage": "fetch_objects", "input": None}, day="unknown")
    tree.write("dead_letters/day=unknown/.x.avro", b"broken")
    rows = ask(tree, "SELECT day, input, input_text, record_index FROM dead_letters ORDER BY ALL")
    assert rows == [(DAY, "é".encode(), "é", 3), (DAY, b"\xff", None, None), ("unknown", None, None, None)]


def test_dead_letters_are_read_in_batches_as_often_as_asked(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.sql.tree._BATCH_BYTES", 1000)
    tree.dead_letters(*({"input": bytes(900)} for _ in range(5)))
    assert ask(tree, "SELECT count(*), sum(octet_length(a.input)) FROM dead_letters a, dead_letters b") == [
        (25, 22500)
    ]


def test_a_broken_file_of_dead_letters_is_named(tree: Tree) -> None:
    tree.write(f"dead_letters/day={DAY}/broken.avro", b"broken")
    with pytest.raises(StoreError, match=r"broken\.avro is no readable Avro file"):
        ask(tree, "FROM dead_letters")


def test_open_dead_letters_are_those_of_objects_whose_last_row_is_not_clean(tree: Tree) -> None:
    for key in ("mended", "bad", "missing"):
        version = "" if key == "missing" else "v"
        tree.dead_letters({"object_bucket": "b", "object_key": key, "object_version": version, "reason": key})
    tree.dead_letters({"reason": "body", "scope": "message"})
    tree.dead_letters(
        {"object_bucket": "b", "object_key": "bad", "object_version": "v1", "reason": "an older version"}
    )
    dead = {"object_bucket": "b", "object_version": "v", "dead_letters": 1, "logged_time": at("01:00:00")}
    clean = {"dead_letters": 0, "logged_time": at("02:00:00"), "outcome": "done"}
    tree.ledger(*(dead | {"object_key": key, "outcome": "done"} for key in ("mended", "bad")))
    tree.ledger(dead | {"object_key": "missing", "object_version": "etag", "outcome": "dead_letter"})
    tree.ledger(dead | clean | {"object_key": "mended"}, dead | clean | {"object_key": "bad", "object_version": "v1"})
    assert ask(tree, "SELECT reason FROM open_dead_letters ORDER BY 1") == [("bad",), ("body",), ("missing",)]


def test_an_object_that_could_not_be_read_is_settled_by_a_later_attempt_that_read_it(tree: Tree) -> None:
    for key, outcome in (("late", "dead_letter"), ("denied", "deferred"), ("gone since", "dead_letter")):
        unread = LEDGER | {"object_key": key, "object_version": "", "outcome": outcome}
        read = LEDGER | {"object_key": key, "records": 5, "written": 5, "compressed_bytes": 9}
        first, then = (read, unread) if key == "gone since" else (unread, read)
        tree.ledger(first | {"logged_time": at("01:00:00")})
        tree.ledger(then | {"logged_time": at("02:00:00")})
        if outcome == "dead_letter":
            tree.dead_letters({"object_bucket": "b", "object_key": key, "reason": key})
    assert ask(tree, "SELECT object_key, outcome, records FROM objects ORDER BY ALL") == [
        *(("denied", "done", 5), ("gone since", "dead_letter", 0), ("gone since", "done", 5), ("late", "done", 5)),
    ]
    assert ask(tree, "SELECT reason FROM open_dead_letters") == [("gone since",)]


def test_records_that_are_fed_in_again_from_dead_letters_change_what_is_bad_and_no_other_count(tree: Tree) -> None:
    """Ten records, of which three are bad, of a damaged object; later two of the three are mended."""
    whole = {"records": 10, "written": 7, "dead_letters": 4, "outcome": "dead_letter", "compressed_bytes": 99}
    part = {"source_name": RECORDS, "records": 3, "dead_letters": 1, "compressed_bytes": 5}
    asked = "SELECT records, written, duplicates, bad_records, dead_letters, outcome, compressed_bytes FROM objects"
    tree.ledger(LEDGER | whole | {"logged_time": at("01:00:00")})
    tree.ledger(LEDGER | part | {"written": 2, "logged_time": at("02:00:00")})
    assert ask(tree, asked) == [(10, 9, 0, 1, 2, "dead_letter", 99)]
    tree.ledger(LEDGER | part | {"duplicates": 2, "logged_time": at("03:00:00")})
    assert ask(tree, asked) == [(10, 9, 0, 1, 2, "dead_letter", 99)]
    tree.ledger(LEDGER | whole | {"written": 0, "dead_letters": 2, "logged_time": at("04:00:00")})
    assert ask(tree, asked) == [(10, 9, 0, 1, 2, "dead_letter", 99)]


def test_times_are_utc(tree: Tree) -> None:
    tree.commit([{"event_time": at("23:30:00")}])
    assert ask(tree, "SELECT _time::VARCHAR, (_time)::DATE::VARCHAR FROM cloud_audit_logs") == [
        (f"{DAY} 23:30:00+00", DAY)
    ]


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        (
            "SELECT * FROM cloud_audit_log",
            r"cloud_audit_log does not exist(?s:.*)Did you mean cloud_audit_logs\? There are: alerts, aws_s3_raw, ",
        ),
        (
            "SELECT identity FROM cloud_audit_logs",
            r"(?s)\"identity\" not found.*Did you mean identity_\w+\? There are \d+; DESCRIBE and the view's name",
        ),
        ("SELECT c.idents FROM cloud_audit_logs c", r"(?s)named \"idents\".*There are \d+; DESCRIBE"),
        ("SELEC 1", "syntax error"),
        ("SELECT 'x'::INT", "Could not convert string 'x'"),
        ("SELECT 1; SELECT 2", "holds 2 statements; give exactly one"),
        ("", "holds 0 statements"),
        ("SELECT $a", r"parameter \$a has no value; give --param a=VALUE"),
        ("COPY (SELECT 1) TO '{root}/evil.csv'", "a COPY statement is not run here"),
        ("EXPLAIN ANALYZE COPY (SELECT 1) TO '{root}/evil.csv'", "a EXPLAIN statement is not run here"),
        ("CREATE TABLE t (a INT)", "a CREATE statement is not run here"),
        ("SET memory_limit = '1TB'", "a SET statement is not run here"),
        ("INSTALL httpfs", "a LOAD statement is not run here"),
    ],
)
def test_sql_that_cannot_be_run_is_explained(tree: Tree, sql: str, error: str) -> None:
    root = tree.root.as_posix().replace("'", "''")
    with pytest.raises(ConfigError, match=error):
        ask(tree, sql.replace("{root}", root))
    assert not (tree.root / "evil.csv").exists()


@pytest.mark.parametrize("below", ["", "cloud_audit_logs", f"cloud_audit_logs/account_id={ACCOUNT}/day={DAY}"])
def test_a_folder_that_cannot_be_listed_is_told_and_its_rows_are_not_missed_in_silence(
    tree: Tree, below: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.commit([{}])
    locked = lock(tree.root / below, monkeypatch)

    with pytest.raises((AccessError, PermissionError)) as told:
        ask(tree, "SELECT count(*) FROM cloud_audit_logs")
    assert str(locked) in str(told.value)


def test_a_parameter_that_the_query_does_not_have_is_refused(tree: Tree) -> None:
    with pytest.raises(ConfigError, match=r"no parameter \$b; it has a"):
        ask(tree, "SELECT $a", {"a": "1", "b": "2"})


def test_a_fault_while_the_rows_are_read_is_explained_too(tree: Tree) -> None:
    with connect(tree) as connection, pytest.raises(ConfigError, match="Could not convert string 'x'"):
        query.run(connection, "SELECT if(i = 900000, 'x', '1')::INT FROM range(1000000) t(i)").read_all()


def test_other_statements_that_only_ask(tree: Tree) -> None:
    names = [row[0] for row in ask(tree, "SHOW TABLES")]
    assert set(VIEWS) <= set(names)
    assert ("_time", "TIMESTAMP WITH TIME ZONE") in [row[:2] for row in ask(tree, "DESCRIBE cloud_audit_logs")]


def test_the_script_for_plain_duckdb_gives_the_same_rows(tree: Tree) -> None:
    tree.commit([{"event_id": "a"}], 1)
    tree.commit([{"event_id": "a"}, {"event_id": "b"}], "00000001-00000002.parquet")
    tree.ledger(LEDGER)
    script = query.views_sql(str(tree.root))
    # Its last part needs the avro extension, which is not ours to download.
    without_avro = script[: script.index("-- tree.dead_letters for plain DuckDB")]
    with duckdb.connect() as plain:
        plain.execute(without_avro)
        for view, count in {"cloud_audit_logs_with_raw": 2, "aws_s3_raw": 2, "objects": 1, "ingest_log": 1}.items():
            assert plain.sql(f"FROM {view}").to_arrow_table().num_rows == count
        plain.execute(without_avro)
    assert "read_avro(" in script


def test_every_dataset_has_columns_that_duckdb_knows() -> None:
    derived = {"aws_s3_raw", "cloud_audit_logs", "sessions", "detections", "profiles", "hunts"}
    evaluated = {"stories", "alerts", "deliveries"}
    assert {it.name for it in ALL} == derived | evaluated | {"ingest_log", "dead_letters"}
