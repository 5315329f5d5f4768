"""What an operator does now and then: repair, compact, redrive, verify."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.app import app
from pipeline.cli.options import (
    IndicatorsOption,
    JsonOption,
    OutputOption,
    RulesOption,
    days,
    print_result,
)


@app.command(rich_help_panel="Keep in order")
def repair(
    output: OutputOption = None,
    rules: RulesOption = None,
    indicators: IndicatorsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Complete what killed writers left underived, over all days, and sweep up their temporary files."""
    from pipeline import commands

    repaired, swept = commands.repair(commands.load(output=output, rules=rules, indicators=indicators))
    print_result(
        {"repaired": repaired, "swept": swept},
        f"{repaired:,} commits completed, {swept:,} temporary files removed",
        as_json=as_json,
    )


@app.command(rich_help_panel="Keep in order")
def compact(
    output: OutputOption = None,
    first_day: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day of the events.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day of the events.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge the small files of partitions that were quiet for a day into few large ones, beside any writer."""
    from pipeline import commands

    first, last = days(first_day, last_day)
    done = commands.compact(commands.load(output=output), first, last)
    print_result(asdict(done), str(done), as_json=as_json)


@app.command(rich_help_panel="Keep in order")
def redrive(
    queue_url: Annotated[str, typer.Option("--queue-url", metavar="URL", help="The dead-letter queue.")],
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The queue that its messages go back to.")],
    most: Annotated[int | None, typer.Option("--most", metavar="N", min=1, help="Move so many at most.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the messages of a dead-letter queue back; each is deleted there only after it was sent."""
    from pipeline import commands

    told = commands.redrive(queue_url, to, most=most)
    print_result(
        {"moved": told.moved, "doubled": told.doubled, "refused": told.refused, "reason": told.reason},
        told.as_text(),
        as_json=as_json,
    )
    if not told.whole:
        raise typer.Exit(1)


@app.command(rich_help_panel="Keep in order")
def verify(
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="URI|NAME", help="What to compare; may be repeated.")
    ] = None,
    output: OutputOption = None,
    first_day: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day of the keys.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day of the keys.")] = None,
    digests: Annotated[
        bool, typer.Option("--digests/--no-digests", help="Read what CloudTrail's digests sign, and check it.")
    ] = True,
    public_keys: Annotated[
        list[Path] | None,
        typer.Option("--public-keys", metavar="FILE", help="Keys as `aws cloudtrail list-public-keys` prints them."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove completeness: the bucket against the ingest log, and against CloudTrail's signed digests."""
    from pipeline import commands

    first, last = days(first_day, last_day)
    config = commands.load(output=output)
    told = commands.verify(config, source or [], first, last, digests=digests, key_files=public_keys or [])
    print_result(told.as_json(), told.as_text(), as_json=as_json)
    if not told.complete:
        raise typer.Exit(1)
