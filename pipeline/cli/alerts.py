"""Alerts: what an analyst acts on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import app
from pipeline.cli.options import (
    FormatOption,
    JsonFormatOption,
    JsonOption,
    OutputOption,
    RulesOption,
    days,
    print_result,
)
from pipeline.terminal.words import counted

alert = typer.Typer(help="What an analyst acts on.", no_args_is_help=True)


app.add_typer(alert, name="alert", rich_help_panel="Detect")


@alert.command("evaluate")
def alert_evaluate(
    output: OutputOption = None,
    rules: RulesOption = None,
    suppressions: Annotated[
        Path | None, typer.Option("--suppressions", metavar="FILE", help="Known and wanted: a TOML file.")
    ] = None,
    deliver: Annotated[
        list[str] | None,
        typer.Option(
            "--deliver",
            metavar="SINK",
            help="Only to this sink of trailweave.toml, or stdout; may be repeated; without it to all.",
        ),
    ] = None,
    every: Annotated[
        float | None, typer.Option("--every", metavar="S", min=1, help="Again every S seconds, beside a writer.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate alerts over all detections, record what has changed, and deliver what is new."""
    from pipeline import commands

    config = commands.load(output=output, rules=rules, suppressions=suppressions)
    counts = commands.evaluate_alerts(config, deliver, every_s=every)
    verbs = "is new or has changed" if counts["recorded"] == 1 else "are new or have changed"
    text = f"{counted(counts['recorded'], 'alert')} {verbs}, {counts['delivered']:,} delivered"
    if as_json or all(it.kind != "stdout" for it in config.sinks(deliver)):
        print_result(counts, text, as_json=as_json)
    else:  # The alerts are there already, as JSON lines.
        print(text, file=sys.stderr)


@alert.command("list")
def alert_list(
    output: OutputOption = None,
    level: Annotated[str, typer.Option("--level", metavar="LEVEL", help="This level or a graver one.")] = "low",
    first_day: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are suppressed or superseded.")] = False,
    most: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 100,
    fail_on: Annotated[
        str | None, typer.Option("--fail-on", metavar="LEVEL", help="Exit code 4 if there is one so grave.")
    ] = None,
    form: FormatOption = "table",
    as_json: JsonFormatOption = False,
) -> None:
    """Alerts, the gravest first."""
    from pipeline import commands

    first, last = days(first_day, last_day)
    is_grave = commands.list_alerts(
        commands.load(output=output),
        level,
        first,
        last,
        everything=everything,
        most=most,
        fail_on=fail_on,
        form="json" if as_json else form,
    )
    if is_grave:
        raise typer.Exit(4)


@alert.command("show")
def alert_show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="An alert's id, or 6 digits of it or more.")],
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """One alert: what, who, the values seen, and the events."""
    from pipeline import commands

    commands.show_alert(commands.load(output=output), id_, as_json=as_json)
