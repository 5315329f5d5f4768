"""What several commands share: options, and how their values are read and results printed."""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import ConfigError

BEAM = {"allow_extra_args": True, "ignore_unknown_options": True}

OutputOption = Annotated[
    str | None,
    typer.Option("--output", metavar="URI", help="Output root: a local folder, s3:// or gs://BUCKET/PREFIX."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress display.")]
SliceOption = Annotated[
    int | None, typer.Option("--max-slice-bytes", metavar="N", help="Decompressed bytes worked on at once.")
]
WorkersOption = Annotated[int, typer.Option("--workers", metavar="N", min=1, max=256, help="Processes.")]
RulesOption = Annotated[
    list[Path] | None,
    typer.Option("--rules", metavar="DIR", help="Sigma rules beside those that come with it; may be repeated."),
]
IndicatorsOption = Annotated[
    list[Path] | None,
    typer.Option("--indicators", metavar="FILE", help="Indicators: CSV, STIX, MISP, or a folder; may be repeated."),
]
FormatOption = Annotated[str, typer.Option("--format", metavar="table|csv|json|jsonl", help="How rows are written.")]
JsonFormatOption = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
AccountOption = Annotated[
    list[str] | None, typer.Option("--account", metavar="ID", help="Only this account; may be repeated.")
]
NormalizeOption = Annotated[
    bool | None, typer.Option("--normalize/--no-normalize", help="Keep raw records only with --no-normalize.")
]


def split_beam_flags(context: typer.Context, names: list[str]) -> tuple[list[str], list[str]]:
    """(Beam's flags, names) of what the command itself does not know; a flag unknown to Beam too is an error."""
    from pipeline.engines.beam_flags import take_beam_flags

    own = [option for parameter in context.command.params for option in parameter.opts]
    return take_beam_flags([*names, *context.args], own)


def pair(text: str) -> tuple[str, str]:
    """NAME and VALUE of a parameter."""
    name, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--param {text!r} has no value; write --param NAME=VALUE")
    return name, value


def day(text: str | None) -> str | None:
    """The day as given, `yyyy-mm-dd`. Raises ConfigError where it is none."""
    if text is None:
        return None
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            raise ValueError
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigError(f"{text!r} is no day; write it as yyyy-mm-dd, such as 2026-01-31") from None


def days(first: str | None, last: str | None) -> tuple[str | None, str | None]:
    """Both as given. Raises ConfigError where one is no day, or the last lies before the first."""
    found = day(first), day(last)
    if found[0] and found[1] and found[1] < found[0]:
        raise ConfigError(f"--to {found[1]} lies before --from {found[0]}, so no day is meant; exchange them")
    return found


def accounts(given: list[str] | None) -> frozenset[str]:
    """The accounts as given. Raises ConfigError for one that is neither 12 digits nor `unknown`."""
    for account in given or ():
        if not re.fullmatch(r"\d{12}|unknown", account):
            raise ConfigError(
                f"--account {account!r} is no account id; write its 12 digits, zeros in front included, or unknown"
            )
    return frozenset(given or ())


def print_summary(summary: Any, *, as_json: bool) -> None:
    """Print what a run did."""
    print_result(summary.as_json(), summary.as_text(), as_json=as_json)


def print_result(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    """Print the result: the text, or the value as one JSON object."""
    print(json.dumps(value) if as_json else text)
