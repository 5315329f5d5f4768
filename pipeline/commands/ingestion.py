"""Ingest from queues, and replay what lies somewhere."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from pipeline.commands.alerts import evaluate_and_deliver
from pipeline.commands.beginning import begin, located, queue_sources
from pipeline.config import Config
from pipeline.graph import Plan
from pipeline.ingestion.recorder import Recorder
from pipeline.ingestion.summary import Summary
from schemas.errors import ConfigError
from schemas.values import Message
from transforms.list_objects import Selection, listed_messages
from transforms.stores.sources import Source

# Options that an engine (--runner) does not take, and what there is instead.
_INSTEAD = {
    "--until-idle": "an engine runs until it is cancelled",
    "--stitch": "run `trailweave stitch --every S` beside the engine",
    "--alerts": "run `trailweave alert evaluate --every S` beside the engine",
    "--compact": "run `trailweave compact` beside the engine",
    "--dead-letters": "run it without --runner, beside the engine",
    "--workers": "an engine has its own parallelism",
    "--metrics-port": "an engine has metrics of its own",
}


def _refuse_on_engine(given: Mapping[str, bool]) -> None:
    """Raise ConfigError for the first option that was given, with what there is on an engine instead."""
    for option, is_given in given.items():
        if is_given:
            raise ConfigError(f"{option} is for this machine's own loop; {_INSTEAD[option]}")


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """How `ingest` runs, beyond the configuration.

    With several `workers` each is a process with a loop of its own; `pollers` are an engine's, for each source.
    With `stitch` the stories of the sessions that a micro-batch touched are recorded after it; with `alerts` alerts
    are evaluated, and delivered to the sinks of the configuration; with `compact` quiet partitions are compacted.
    """

    until_idle_s: float | None = None
    stitch: bool = False
    alerts: bool = False
    compact: bool = False
    workers: int = 1
    pollers: int = 1
    beam_flags: Sequence[str] = ()
    quiet: bool = False


def ingest(config: Config, names: Sequence[str], queue_url: str | None, options: IngestOptions) -> Summary:
    """Ingest from the named sources, all of them, or the one that `queue_url` defines.

    The configuration's `metrics_port` serves what the loops count, and whether they turn, while they run.
    """
    from pipeline.engines.job import job
    from pipeline.engines.running import ingest_on_engine
    from pipeline.ingestion.runs import engine

    sources = queue_sources(config, names, queue_url)
    if engine(options.beam_flags) is not None:
        _refuse_on_engine(
            {
                "--until-idle": options.until_idle_s is not None,
                "--stitch": options.stitch,
                "--alerts": options.alerts,
                "--compact": options.compact,
                "--workers": options.workers > 1,
                "--metrics-port": config.metrics_port is not None,
            }
        )
        pipeline = job([*options.beam_flags, "--streaming"], config.root(), [*sources.values()])
        return ingest_on_engine(pipeline, begin(config, sources), config.max_wait, options.pollers)
    if options.pollers > 1:
        raise ConfigError("--pollers is for an engine (--runner); this machine's own loop has --workers")
    return _ingest_here(config, sources, options)


def _ingest_here(config: Config, sources: dict[str, Source], options: IngestOptions) -> Summary:
    """Ingest by this machine's own loop, with what is to be done after its micro-batches."""
    from pipeline.ingestion.ingest import ingest_until_stopped
    from pipeline.ingestion.workers import ingest_in_processes

    plan = begin(config, sources)
    loop = ingest_until_stopped if options.workers == 1 else partial(ingest_in_processes, workers=options.workers)
    run = partial(
        loop,
        plan,
        config.limits(),
        until_idle_s=options.until_idle_s,
        beam_flags=options.beam_flags,
        quiet=options.quiet,
    )
    evaluated: Counter[str] = Counter()
    recorders = _recorders(config, plan, evaluated, stitch=options.stitch, alerts=options.alerts)
    hooks: list[Callable[[Counter[str]], None]] = [recorder.after_run for recorder in recorders]
    if options.compact:
        from pipeline.compaction.beside import Compactor

        compactor = Compactor(plan.output, plan.settings)
        hooks.append(lambda _: compactor.step())
    with ExitStack() as stack:
        if config.metrics_port is not None:
            from pipeline.metrics.server import serving

            served = serving([*sources.values()], config.metrics_address, config.metrics_port)
            metrics, _ = stack.enter_context(served)
            metrics.alerts = evaluated
            hooks.append(metrics.ran)
            run = partial(run, on_turn=metrics.turned)
        summary = run(on_run=lambda counts: [hook(counts) for hook in hooks])
    for recorder in recorders:
        recorder.finish()
    return summary


def _recorders(config: Config, plan: Plan, evaluated: Counter[str], *, stitch: bool, alerts: bool) -> list[Recorder]:
    """What is evaluated beside ingestion; alerts are counted in `evaluated`."""
    from pipeline.stories import stories

    if stitch and not plan.settings.sessions:
        raise ConfigError(f"--stitch needs sessions, and {plan.output.uri!r} is without")
    if alerts and not plan.settings.detections:
        raise ConfigError(f"--alerts needs detections, and {plan.output.uri!r} is without")
    found = []
    if stitch:
        found.append(Recorder("stitch", lambda: stories.stitch(plan.output, stories.FIRST, stories.LAST)))
    if alerts:
        rules, sinks = plan.rules.rule_set(), config.sinks()
        found.append(Recorder("alerts", partial(evaluate_and_deliver, config, rules, sinks, evaluated)))
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
    from pipeline.engines.job import job
    from pipeline.engines.running import replay_on_engine
    from pipeline.ingestion.dead_letters import dead_letter_messages, dead_letter_sources
    from pipeline.ingestion.replay import replay_all
    from pipeline.ingestion.runs import engine
    from pipeline.sql.tree import open_tree

    output = config.root()
    sources = {it.name: it for it in located(config, names)}
    by_engine = engine(beam_flags) is not None
    if by_engine:
        _refuse_on_engine({"--dead-letters": dead_letters, "--workers": workers > 1})
    if dead_letters:
        if not selection.everything:
            raise ConfigError(
                "--account, --region, --from and --to prune a listing, and --dead-letters feeds in all of them again;"
                " leave them out"
            )
        open_tree(output)
        sources = {**sources, **config.sources(), **dead_letter_sources(output)}
        plan = begin(config, sources)
        listed: Iterator[Message] = dead_letter_messages(output, sources)
        force = True
    else:
        if not sources:
            raise ConfigError("nothing to replay; give --source URI or the NAME of a [[source]] with a location")
        if by_engine:
            pipeline = job(beam_flags, output, [*sources.values()])
            return replay_on_engine(pipeline, begin(config, sources), selection, force=force)
        # Before anything is written: a location that is none is told here.
        listed = listed_messages(sources.values(), selection)
        plan = begin(config, sources)
    summary = replay_all(plan, listed, workers=workers, force=force, beam_flags=beam_flags, quiet=quiet)
    if dead_letters and not quiet:
        # A run counts only those that are new.
        print("`trailweave query --name dead-letters` shows which dead letters still stand", file=sys.stderr)
    return summary
