"""Ingest what queues announce, and replay what lies there."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.cli.app import app
from pipeline.cli.options import (
    BEAM,
    AccountOption,
    IndicatorsOption,
    JsonOption,
    NormalizeOption,
    OutputOption,
    QuietOption,
    RulesOption,
    SliceOption,
    WorkersOption,
    accounts,
    days,
    print_summary,
    split_beam_flags,
)
from schemas.errors import ConfigError

# What goes on beside ingestion.
StitchOption = Annotated[
    bool, typer.Option("--stitch", help="Record stories after each micro-batch, in a tenth of the time.")
]
AlertsOption = Annotated[
    bool, typer.Option("--alerts", help="Evaluate and deliver alerts after micro-batches, in a tenth of the time.")
]
CompactOption = Annotated[
    bool, typer.Option("--compact", help="Compact between micro-batches, in a tenth of the time.")
]


@app.command(context_settings=BEAM, rich_help_panel="Ingest")
def ingest(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Sources of trailweave.toml.")
    ] = None,
    output: OutputOption = None,
    queue_url: Annotated[str | None, typer.Option("--queue-url", metavar="URL", help="An unnamed source.")] = None,
    until_idle: Annotated[
        float | None, typer.Option("--until-idle", metavar="S", min=0, help="Stop after S seconds without a message.")
    ] = None,
    max_wait: Annotated[
        float | None, typer.Option("--max-wait", metavar="S", help="Longest wait to fill a micro-batch (30).")
    ] = None,
    max_slice_bytes: SliceOption = None,
    normalize: NormalizeOption = None,
    rules: RulesOption = None,
    indicators: IndicatorsOption = None,
    workers: WorkersOption = 1,
    pollers: Annotated[
        int, typer.Option("--pollers", metavar="N", min=1, max=1024, help="On an engine: pollers a source.")
    ] = 1,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", metavar="N", help="Serve /metrics and /healthz on this port.")
    ] = None,
    stitch: StitchOption = False,
    alerts: AlertsOption = False,
    compact: CompactOption = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Ingest what the queues announce, continuously. SIGTERM finishes the run in work. Beam's flags pass through."""
    from pipeline import commands

    beam_flags, names = split_beam_flags(context, names or [])
    config = commands.load(
        output=output,
        max_wait=max_wait,
        max_slice_bytes=max_slice_bytes,
        normalize=normalize,
        rules=rules,
        metrics_port=metrics_port,
        indicators=indicators,
    )
    options = commands.IngestOptions(
        until_idle_s=until_idle,
        stitch=stitch,
        alerts=alerts,
        compact=compact,
        workers=workers,
        pollers=pollers,
        beam_flags=beam_flags,
        quiet=quiet,
    )
    summary = commands.ingest(config, names, queue_url, options)
    print_summary(summary, as_json=as_json)


@app.command(context_settings=BEAM, rich_help_panel="Ingest")
def replay(
    context: typer.Context,
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="URI|NAME", help="What to read; may be repeated.")
    ] = None,
    output: OutputOption = None,
    account: AccountOption = None,
    region: Annotated[
        list[str] | None, typer.Option("--region", metavar="R", help="Only this region; may be repeated.")
    ] = None,
    first_day: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day of the keys.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day of the keys.")] = None,
    workers: WorkersOption = 1,
    force: Annotated[bool, typer.Option("--force", help="Read again what the ingest log holds as done.")] = False,
    dead_letters: Annotated[
        bool, typer.Option("--dead-letters", help="Feed in again what could not be processed.")
    ] = False,
    max_slice_bytes: SliceOption = None,
    normalize: NormalizeOption = None,
    rules: RulesOption = None,
    indicators: IndicatorsOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read historic buckets, folders or another output's raw tree; resumable. Beam's flags pass through."""
    from pipeline import commands
    from transforms.list_objects import Selection

    beam_flags, stray = split_beam_flags(context, [])
    if stray:
        raise ConfigError(f"unexpected argument {stray[0]!r}; name what to read with --source")
    config = commands.load(
        output=output, max_slice_bytes=max_slice_bytes, normalize=normalize, rules=rules, indicators=indicators
    )
    selection = Selection(accounts(account), frozenset(region or ()), *days(first_day, last_day))
    summary = commands.replay(
        config,
        source or [],
        selection,
        workers=workers,
        force=force,
        dead_letters=dead_letters,
        beam_flags=beam_flags,
        quiet=quiet,
    )
    print_summary(summary, as_json=as_json)
    if summary.as_json()["deferred"]:
        raise typer.Exit(1)
