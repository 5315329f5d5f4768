"""One thing that was asked for by a part of its name, shown as a page."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T", bound=Any)


def show_one(
    found: T | pa.Table,
    things: str,
    in_short: Callable[[pa.Table], pa.Table],
    render: Callable[[T, Console], None],
    *,
    as_json: bool,
) -> None:
    """Print what was found, as its page or as one JSON object; where several are meant, a table of them.

    `things` is what several of them are called.
    """
    from pipeline.terminal.rows import as_json as json_of
    from pipeline.terminal.rows import console, print_rows

    if isinstance(found, pa.Table):
        print(f"{len(found)} {things} are meant; show one of them by its id", file=sys.stderr)
        print_rows(found if as_json else in_short(found), "json" if as_json else "table", sys.stdout)
    elif as_json:
        print(json_of(asdict(found)))
    else:
        render(found, console(sys.stdout))


def at_most(rows: pa.Table, most: int, things: str) -> pa.Table:
    """The first `most` of the rows; where there are more, that is said on stderr."""
    if len(rows) > most:
        print(f"there are more {things}; --limit N shows more than {most:,}", file=sys.stderr)
    return rows.slice(0, most)
