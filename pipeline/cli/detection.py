"""Rules, indicators and enrichment, and hunts with them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import app
from pipeline.cli.options import (
    BEAM,
    AccountOption,
    FormatOption,
    IndicatorsOption,
    JsonFormatOption,
    JsonOption,
    OutputOption,
    QuietOption,
    accounts,
    days,
    print_result,
    split_beam_flags,
)
from pipeline.terminal.words import counted
from schemas.errors import ConfigError


@app.command(context_settings=BEAM, rich_help_panel="Detect")
def hunt(
    context: typer.Context,
    output: OutputOption = None,
    rules: Annotated[
        list[Path] | None,
        typer.Option("--rules", metavar="DIR", help="Sigma rules to hunt with; without it those that come with it."),
    ] = None,
    indicators: IndicatorsOption = None,
    account: AccountOption = None,
    first_day: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day of the events.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day of the events.")] = None,
    form: FormatOption = "table",
    as_json: JsonFormatOption = False,
    quiet: QuietOption = False,
) -> None:
    """Rules over what is ingested already: the hits that ingestion would have raised. Beam's flags pass through.

    With --indicators and without --rules, these alone are looked for.
    """
    from pipeline import commands
    from transforms.list_objects import Selection

    beam_flags, stray = split_beam_flags(context, [])
    if stray:
        raise ConfigError(f"unexpected argument {stray[0]!r}; name the rules with --rules DIR")
    first, last = days(first_day, last_day)
    selection = Selection(accounts(account), first_day=first, last_day=last)
    form = "json" if as_json else form
    commands.hunt(
        commands.load(output=output),
        commands.rule_book(rules or [], indicators or []),
        selection,
        beam_flags=beam_flags,
        form=form,
        quiet=quiet,
    )


rule = typer.Typer(help="Detection rules: those that come with trailweave, or your own.", no_args_is_help=True)


app.add_typer(rule, name="rule", rich_help_panel="Detect")


PlacesArgument = Annotated[
    list[Path] | None, typer.Argument(metavar="[DIR]...", help="Rules; without it those that come with trailweave.")
]


@rule.command("check")
def rule_check(places: PlacesArgument = None, as_json: JsonOption = False) -> None:
    """Whether rules can be used: what is wrong with which, by file and line. Exit code 1 if anything is."""
    from pipeline import commands

    found = commands.rule_set(places or [])
    told = {
        "rules": len(found.rules),
        "correlations": len(found.correlations),
        "elsewhere": len(found.elsewhere),
        "problems": [str(problem) for problem in found.problems],
        "notes": [str(note) for note in found.notes],
    }
    parts = [
        f"{counted(len(found.rules), 'rule')} and {counted(len(found.correlations), 'correlation')} can be used",
        f"{len(found.elsewhere):,} for logs that are not read here",
        counted(len(found.problems), "problem"),
        *([counted(len(found.notes), "note")] if found.notes else []),
    ]
    lines = [*map(str, found.problems), *(f"note: {note}" for note in found.notes), "; ".join(parts)]
    print_result(told, "\n".join(lines), as_json=as_json)
    if found.problems:
        raise typer.Exit(1)


@rule.command("list")
def rule_list(
    places: PlacesArgument = None,
    form: FormatOption = "table",
    as_json: JsonFormatOption = False,
) -> None:
    """The rules: title, level, tags, id and file."""
    from pipeline import commands

    commands.list_rules(places or [], "json" if as_json else form)


@rule.command("test")
def rule_test(places: PlacesArgument = None, as_json: JsonOption = False) -> None:
    """Run the samples beside each rule (RULE.samples.json). Exit code 1 if one comes otherwise than it should."""
    from pipeline import commands

    results = commands.test_rules(places or [])
    samples = sum(len(it.outcomes) for it in results)
    wrong = [f"{it.path}: {outcome.wrong}" for it in results for outcome in it.wrong]
    bare = [it.path for it in results if not it.outcomes]
    told = {"files": len(results), "samples": samples, "wrong": wrong, "without_samples": bare}
    lines = [f"wrong: {it}" for it in wrong]
    without = f"; {counted(len(bare), 'file')} without samples" if bare else ""
    lines.append(f"{counted(samples, 'sample')} of {counted(len(results), 'file')}, {len(wrong):,} wrong{without}")
    print_result(told, "\n".join(lines), as_json=as_json)
    if wrong:
        raise typer.Exit(1)


@app.command("indicators", rich_help_panel="Detect")
def check_indicators(
    places: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Lists: CSV, STIX, MISP, or folders.")],
    as_json: JsonOption = False,
) -> None:
    """What lists of indicators hold: how many of each kind, and what cannot be looked for and why."""
    from pipeline import commands

    tallies = commands.read_indicators(places)
    lines = []
    for tally in tallies:
        taken = ", ".join(f"{count:,} {kind}" for kind, count in sorted(tally.taken.items()))
        lines.append(f"{tally.path}: {taken}")
        lines += [
            f"  not looked for: {count:,}, {reason}, such as {tally.firsts[reason]!r}"
            for reason, count in sorted(tally.refused.items())
        ]
    print_result({"lists": [asdict(it) for it in tallies]}, "\n".join(lines), as_json=as_json)


enrich = typer.Typer(help="The data that enriches events.", no_args_is_help=True)


app.add_typer(enrich, name="enrich", rich_help_panel="Detect")


@enrich.command("update")
def enrich_update(
    form: FormatOption = "table",
    as_json: JsonFormatOption = False,
) -> None:
    """Which data is loaded, its version and age, and where to get what is missing. Nothing is downloaded."""
    from pipeline import commands

    commands.show_enrichment(commands.load(), "json" if as_json else form)
