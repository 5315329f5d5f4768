"""Rows on standard output: a table for people; CSV, JSON and JSON lines for programs.

Times are RFC 3339 in UTC. Bytes are base64 in the forms for programs. Nothing but data is written to the stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import chain, islice
from typing import Any, Literal, TextIO, get_args

import msgspec
import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.errors import ConfigError

Form = Literal["table", "csv", "json", "jsonl"]

FORMS: tuple[Form, ...] = get_args(Form)
TABLE_ROWS = 1_000
UNKNOWN_WIDTH = 80

# Columns that are narrow anyway, account ids among them, are not folded; wider ones down to the second number.
_UNFOLDED_COLUMN = 12
_NARROWEST_COLUMN = 8
_GAP = 2
# What moves a terminal's cursor, hides text or turns its direction: C0 and C1 controls, and Unicode's own.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_UNSAFE_IN_JSON = re.compile(r"[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_NEEDS_QUOTES = re.compile(r'[",\r\n]')
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=str)

Row = tuple[Any, ...]


def print_rows(rows: pa.Table | pa.RecordBatchReader, form: str, stream: TextIO, *, width: int | None = None) -> int:
    """Write the rows to `stream` in one of `FORMS`: how many there were.

    CSV and the JSON forms are written as the rows come and hold one batch in memory. A table shows `TABLE_ROWS`
    rows at most; the number returned counts those that it left out too, so the caller can say so elsewhere.
    `width` is that of the terminal in columns, by default what the terminal says, or 80.
    """
    if form not in FORMS:
        raise ConfigError(f"format {form!r} is unknown; use one of {', '.join(FORMS)}")
    names = _distinct(rows.schema.names)
    cells = _cells(rows)
    if form == "csv":
        return _print_csv(names, cells, stream)
    if form == "json":
        return _print_json(names, cells, stream)
    if form == "jsonl":
        return _print_json_lines(names, cells, stream)
    return _print_table(names, rows.schema.types, cells, console(stream, width))


def console(stream: TextIO, width: int | None = None) -> Console:
    """A console for data on `stream`: colours only where it is a terminal and NO_COLOR is not set."""
    unknown = UNKNOWN_WIDTH if width is None and not stream.isatty() else width
    return Console(file=stream, width=unknown, markup=False, highlight=False, emoji=False)


def shown(value: Any) -> str:
    """A value as one line that is safe on a terminal, whatever a log put into it."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, bytes):
        text = value.decode("utf-8", "backslashreplace")
    elif isinstance(value, datetime | date | Decimal):
        text = str(_plain(value))
    else:
        text = as_json(value)
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return _SHORT.get(character) or (
        f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    )


def _distinct(names: list[str]) -> list[str]:
    """Column names, a repeated one numbered: an object of JSON holds each name once."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return result


def _cells(rows: pa.Table | pa.RecordBatchReader) -> Iterator[Row]:
    batches: Iterable[pa.RecordBatch] = rows.to_batches() if isinstance(rows, pa.Table) else rows
    for batch in batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _plain(value: Any) -> Any:
    """The value in types that msgspec writes as wanted: times in UTC with a Z, whole decimals as integers."""
    if isinstance(value, datetime):
        return (value.astimezone(UTC) if value.tzinfo else value).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def as_json(value: Any) -> str:
    """A value as one line of JSON that is safe on a terminal; times in UTC."""
    text = _encoder.encode(_plain(value)).decode()
    # Such characters stand inside strings only, where JSON may write them as escapes.
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _print_json(names: list[str], cells: Iterator[Row], stream: TextIO) -> int:
    objects = (as_json(dict(zip(names, row, strict=True))) for row in cells)
    count = _written(stream, ((",\n" if number else "[\n") + text for number, text in enumerate(objects)))
    stream.write("\n]\n" if count else "[]\n")
    return count


def _print_json_lines(names: list[str], cells: Iterator[Row], stream: TextIO) -> int:
    return _written(stream, (as_json(dict(zip(names, row, strict=True))) + "\n" for row in cells))


def _print_csv(names: list[str], cells: Iterator[Row], stream: TextIO) -> int:
    terminal = stream.isatty()
    lines = (",".join(_csv_cell(value, terminal) for value in row) + "\n" for row in chain([tuple(names)], cells))
    return _written(stream, lines) - 1


def _written(stream: TextIO, pieces: Iterable[str]) -> int:
    count = 0
    for piece in pieces:
        stream.write(piece)
        count += 1
    return count


def _csv_cell(value: Any, terminal: bool) -> str:
    """Null is nothing, and empty text is `""`: Python's csv module tells them apart only from 3.12 on."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else _csv_text(value)
    if terminal:
        text = _UNSAFE.sub(_escaped, text)
    return '"' + text.replace('"', '""') + '"' if not text or _NEEDS_QUOTES.search(text) else text


def _csv_text(value: Any) -> str:
    text = as_json(value)
    return str(msgspec.json.decode(text)) if text.startswith('"') else text


def _print_table(names: list[str], types: list[pa.DataType], cells: Iterator[Row], console: Console) -> int:
    rows = list(islice(cells, TABLE_ROWS))
    widths = _widths(names, types, rows, console.width - _GAP * (len(names) - 1))
    if widths is None:
        _print_records(names, rows, console)
    else:
        console.print(_table(names, types, widths, rows))
    return len(rows) + sum(1 for _ in cells)


def _widths(names: list[str], types: list[pa.DataType], rows: list[Row], room: int) -> list[int] | None:
    """Widths of the columns that fit into `room`, the widest narrowed first; None where they cannot.

    Long text folds down to a few characters; times do not fold.
    """
    widths, narrowest = [], []
    for place, (name, type_) in enumerate(zip(names, types, strict=True)):
        longest = max([len(shown(name)), *(cell_len(_cell(row[place]).plain) for row in rows)])
        widths.append(min(longest, max(1, room)))
        unfolded = pa.types.is_temporal(type_) or longest <= _UNFOLDED_COLUMN
        narrowest.append(longest if unfolded else _NARROWEST_COLUMN)
    if sum(narrowest) > room:
        return None
    while sum(widths) > room:
        _, widest = max((width, place) for place, width in enumerate(widths) if width > narrowest[place])
        widths[widest] -= 1
    return widths


def _table(names: list[str], types: list[pa.DataType], widths: list[int], rows: list[Row]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, _GAP - 1, 0, 0))
    for name, type_, width in zip(names, types, widths, strict=True):
        number = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
        table.add_column(Text(shown(name)), justify="right" if number else "left", overflow="fold", width=width)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _print_records(names: list[str], rows: list[Row], console: Console) -> None:
    """Rows too wide for a table, one value a line."""
    for number, row in enumerate(rows, 1):
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in zip(names, row, strict=True):
            table.add_row(Text(shown(name)), _cell(value))
        console.print(Text(f"row {number}", style="dim"), table, sep="\n")


def _cell(value: Any) -> Text:
    return Text("null", style="dim") if value is None else Text(shown(value))
