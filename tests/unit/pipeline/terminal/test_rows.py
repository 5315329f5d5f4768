from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from rich.cells import cell_len

from pipeline.terminal.rows import FORMS, TABLE_ROWS, print_rows, shown
from schemas.errors import ConfigError

HOSTILE = '\x1b[2J[red]x[/red]\u202egnp\u009b31m\r\nsecond,"line" :smile: \x00'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(rows: pa.Table | pa.RecordBatchReader, form: str, **options: Any) -> str:
    stream = io.StringIO()
    print_rows(rows, form, stream, **options)
    return stream.getvalue()


def mixed() -> pa.Table:
    """One row of every kind of value that a query gives, and one of nulls."""
    row = {
        "time": datetime(2026, 1, 31, 12, 0, 0, 120_000, tzinfo=UTC),
        "day": date(2026, 1, 31),
        "text": 'say "hi", él',
        "count": 2**63 - 1,
        "sum": Decimal("12345678901234567890123"),
        "price": Decimal("1.50"),
        "ratio": 0.25,
        "yes": True,
        "input": b"\xff\x00ok",
        "names": ["a", None, "b,c"],
        "nested": {"at": datetime(2026, 1, 1, tzinfo=UTC), "n": 1},
    }
    types = {
        "time": pa.timestamp("us", tz="UTC"),
        "sum": pa.decimal128(38, 0),
        "price": pa.decimal128(10, 2),
        "nested": pa.struct({"at": pa.timestamp("us", tz="UTC"), "n": pa.int32()}),
    }
    return pa.table({name: pa.array([value, None], types.get(name)) for name, value in row.items()})


def test_json_is_one_array_of_exact_values() -> None:
    text = printed(mixed(), "json")
    first, second = json.loads(text, parse_int=str, parse_float=str)
    assert first == {
        "time": "2026-01-31T12:00:00.120000Z",
        "day": "2026-01-31",
        "text": 'say "hi", él',
        "count": "9223372036854775807",
        "sum": "12345678901234567890123",
        "price": "1.50",
        "ratio": "0.25",
        "yes": True,
        "input": "/wBvaw==",
        "names": ["a", None, "b,c"],
        "nested": {"at": "2026-01-01T00:00:00Z", "n": "1"},
    }
    assert set(second.values()) == {None}


def test_json_lines_hold_one_object_a_line_with_the_same_values() -> None:
    lines = printed(mixed(), "jsonl").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(printed(mixed(), "json"))


def test_csv_tells_null_from_empty_text_and_reads_back() -> None:
    rows = pa.table({"a": ["", None, 'x"y', "two\nlines"], "b": [1, None, 3, 4]})
    text = printed(rows, "csv")
    assert text == 'a,b\n"",1\n,\n"x""y",3\n"two\nlines",4\n'
    assert list(csv.reader(io.StringIO(text)))[3] == ['x"y', "3"]


def test_csv_writes_lists_as_json_and_the_rest_as_json_without_quotes() -> None:
    _, first, second = csv.reader(io.StringIO(printed(mixed(), "csv")))
    assert first[0] == "2026-01-31T12:00:00.120000Z"
    assert first[4] == "12345678901234567890123"
    assert first[7:10] == ["true", "/wBvaw==", '["a",null,"b,c"]']
    assert second == [""] * 11


def test_times_of_another_zone_are_printed_in_utc() -> None:
    at = datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    rows = pa.table({"t": pa.array([at], pa.timestamp("us", tz="Europe/Helsinki"))})
    assert printed(rows, "csv") == "t\n2025-12-31T23:30:00Z\n"


@pytest.mark.parametrize("form", FORMS)
def test_no_rows(form: str) -> None:
    rows = pa.table({"a": pa.array([], pa.string())})
    text = printed(rows, form)
    assert {"csv": "a\n", "json": "[]\n", "jsonl": ""}.get(form, text) == text


@pytest.mark.parametrize("form", ["table", "json", "jsonl"])
def test_hostile_text_reaches_no_terminal(form: str) -> None:
    text = printed(pa.table({HOSTILE: [HOSTILE]}), form)
    assert not set(text) & set("\x1b\u202e\u009b\r\x00")
    if form == "jsonl":
        assert json.loads(text) == {HOSTILE: HOSTILE}
    if form == "table":
        assert "[red]x[/red]" in text.replace("\n", "")
        assert ":smile:" in text


def test_csv_is_exact_in_a_pipe_and_safe_on_a_terminal() -> None:
    rows = pa.table({"a": [HOSTILE]})
    piped, terminal = io.StringIO(newline=""), Terminal()
    print_rows(rows, "csv", piped)
    print_rows(rows, "csv", terminal)
    assert list(csv.reader(io.StringIO(piped.getvalue(), newline="")))[1] == [HOSTILE]
    assert not set(terminal.getvalue()) & set("\x1b\u202e\u009b\r\x00")


def test_a_table_on_80_columns() -> None:
    rows = pa.table({"identity": ["alice", None], "calls": [12, 3], "last": [datetime(2026, 1, 1, tzinfo=UTC)] * 2})
    assert [line.rstrip() for line in printed(rows, "table").splitlines()] == [
        "identity  calls  last",
        "─────────────────────────────────────",
        "alice        12  2026-01-01T00:00:00Z",
        "null          3  2026-01-01T00:00:00Z",
    ]


@pytest.mark.parametrize("width", [60, 80, 132])
def test_a_table_folds_text_and_not_times_and_cuts_nothing_off(width: int) -> None:
    values = {"arn": "arn:aws:iam::" + "x" * 300, "name": "日本語のとても長い名前" * 3, "ip": "203.0.113.66"}
    rows = pa.table({"time": [datetime(2026, 1, 1, tzinfo=UTC)], **{name: [value] for name, value in values.items()}})
    lines = printed(rows, "table", width=width).splitlines()
    assert max(cell_len(line) for line in lines) <= width
    assert "2026-01-01T00:00:00Z" in lines[2]
    for value in values.values():
        assert all("".join(lines[2:]).count(letter) >= value.count(letter) for letter in value)


def test_rows_too_wide_for_a_table_are_printed_one_value_a_line() -> None:
    rows = pa.table({f"column_{n}": [f"value {n}"] for n in range(8)})
    lines = printed(rows, "table", width=60).splitlines()
    assert lines[0].strip() == "row 1"
    assert lines[1].split() == ["column_0", "value", "0"]
    assert len(lines) == 9
    assert printed(rows, "table", width=200).count("\n") == 3


def test_a_terminal_gets_colour_only_without_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    rows = pa.table({"a": pa.array([None], pa.string())})
    coloured, plain = Terminal(), Terminal()
    print_rows(rows, "table", coloured)
    monkeypatch.setenv("NO_COLOR", "1")
    print_rows(rows, "table", plain)
    assert "\x1b[2m" in coloured.getvalue()
    assert "\x1b[3" not in plain.getvalue()


def test_the_rows_of_a_stream_are_counted_beyond_what_a_table_shows() -> None:
    batch = pa.record_batch({"n": list(range(700))})
    reader = pa.RecordBatchReader.from_batches(batch.schema, [batch, batch])
    stream = io.StringIO()
    assert print_rows(reader, "table", stream) == 1400
    assert stream.getvalue().count("\n") == TABLE_ROWS + 2


@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_streams_are_written_as_they_come(form: str) -> None:
    written = io.StringIO()

    def batches() -> Any:
        for number in range(3):
            yield pa.record_batch({"n": [number]})
            assert str(number) in written.getvalue()

    reader = pa.RecordBatchReader.from_batches(pa.schema({"n": pa.int64()}), batches())
    assert print_rows(reader, form, written) == 3


def test_a_column_name_that_comes_twice_is_numbered() -> None:
    rows = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["n", "n"])
    assert json.loads(printed(rows, "json")) == [{"n": 1, "n_2": 2}]


def test_an_unknown_form_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="'xml' is unknown; use one of table, csv, json, jsonl"):
        printed(mixed(), "xml")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"bytes \xff", "bytes \\xff"),
        ("a\tb\n", "a\\tb\\n"),
        (Decimal("2"), "2"),
        ([1, None], "[1,null]"),
        (float("nan"), "null"),
        (True, "true"),
    ],
)
def test_shown(value: Any, text: str) -> None:
    assert shown(value) == text
