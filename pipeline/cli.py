"""The command line. Data goes to stdout, talk and progress to stderr; exit codes are documented in README.md."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from schemas.errors import ConfigError, TrailweaveError

app = typer.Typer(
    name="trailweave",
    help="Cloud audit logs from S3 and SQS into tables an investigator can trust: every event once, in Parquet.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_BEAM = {"allow_extra_args": True, "ignore_unknown_options": True}

OutputOption = Annotated[
    str | None,
    typer.Option("--output", metavar="URI", help="Output root: a local folder, s3:// or gs://BUCKET/PREFIX."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress display.")]
SliceOption = Annotated[
    int | None, typer.Option("--max-slice-bytes", metavar="N", help="Decompressed bytes worked on at once.")
]
RulesOption = Annotated[
    list[Path] | None,
    typer.Option("--rules", metavar="DIR", help="Sigma rules beside those that come with it; may be repeated."),
]
IndicatorsOption = Annotated[
    list[Path] | None,
    typer.Option("--indicators", metavar="FILE", help="Indicators: CSV, STIX, MISP, or a folder; may be repeated."),
]
NormalizeOption = Annotated[
    bool | None, typer.Option("--normalize/--no-normalize", help="Keep raw records only with --no-normalize.")
]


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


@app.command()
def demo(
    output: Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Where the tree goes.")] = None,
    quiet: QuietOption = False,
) -> None:
    """See it work, offline: an emulated AWS, an organisation's trail with an attack in it, and the answers."""
    from pipeline.demo.demo import run_demo

    run_demo(output or Path("trailweave-demo"), quiet=quiet)


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Sources of trailweave.toml.")
    ] = None,
    output: OutputOption = None,
    queue_url: Annotated[str | None, typer.Option("--queue-url", metavar="URL", help="An unnamed source.")] = None,
    wait: Annotated[
        int, typer.Option("--wait", metavar="S", min=1, max=20, help="How long to wait for a message.")
    ] = 10,
    as_json: JsonOption = False,
) -> None:
    """The Test button: every call of the path, dry, with what was denied to whom and what to add.

    Exit codes: 0 fine, 1 misconfigured, 3 denied, 5 unreachable.
    """
    from pipeline import commands

    code = commands.check(commands.load(output=output), names or [], queue_url, wait_s=wait, as_json=as_json)
    if code:
        raise typer.Exit(code)


@app.command()
def setup(
    print_: Annotated[bool, typer.Option("--print", help="Write the template to stdout; nothing is called.")] = False,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--param", metavar="NAME=VALUE", help="A parameter of the template; may be repeated."),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show the template's parameters.")] = False,
) -> None:
    """The CloudFormation template of everything that trailweave needs in AWS, with your names filled in."""
    from pipeline.onboarding.template import described, filled_in

    if list_all == print_:
        raise ConfigError("give --print to write the template, or --list to see its parameters")
    given = dict(_pair(it) for it in parameter or [])
    sys.stdout.write(described() if list_all else filled_in(given))


@app.command(context_settings=_BEAM)
def ingest(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Sources of trailweave.toml.")
    ] = None,
    output: OutputOption = None,
    queue_url: Annotated[str | None, typer.Option("--queue-url", metavar="URL", help="An unnamed source.")] = None,
    until_idle: Annotated[
        float | None, typer.Option("--until-idle", metavar="S", help="Stop after S seconds without a message.")
    ] = None,
    max_wait: Annotated[
        float | None, typer.Option("--max-wait", metavar="S", help="Longest wait to fill a micro-batch (30).")
    ] = None,
    max_slice_bytes: SliceOption = None,
    normalize: NormalizeOption = None,
    rules: RulesOption = None,
    indicators: IndicatorsOption = None,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, max=256, help="Processes.")] = 1,
    pollers: Annotated[
        int, typer.Option("--pollers", metavar="N", min=1, max=1024, help="On an engine: pollers a source.")
    ] = 1,
    metrics_port: Annotated[
        int | None, typer.Option("--metrics-port", metavar="N", help="Serve /metrics and /healthz on this port.")
    ] = None,
    stitch: Annotated[
        bool, typer.Option("--stitch", help="Record stories after each micro-batch, in a tenth of the time.")
    ] = False,
    alerts: Annotated[
        bool,
        typer.Option("--alerts", help="Evaluate and deliver alerts after micro-batches, in a tenth of the time."),
    ] = False,
    compact: Annotated[
        bool, typer.Option("--compact", help="Compact between micro-batches, in a tenth of the time.")
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Ingest what the queues announce, continuously. SIGTERM finishes the run in work. Beam's flags pass through."""
    from pipeline import commands

    beam_flags, names = _split(context, names or [])
    config = commands.load(
        output=output,
        max_wait=max_wait,
        max_slice_bytes=max_slice_bytes,
        normalize=normalize,
        rules=rules,
        metrics_port=metrics_port,
        indicators=indicators,
    )
    summary = commands.ingest(
        config,
        names,
        queue_url,
        until_idle_s=until_idle,
        stitch=stitch,
        compact=compact,
        alerts=alerts,
        workers=workers,
        pollers=pollers,
        beam_flags=beam_flags,
        quiet=quiet,
    )
    _print_summary(summary, as_json=as_json)


@app.command(context_settings=_BEAM)
def replay(
    context: typer.Context,
    source: Annotated[
        list[str] | None, typer.Option("--source", metavar="URI|NAME", help="What to read; may be repeated.")
    ] = None,
    output: OutputOption = None,
    account: Annotated[list[str] | None, typer.Option("--account", metavar="ID", help="Only these accounts.")] = None,
    region: Annotated[list[str] | None, typer.Option("--region", metavar="R", help="Only these regions.")] = None,
    first_day: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day of the keys.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day of the keys.")] = None,
    workers: Annotated[int, typer.Option("--workers", metavar="N", min=1, max=256, help="Processes.")] = 1,
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

    beam_flags, stray = _split(context, [])
    if stray:
        raise ConfigError(f"unexpected argument {stray[0]!r}; name what to read with --source")
    config = commands.load(
        output=output, max_slice_bytes=max_slice_bytes, normalize=normalize, rules=rules, indicators=indicators
    )
    selection = Selection(frozenset(account or ()), frozenset(region or ()), _day(first_day), _day(last_day))
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
    _print_summary(summary, as_json=as_json)
    if summary.as_json()["deferred"]:
        raise typer.Exit(1)


@app.command()
def repair(
    output: OutputOption = None,
    rules: RulesOption = None,
    indicators: IndicatorsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Complete what killed writers left underived, over all days, and sweep up their temporary files."""
    from pipeline import commands

    repaired, swept = commands.repair(commands.load(output=output, rules=rules, indicators=indicators))
    _print(
        {"repaired": repaired, "swept": swept},
        f"{repaired:,} commits completed, {swept:,} temporary files removed",
        as_json=as_json,
    )


@app.command()
def compact(
    output: OutputOption = None,
    first_day: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day of the events.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day of the events.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Merge the small files of partitions that were quiet for a day into few large ones, beside any writer."""
    from pipeline import commands

    done = commands.compact(commands.load(output=output), _day(first_day), _day(last_day))
    _print(asdict(done), str(done), as_json=as_json)


@app.command()
def redrive(
    queue_url: Annotated[str, typer.Option("--queue-url", metavar="URL", help="The dead-letter queue.")],
    to: Annotated[str, typer.Option("--to", metavar="URL", help="The queue that its messages go back to.")],
    most: Annotated[int | None, typer.Option("--most", metavar="N", min=1, help="Move so many at most.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the messages of a dead-letter queue back; each is deleted there only after it was sent."""
    from pipeline import commands

    told = commands.redrive(queue_url, to, most=most)
    _print(
        {"moved": told.moved, "doubled": told.doubled, "refused": told.refused, "reason": told.reason},
        told.as_text(),
        as_json=as_json,
    )
    if not told.whole:
        raise typer.Exit(1)


@app.command()
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

    config = commands.load(output=output)
    told = commands.verify(
        config, source or [], _day(first_day), _day(last_day), digests=digests, key_files=public_keys or []
    )
    _print(told.as_json(), told.as_text(), as_json=as_json)
    if not told.complete:
        raise typer.Exit(1)


@app.command()
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


@app.command()
def query(
    sql: Annotated[str | None, typer.Argument(metavar="SQL")] = None,
    output: OutputOption = None,
    name: Annotated[str | None, typer.Option("--name", metavar="NAME", help="A query of the library.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--param", metavar="KEY=VALUE", help="A parameter of a named query.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="Show the library of queries.")] = False,
    form: Annotated[str, typer.Option("--format", metavar="table|csv|json|jsonl")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Ask the tree in SQL (DuckDB): a view for every dataset, and a library of an investigator's questions."""
    from pipeline import commands

    form = "json" if as_json else form
    if list_all:
        commands.list_queries(form)
    else:
        commands.query(commands.load(output=output), sql, name, parameter or [], form)


@app.command()
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

    count = commands.stitch(commands.load(output=output), _day(first_day), _day(last_day), every_s=every)
    _print({"recorded": count}, f"{count:,} sessions have a new story", as_json=as_json)


story = typer.Typer(help="Who did it, how they got there, what they did.", no_args_is_help=True)
app.add_typer(story, name="story")


@story.command("list")
def story_list(
    output: OutputOption = None,
    identity: Annotated[
        str | None, typer.Option("--identity", metavar="NAME", help="Part of the root's name.")
    ] = None,
    first_day: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day.")] = None,
    most: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")] = 50,
    form: Annotated[str, typer.Option("--format", metavar="table|csv|json|jsonl")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Stories, the longest chains first: all sessions under one root session are one story."""
    from pipeline import commands

    form = "json" if as_json else form
    commands.list_stories(
        commands.load(output=output), identity, _day(first_day), _day(last_day), most=most, form=form
    )


@story.command("show")
def story_show(
    id_: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
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


@app.command(context_settings=_BEAM)
def hunt(
    context: typer.Context,
    output: OutputOption = None,
    rules: Annotated[
        list[Path] | None,
        typer.Option("--rules", metavar="DIR", help="Sigma rules to hunt with; without it those that come with it."),
    ] = None,
    indicators: IndicatorsOption = None,
    account: Annotated[list[str] | None, typer.Option("--account", metavar="ID", help="Only these accounts.")] = None,
    first_day: Annotated[str | None, typer.Option("--from", metavar="DATE", help="First day of the events.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DATE", help="Last day of the events.")] = None,
    form: Annotated[str, typer.Option("--format", metavar="table|csv|json|jsonl")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Rules over what is ingested already: the hits that ingestion would have raised. Beam's flags pass through.

    With --indicators and without --rules, these alone are looked for.
    """
    from pipeline import commands
    from transforms.list_objects import Selection

    beam_flags, stray = _split(context, [])
    if stray:
        raise ConfigError(f"unexpected argument {stray[0]!r}; name the rules with --rules DIR")
    selection = Selection(frozenset(account or ()), first_day=_day(first_day), last_day=_day(last_day))
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
app.add_typer(rule, name="rule")

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
    }
    text = (
        f"{len(found.rules):,} rules and {len(found.correlations):,} correlations can be used;"
        f" {len(found.elsewhere):,} are for logs that are not read here; {len(found.problems):,} problems"
    )
    _print(told, "\n".join([*map(str, found.problems), text]), as_json=as_json)
    if found.problems:
        raise typer.Exit(1)


@rule.command("list")
def rule_list(
    places: PlacesArgument = None,
    form: Annotated[str, typer.Option("--format", metavar="table|csv|json|jsonl")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
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
    wrong = [f"{it.path}: {outcome.kind} {outcome.number}" for it in results for outcome in it.wrong]
    bare = [it.path for it in results if not it.outcomes]
    told = {"files": len(results), "samples": samples, "wrong": wrong, "without_samples": bare}
    lines = [f"wrong: {it} {'is no hit' if ' hits ' in it or ' raises ' in it else 'is a hit'}" for it in wrong]
    lines.append(
        f"{samples:,} samples of {len(results):,} files, {len(wrong):,} wrong; {len(bare):,} files have no samples"
    )
    _print(told, "\n".join(lines), as_json=as_json)
    if wrong:
        raise typer.Exit(1)


@app.command("indicators")
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
    _print({"lists": [asdict(it) for it in tallies]}, "\n".join(lines), as_json=as_json)


enrich = typer.Typer(help="The data that enriches events.", no_args_is_help=True)
app.add_typer(enrich, name="enrich")


@enrich.command("update")
def enrich_update(
    form: Annotated[str, typer.Option("--format", metavar="table|csv|json|jsonl")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Which data is loaded, its version and age, and where to get what is missing. Nothing is downloaded."""
    from pipeline import commands

    commands.show_enrichment(commands.load(), "json" if as_json else form)


alert = typer.Typer(help="What an analyst acts on.", no_args_is_help=True)
app.add_typer(alert, name="alert")


@alert.command("evaluate")
def alert_evaluate(
    output: OutputOption = None,
    rules: RulesOption = None,
    suppressions: Annotated[
        Path | None, typer.Option("--suppressions", metavar="FILE", help="Known and wanted: a TOML file.")
    ] = None,
    deliver: Annotated[
        list[str] | None,
        typer.Option("--deliver", metavar="SINK", help="Only to these of [[sink]], or stdout; without it to all."),
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
    text = f"{counts['recorded']:,} alerts are new or have changed, {counts['delivered']:,} delivered"
    if as_json or not deliver or "stdout" not in deliver:
        _print(counts, text, as_json=as_json)
    else:
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
    form: Annotated[str, typer.Option("--format", metavar="table|csv|json|jsonl")] = "table",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Alerts, the gravest first."""
    from pipeline import commands

    is_grave = commands.list_alerts(
        commands.load(output=output),
        level,
        _day(first_day),
        _day(last_day),
        everything=everything,
        most=most,
        fail_on=fail_on,
        form="json" if as_json else form,
    )
    if is_grave:
        raise typer.Exit(4)


@alert.command("show")
def alert_show(
    id_: Annotated[str, typer.Argument(metavar="ID")], output: OutputOption = None, as_json: JsonOption = False
) -> None:
    """One alert: what, who, the values seen, and the events."""
    from pipeline import commands

    commands.show_alert(commands.load(output=output), id_, as_json=as_json)


def _split(context: typer.Context, names: list[str]) -> tuple[list[str], list[str]]:
    """(Beam's flags, names) of what the command itself does not know; a flag unknown to Beam too is an error."""
    from pipeline.beam_flags import take_beam_flags

    own = [option for parameter in context.command.params for option in parameter.opts]
    return take_beam_flags([*names, *context.args], own)


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--param {text!r} has no value; write --param NAME=VALUE")
    return name, value


def _day(text: str | None) -> str | None:
    if text is None:
        return None
    try:
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            raise ValueError
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ConfigError(f"{text!r} is no day; write it as yyyy-mm-dd, such as 2026-01-31") from None


def _print_summary(summary: Any, *, as_json: bool) -> None:
    _print(summary.as_json(), summary.as_text(), as_json=as_json)


def _print(value: dict[str, Any], text: str, *, as_json: bool) -> None:
    print(json.dumps(value) if as_json else text)
