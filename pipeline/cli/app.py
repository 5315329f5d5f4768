"""The program: its common options, and the one place where a foreseen error becomes a line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, NoReturn

import typer

from schemas.errors import TrailweaveError

app = typer.Typer(
    name="trailweave",
    help="Cloud audit logs from S3 and SQS into tables an investigator can trust: every event once, in Parquet.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command; every foreseen error is one line with its code, and its exit code."""
    try:
        app()
    except TrailweaveError as error:
        _fail(error)


def _fail(error: TrailweaveError) -> NoReturn:
    if "--debug" in sys.argv:
        logging.getLogger(__name__).exception("%s", error.code)
    print(f"trailweave: {error.code}: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


def _version(wanted: bool) -> None:
    if wanted:
        from pipeline.versions import versions

        print(versions())
        raise typer.Exit


@app.callback()
def _common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and detailed logs.")] = False,
    log_format: Annotated[
        str | None,
        typer.Option("--log-format", metavar="json|text", help="By default text on a terminal, else json."),
    ] = None,
    _wanted: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the versions and stop.")
    ] = False,
) -> None:
    from pipeline.logs import FORMAT_VARIABLE, set_up

    if log_format is not None:
        os.environ[FORMAT_VARIABLE] = log_format
    set_up(debug=debug)
