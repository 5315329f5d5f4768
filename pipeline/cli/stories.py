"""Stories: who did it, how they got there, what they did."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.app import app
from pipeline.cli.options import (
    FormatOption,
    JsonFormatOption,
    JsonOption,
    OutputOption,
    days,
    print_result,
)
from pipeline.terminal.words import counted


@app.command(rich_help_panel="Investigate")
def stitch(
    output: OutputOption = None,
    first_day: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="First day of the sessions.")
    ] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day of the sessions.")] = None,
    every: Annotated[
        float | None, typer.Option("--every", metavar="S", min=1, help="Again every S seconds, beside a writer.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Record the stories of sessions, as evaluated now, in the dataset stories; only what has changed is written."""
    from pipeline import commands

    first, last = days(first_day, last_day)
    count = commands.stitch(commands.load(output=output), first, last, every_s=every)
    print_result(
        {"recorded": count},
        f"{counted(count, 'session')} {'has' if count == 1 else 'have'} a new story",
        as_json=as_json,
    )


story = typer.Typer(help="Who did it, how they got there, what they did.", no_args_is_help=True)


app.add_typer(story, name="story", rich_help_panel="Investigate")


@story.command("list")
def story_list(
    output: OutputOption = None,
    identity: Annotated[
        str | None, typer.Option("--identity", metavar="NAME", help="Part of the root's name.")
    ] = None,
    first_day: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day.")] = None,
    most: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 50,
    form: FormatOption = "table",
    as_json: JsonFormatOption = False,
) -> None:
    """Stories, the longest chains first: all sessions under one root session are one story."""
    from pipeline import commands

    form = "json" if as_json else form
    first, last = days(first_day, last_day)
    commands.list_stories(commands.load(output=output), identity, first, last, most=most, form=form)


@story.command("show")
def story_show(
    id_: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="A story's id, or 6 digits of it or more.")
    ] = None,
    output: OutputOption = None,
    event: Annotated[str | None, typer.Option("--event", metavar="ID", help="The story of an event.")] = None,
    key: Annotated[str | None, typer.Option("--key", metavar="AKIA...", help="The story of an access key.")] = None,
    identity: Annotated[
        str | None, typer.Option("--identity", metavar="NAME", help="Stories of an identity.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """One story: who, the chain as a tree, what they did, from where, what failed."""
    from pipeline import commands

    asked = {"story": id_, "event": event, "access key": key, "identity": identity}
    commands.show_story(commands.load(output=output), asked, as_json=as_json)
