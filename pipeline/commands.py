"""What each command does, from a validated configuration; the command line only parses and prints."""

from __future__ import annotations

import sys
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from pipeline import config as configuration
from pipeline.config import Config
from pipeline.graph import Plan
from pipeline.recorder import Recorder
from pipeline.redrive import Redriven
from pipeline.rules import Tested
from pipeline.sinks import Sink
from pipeline.summary import Summary
from schemas.errors import ConfigError
from schemas.values import Message
from transforms.indicators.lists import Tally, list_files, read_lists
from transforms.list_objects import Selection, list_objects
from transforms.rules.book import SHIPPED, RuleBook
from transforms.rules.sigma import RuleSet, read_rules
from transforms.stores.files import Output, open_store, prove
from transforms.stores.local import LocalStore
from transforms.stores.settings import agree, read_settings
from transforms.stores.sources import Source

if TYPE_CHECKING:
    from pipeline.compaction.compact import Compacted
    from pipeline.verify import Verification

_SWEEP_S = 86_400.0


def load(**flags: Any) -> Config:
    """The configuration under the flags that were given."""
    return configuration.load(flags)


def ingest(
    config: Config,
    names: Sequence[str],
    queue_url: str | None,
    *,
    until_idle_s: float | None,
    stitch: bool = False,
    alerts: bool = False,
    compact: bool = False,
    workers: int = 1,
    pollers: int = 1,
    beam_flags: Sequence[str],
    quiet: bool,
) -> Summary:
    """Ingest from the named sources, all of them, or the one that `queue_url` defines.

    With several `workers` each is a process with a loop of its own.
    The configuration's `metrics_port` serves what the loops count, and whether they turn, while they run.
    With `stitch` the stories of the sessions that a micro-batch touched are recorded after it; with `alerts` alerts
    are evaluated, and delivered to the sinks of the configuration; with `compact` quiet partitions are compacted.
    """
    from pipeline.ingest import ingest_until_stopped
    from pipeline.ingest_workers import ingest_in_processes
    from pipeline.runs import engine
    from pipeline.stream import ingest_on_engine

    sources = queue_sources(config, names, queue_url)
    plan = begin(config, sources)
    if engine(beam_flags) is not None:
        if until_idle_s is not None:
            raise ConfigError("--until-idle is for this machine's own loop; an engine runs until it is cancelled")
        if stitch or alerts:
            raise ConfigError(
                "--stitch and --alerts are for this machine's own loop; run `trailweave stitch --every S` and"
                " `trailweave alert evaluate --every S` beside the engine"
            )
        if compact:
            raise ConfigError("--compact is for this machine's own loop; run `trailweave compact` beside it")
        if workers > 1:
            raise ConfigError("--workers is for this machine's own loop; an engine has its own parallelism")
        if config.metrics_port is not None:
            raise ConfigError("--metrics-port is for this machine's own loop; an engine has metrics of its own")
        return ingest_on_engine(plan, config.max_wait, beam_flags, pollers)
    if pollers > 1:
        raise ConfigError("--pollers is for an engine (--runner); this machine's own loop has --workers")
    loop = ingest_until_stopped if workers == 1 else partial(ingest_in_processes, workers=workers)
    run = partial(loop, plan, config.limits(), until_idle_s=until_idle_s, beam_flags=beam_flags, quiet=quiet)
    recorders = _recorders(config, plan, stitch=stitch, alerts=alerts)
    hooks: list[Callable[[Counter[str]], None]] = [recorder.after_run for recorder in recorders]
    if compact:
        from pipeline.compaction.beside import Compactor

        compactor = Compactor(plan.output, plan.settings)
        hooks.append(lambda _: compactor.step())
    with ExitStack() as stack:
        if config.metrics_port is not None:
            from pipeline.metrics import serving

            served = serving([*sources.values()], config.metrics_address, config.metrics_port)
            metrics, _ = stack.enter_context(served)
            hooks.append(metrics.ran)
            run = partial(run, on_turn=metrics.turned)
        summary = run(on_run=lambda counts: [hook(counts) for hook in hooks])
    for recorder in recorders:
        recorder.finish()
    return summary


def _recorders(config: Config, plan: Plan, *, stitch: bool, alerts: bool) -> list[Recorder]:
    """What is evaluated beside ingestion."""
    from pipeline import stories

    if stitch and not plan.settings.sessions:
        raise ConfigError(f"--stitch needs sessions, and {plan.output.uri!r} is without")
    if alerts and not plan.settings.detections:
        raise ConfigError(f"--alerts needs detections, and {plan.output.uri!r} is without")
    found = []
    if stitch:
        found.append(Recorder("stitch", lambda: stories.stitch(plan.output, stories.FIRST, stories.LAST)))
    if alerts:
        found.append(
            Recorder("alerts", partial(_evaluate_and_deliver, config, plan.rules.rule_set(), config.sinks()))
        )
    return found


def evaluate_alerts(config: Config, deliver_to: Sequence[str] | None, *, every_s: float | None) -> dict[str, int]:
    """Evaluate alerts, and deliver them to the named sinks, or all of the configuration; again with `every_s`.

    Raises the first fault of a sink, after everything that could be delivered was.
    """
    from pipeline.ingest import stopping
    from transforms.receive_messages import STOP

    prove(open_store(config.root()))
    rules, sinks = config.rule_book().rule_set(), config.sinks(deliver_to)
    counts: Counter[str] = Counter()

    def once() -> None:
        _evaluate_and_deliver(config, rules, sinks, counts)

    if every_s is None:
        once()
    else:
        with stopping():
            recorder = Recorder("alerts", partial(_evaluate_and_deliver, config, rules, sinks, counts))
            recorder.touch()
            while not STOP.wait(every_s):
                recorder.touch()
    return {"recorded": counts["recorded"], "delivered": counts["delivered"]}


def _evaluate_and_deliver(
    config: Config, rules: RuleSet, sinks: Sequence[Sink], counts: Counter[str] | None = None
) -> int:
    from pipeline import alerts
    from pipeline.sinks import deliver
    from pipeline.suppressions import read_suppressions

    output = config.root()
    recorded = alerts.evaluate(output, rules, read_suppressions(config.suppressions))
    delivered, failed = deliver(output, sinks)
    if counts is not None:
        counts.update(recorded=recorded, delivered=delivered)
    if failed:
        raise failed[0]
    return recorded


def list_alerts(
    config: Config,
    level: str,
    first_day: str | None,
    last_day: str | None,
    *,
    everything: bool,
    most: int,
    fail_on: str | None,
    form: str,
) -> bool:
    """Print the alerts; whether one is as grave as `fail_on`."""
    from pipeline import alerts, stories
    from pipeline.rows import print_rows

    gravest = alerts.level_number(fail_on) if fail_on else None
    since, until = first_day or stories.FIRST, last_day or stories.LAST
    with alerts.connect(config.root()) as connection:
        rows = alerts.listed(connection, level=level, since=since, until=until, everything=everything, most=most)
        never = not alerts.were_evaluated(connection)
    if never:
        print("no alert was evaluated here yet; `trailweave alert evaluate` does", file=sys.stderr)
    print_rows(alerts.in_short(rows) if form == "table" else rows, form, sys.stdout)
    return gravest is not None and any(alerts.level_number(str(it)) >= gravest for it in rows["level"].to_pylist())


def show_alert(config: Config, id_: str, *, as_json: bool) -> None:
    """Print the alert whose id begins so; a table of them where several do."""
    from dataclasses import asdict

    from pipeline import alerts
    from pipeline.alert_page import render
    from pipeline.rows import as_json as json_of
    from pipeline.rows import console, print_rows

    with alerts.connect(config.root()) as connection:
        found = alerts.show(connection, id_)
    if not isinstance(found, alerts.Alert):
        print(f"{len(found)} alerts are meant; show one of them by its id", file=sys.stderr)
        print_rows(found if as_json else alerts.in_short(found), "json" if as_json else "table", sys.stdout)
    elif as_json:
        print(json_of(asdict(found)))
    else:
        render(found, console(sys.stdout))


def queue_sources(config: Config, names: Sequence[str], queue_url: str | None) -> dict[str, Source]:
    """The sources to receive from. Raises `ConfigError` where there is none, or one has no queue."""
    if queue_url is not None:
        if names:
            raise ConfigError(f"--queue-url defines a source of its own; leave out {', '.join(names)}")
        return {"default": configuration.queue_source(queue_url)}
    sources = config.sources(names)
    found = {name: it for name, it in sources.items() if it.queue_url}
    lacking = [name for name in names if name not in found]
    if lacking or not found:
        what = f"source {lacking[0]!r} has no queue_url" if lacking else "no source with a queue_url"
        raise ConfigError(f"{what}; give --queue-url URL, or set it under [[source]] in {configuration.FILE}")
    return found


def replay(
    config: Config,
    names: Sequence[str],
    selection: Selection,
    *,
    workers: int,
    force: bool,
    dead_letters: bool,
    beam_flags: Sequence[str],
    quiet: bool,
) -> Summary:
    """Replay locations, named sources, or the dead letters of the output root."""
    from pipeline.dead_letters import SOURCE, dead_letter_messages
    from pipeline.replay import as_messages, replay_all

    output = config.root()
    sources = {it.name: it for it in located(config, names)}
    if dead_letters:
        sources = {**sources, **config.sources(), SOURCE: Source(SOURCE, access=output.access)}
        plan = begin(config, sources)
        listed: Iterator[Message] = dead_letter_messages(output, sources)
        force = True
    else:
        if not sources:
            raise ConfigError("nothing to replay; give --source URI or the NAME of a [[source]] with a location")
        plan = begin(config, sources)
        listed = chain.from_iterable(
            as_messages(list_objects(str(it.location), it.access, selection), it.name) for it in sources.values()
        )
    return replay_all(plan, listed, workers=workers, force=force, beam_flags=beam_flags, quiet=quiet)


def located(config: Config, names: Sequence[str]) -> list[Source]:
    """Each URI as a source of its own, each other word as the name of a source with a location."""
    known = {it.name: it.source() for it in config.source}
    found = []
    for number, name in enumerate(names):
        if name in known:
            if known[name].location is None:
                raise ConfigError(f'source {name!r} has no location; set location = "s3://BUCKET/PREFIX" for it')
            found.append(known[name])
        else:
            found.append(Source(f"replay-{number}" if number else "replay", location=name))
    return found


def begin(config: Config, sources: dict[str, Source]) -> Plan:
    """Everything that a writing command does first.

    The output root must not lie where the sources are announced from; its store must honour create-if-absent; its
    settings must be the ones asked for; and the commits of the last seven days are completed.
    """
    from pipeline.repair import recent
    from pipeline.repair import repair as complete

    output, settings = config.root(), config.settings()
    for source in sources.values():
        refuse_loop(output, source)
    store = open_store(output)
    prove(store)
    agree(store, settings)
    rules, enrichment = config.rule_book(), config.enrichment_book()
    complete(output, settings, rules=rules, enrichment=enrichment, since=recent())
    return Plan(sources, output, settings, str(uuid.uuid4()), config.fetch(), rules, enrichment)


def refuse_loop(output: Output, source: Source) -> None:
    """An output inside what a source reads would be ingested again, for ever."""
    root, location = urlsplit(output.uri), urlsplit(source.location or "")
    if root.scheme in ("s3", "gs"):
        inside = f"{root.netloc}/{root.path.strip('/')}/"
        read = f"{location.netloc}/{location.path.strip('/')}".rstrip("/") + "/"
        loops = (location.scheme == root.scheme and inside.startswith(read)) or (
            root.scheme == "s3" and root.netloc in source.buckets
        )
    else:
        loops = (
            source.location is not None
            and location.scheme not in ("s3", "gs")
            and _folder(root).is_relative_to(_folder(location))
        )
    if loops:
        what = "bucket" if root.netloc else "folder"
        raise ConfigError(
            f"output {output.uri!r} lies in what source {source.name!r} reads; use another {what} for the output"
        )


def _folder(location: SplitResult) -> Path:
    return Path(location.path).resolve()


def repair(config: Config) -> tuple[int, int]:
    """(commits completed, temporary files removed) under the whole output root."""
    from pipeline.repair import repair as complete

    output = config.root()
    store = open_store(output)
    settings = read_settings(store)
    if settings is None:
        raise ConfigError(f"{output.uri!r} holds no trailweave data; check --output")
    prove(store)
    swept = store.sweep(_SWEEP_S) if isinstance(store, LocalStore) else 0
    return complete(output, settings, rules=config.rule_book(), enrichment=config.enrichment_book()), swept


def compact(config: Config, first_day: str | None, last_day: str | None) -> Compacted:
    """Merge the small files of quiet partitions between two days; a signal ends it after the partition in work."""
    from pipeline.compaction.compact import compact as merge
    from pipeline.ingest import stopping

    output = config.root()
    store = open_store(output)
    settings = read_settings(store)
    if settings is None:
        raise ConfigError(f"{output.uri!r} holds no trailweave data; check --output")
    prove(store)
    with stopping():
        return merge(output, settings, since=first_day, until=last_day)


def redrive(queue_url: str, to: str, *, most: int | None) -> Redriven:
    """Move the messages of a dead-letter queue back; a signal ends it after the batch in work."""
    from pipeline.ingest import stopping
    from pipeline.redrive import redrive as move

    source = configuration.queue_source(queue_url)
    configuration.queue_source(to)
    with stopping():
        return move(queue_url, to, source.access, most=most)


def verify(
    config: Config,
    names: Sequence[str],
    first_day: str | None,
    last_day: str | None,
    *,
    digests: bool,
    key_files: Sequence[Path],
) -> Verification:
    """Compare what lies in locations or named sources with the output root, and prove it by digests."""
    from pipeline.verify import verify as prove_complete
    from transforms.stores.trail_digests import load_public_keys

    if not names:
        raise ConfigError("nothing to verify; give --source URI or the NAME of a [[source]] with a location")
    return prove_complete(
        config.root(),
        located(config, names),
        first_day=first_day,
        last_day=last_day,
        digests=digests,
        keys=load_public_keys(key_files) if key_files else None,
    )


def status(config: Config, *, as_json: bool, every_s: float | None = None) -> None:
    """Print the state of the output root; with `every_s` again and again, until a signal comes."""
    from pipeline import status as page
    from pipeline.ingest import stopping
    from pipeline.rows import console
    from transforms.receive_messages import STOP

    output = config.root()
    if as_json:
        if every_s is not None:
            raise ConfigError("--watch is for people; --json prints one object, ask for it again")
        print(page.as_json(page.status(output)))
    elif every_s is None:
        page.render(page.status(output), console(sys.stdout))
    else:
        with stopping():
            page.watch(lambda: page.status(output), console(sys.stdout), lambda: not STOP.wait(every_s))


def query(config: Config, sql: str | None, name: str | None, parameters: Sequence[str], form: str) -> None:
    """Run SQL or a query of the library and print its rows."""
    from pipeline import query as asking
    from pipeline.rows import TABLE_ROWS, print_rows

    if (sql is None) == (name is None):
        raise ConfigError("give either SQL or --name NAME; `trailweave query --list` shows the names")
    given = dict(_pair(it) for it in parameters)
    with asking.connect(config.root()) as connection:
        rows = asking.run(connection, asking.named(name) if name else str(sql), given)
        count = print_rows(rows, form, sys.stdout)
    if form == "table" and count > TABLE_ROWS:
        print(f"{count - TABLE_ROWS:,} more rows; --format csv or jsonl shows all", file=sys.stderr)


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise ConfigError(f"--param {text!r} has no value; write --param KEY=VALUE")
    return key, value


def list_queries(form: str) -> None:
    """Print the library of queries."""
    import pyarrow as pa

    from pipeline import query as asking
    from pipeline.rows import print_rows

    library = asking.library()
    rows = {"name": [it.name for it in library], "description": [it.description for it in library]}
    print_rows(pa.table(rows), form, sys.stdout)


def stitch(config: Config, first_day: str | None, last_day: str | None, *, every_s: float | None) -> int:
    """Record the stories that changed: how many. With `every_s` again and again, until a signal comes."""
    from pipeline import stories
    from pipeline.ingest import stopping
    from transforms.receive_messages import STOP

    output = config.root()
    prove(open_store(output))
    since, until = first_day or stories.FIRST, last_day or stories.LAST
    count = stories.stitch(output, since, until)
    if every_s is not None:
        with stopping():
            while not STOP.wait(every_s):
                count += stories.stitch(output, since, until)
    return count


def list_stories(
    config: Config, identity: str | None, first_day: str | None, last_day: str | None, *, most: int, form: str
) -> None:
    """Print the stories seen from the first to the last day; a table has the columns that fit."""
    from pipeline import stories
    from pipeline.rows import print_rows

    since, until = first_day or stories.FIRST, last_day or stories.LAST
    with stories.connect(config.root()) as connection:
        rows = stories.listed(connection, identity=identity, since=since, until=until, most=most)
    print_rows(stories.in_short(rows) if form == "table" else rows, form, sys.stdout)


def show_story(config: Config, asked: Mapping[str, str | None], *, as_json: bool) -> None:
    """Print the story that one of `asked` (kind to value) names; a table of them where several are meant."""
    from dataclasses import asdict

    from pipeline import stories
    from pipeline.rows import as_json as json_of
    from pipeline.rows import console, print_rows
    from pipeline.story_page import render

    given = [(kind, value) for kind, value in asked.items() if value is not None]
    if len(given) != 1:
        raise ConfigError("give one of: a story's ID, --event ID, --key ACCESS_KEY_ID, --identity NAME")
    ((kind, value),) = given
    with stories.connect(config.root()) as connection:
        found = stories.show(connection, stories.Asked(kind, value))  # type: ignore[arg-type]
    if not isinstance(found, stories.Story):
        print(f"{len(found)} stories are meant; show one of them by its id", file=sys.stderr)
        print_rows(found if as_json else stories.in_short(found), "json" if as_json else "table", sys.stdout)
    elif as_json:
        print(json_of(asdict(found)))
    else:
        render(found, console(sys.stdout))


def show_enrichment(config: Config, form: str) -> None:
    """Print what enriches events."""
    from pipeline import enrichment
    from pipeline.rows import print_rows

    rows = enrichment.loaded(config.enrichment_book(), datetime.now(UTC))
    print_rows(enrichment.in_short(rows) if form == "table" else rows, form, sys.stdout)
    if form == "table" and (lines := enrichment.missing(rows)):
        print("\nnot given; set it under [enrichment] in trailweave.toml:", *lines, sep="\n  ")


def hunt(
    config: Config,
    book: RuleBook,
    selection: Selection,
    *,
    beam_flags: Sequence[str],
    form: str,
    quiet: bool,
) -> None:
    """Hunt with some rules and print the hits by rule."""
    from pipeline import query as asking
    from pipeline import sql
    from pipeline.hunt import hunt as search
    from pipeline.rows import print_rows
    from pipeline.sql.tree import open_tree

    output = config.root()
    open_tree(output)
    prove(open_store(output))
    enrichment = config.enrichment_book()
    counts = search(output, book, selection, enrichment=enrichment, beam_flags=beam_flags, quiet=quiet)
    with asking.connect(output) as connection:
        values = {
            "ruleset": book.digest,
            "since": selection.first_day or "0001-01-01",
            "until": selection.last_day or "9999-12-31",
            "accounts": ",".join(selection.accounts),
        }
        print_rows(asking.run(connection, sql.text("hunts/hits"), values), form, sys.stdout)
    print(f"{counts['records']:,} records looked through, {counts['rule_hits']:,} hits", file=sys.stderr)


def rule_book(places: Sequence[Path], indicators: Sequence[Path] = ()) -> RuleBook:
    """The rules and lists of indicators at some places, or the rules that come with trailweave."""
    return RuleBook.of(places, shipped=not (places or indicators), indicators=indicators)


def read_indicators(places: Sequence[Path]) -> tuple[Tally, ...]:
    """What became of each list at some places."""
    return read_lists(list_files(places)).tallies


def rule_set(places: Sequence[Path]) -> RuleSet:
    """What some places hold, with what is wrong."""
    return RuleBook(read_rules(places or [SHIPPED])).rule_set()


def check(config: Config, names: Sequence[str], queue_url: str | None, *, wait_s: int, as_json: bool) -> int:
    """Walk the path of the sources and of the output, print each step, and say how it ended: the exit code."""
    from dataclasses import asdict

    from pipeline import check as walk
    from pipeline.check_page import render
    from pipeline.rows import as_json as json_of
    from pipeline.rows import console

    sources = [*queue_sources(config, names, queue_url).values()]
    output = config.root() if config.output is not None else None
    steps = []
    page = console(sys.stdout)
    for step in walk.check(sources, output, config.settings(), config.fetch(), wait_s):
        steps.append(step)
        if not as_json:
            render(step, page)
    code = walk.exit_code(steps)
    if as_json:
        print(json_of({"exit_code": code, "steps": [asdict(step) for step in steps]}))
    return code


def list_rules(places: Sequence[Path], form: str) -> None:
    """Print the rules."""
    from pipeline.rows import print_rows
    from pipeline.rules import listed

    rows = listed(rule_set(places).checked())
    print_rows(rows.select(["title", "level", "kind", "tags"]) if form == "table" else rows, form, sys.stdout)


def test_rules(places: Sequence[Path]) -> list[Tested]:
    """The samples of the rules at some places, run."""
    from pipeline.rules import tested

    return list(tested(rule_book(places)))
