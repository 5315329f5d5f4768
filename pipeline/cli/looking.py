"""Look at an output root: its state, and questions in SQL."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.app import app
from pipeline.cli.options import (
    FormatOption,
    JsonFormatOption,
    JsonOption,
    OutputOption,
    pair,
)


@app.command(rich_help_panel="Investigate")
def status(
    output: OutputOption = None,
    watch: Annotated[
        float | None, typer.Option("--watch", metavar="S", min=0.1, help="Again every S seconds, in place.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What was received, written, duplicate and dead-lettered, per day and account; lag, last event, last error."""
    from pipeline import commands

    commands.status(commands.load(output=output), as_json=as_json, every_s=watch)


@app.command(rich_help_panel="Investigate")
def query(
    sql: Annotated[
        str | None, typer.Argument(metavar="SQL", help="One query; $NAME in it takes a value from --param.")
    ] = None,
    output: OutputOption = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="A query of the library.")] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="The value of a parameter; may be repeated."),
    ] = None,
    list_all: Annotated[
        bool, typer.Option("--list", help="Show the library of queries and their parameters.")
    ] = False,
    views: Annotated[
        bool, typer.Option("--views", help="Print the views as a script for a DuckDB of your own.")
    ] = False,
    form: FormatOption = "table",
    as_json: JsonFormatOption = False,
) -> None:
    """Ask the tree in SQL (DuckDB): a view for every dataset, and a library of an investigator's questions."""
    from pipeline import commands

    form = "json" if as_json else form
    if list_all:
        commands.list_queries(form)
    elif views:
        commands.print_views(commands.load(output=output))
    else:
        commands.query(commands.load(output=output), sql, name, dict(map(pair, parameter or [])), form)
