"""The program: its common options, and the one place where a foreseen error becomes a line and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import sys
from typing import Annotated, NoReturn, TextIO

import typer

from pipeline.terminal.interrupts import interrupting
from schemas.errors import AccessError, OutputError, TrailweaveError

# What Typer makes of KeyboardInterrupt.
_INTERRUPTED = 130
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF)

app = typer.Typer(
    name="trailweave",
    help="Cloud audit logs from S3 and SQS into tables an investigator can trust: every event once, in Parquet.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command; every foreseen error is one line with its code, and its exit code."""
    _ready_streams()
    try:
        try:
            with interrupting():
                app()
        finally:
            sys.stdout.flush()
    except (KeyboardInterrupt, SystemExit) as end:
        if isinstance(end, SystemExit) and end.code != _INTERRUPTED:
            raise
        print("trailweave: interrupted", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except TrailweaveError as error:
        _fail(error)
    except BrokenPipeError:
        # The reader has what it wanted, as with `| head`.
        sys.stdout = _nowhere()
        sys.exit(1)
    except PermissionError as error:
        _fail(AccessError(f"{error.filename} cannot be read: {error.strerror}; let this user read it"))
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        # What is left in the buffer is not tried again at the end, where it would change the exit code.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _fail(OutputError(f"standard output cannot be written: {error.strerror}; free or mend where it goes"))


def _nowhere() -> TextIO:
    return os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")


def _ready_streams() -> None:
    """A stream that is closed takes everything; one that is no terminal is UTF-8; a terminal shows what it can."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, _nowhere())
        elif stream.isatty():
            stream.reconfigure(errors="backslashreplace")
        else:
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _fail(error: TrailweaveError) -> NoReturn:
    if "--debug" in sys.argv:
        logging.getLogger(__name__).exception("%s", error.code)
    print(f"trailweave: {error.code}: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


def _version(wanted: bool) -> None:
    if wanted:
        from pipeline.cli.versions import versions

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
    from pipeline.terminal.logs import FORMAT_VARIABLE, set_up

    if log_format is not None:
        os.environ[FORMAT_VARIABLE] = log_format
    set_up(debug=debug)
