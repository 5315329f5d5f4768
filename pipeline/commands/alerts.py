"""Alerts, evaluated, delivered and shown."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial

from pipeline.alerting.sinks import Sink
from pipeline.config import Config
from pipeline.ingestion.recorder import Recorder
from schemas.errors import ConfigError
from transforms.rules.sigma import RuleSet
from transforms.stores.files import open_store, prove


def evaluate_alerts(config: Config, deliver_to: Sequence[str] | None, *, every_s: float | None) -> dict[str, int]:
    """Evaluate alerts, and deliver them to the named sinks, or all of the configuration; again with `every_s`.

    Raises the first fault of a sink, after everything that could be delivered was.
    """
    from pipeline.sql.tree import open_tree
    from pipeline.terminal.stopping import stopping
    from transforms.receive_messages import STOP

    open_tree(config.root())
    prove(open_store(config.root()))
    rules, sinks = config.rule_book().rule_set(), config.sinks(deliver_to)
    counts: Counter[str] = Counter()
    once = partial(evaluate_and_deliver, config, rules, sinks, counts)
    if every_s is None:
        once()
    else:
        with stopping():
            recorder = Recorder("alerts", once)
            recorder.touch()
            while not STOP.wait(every_s):
                recorder.touch()
    return {"recorded": counts["recorded"], "delivered": counts["delivered"]}


def evaluate_and_deliver(config: Config, rules: RuleSet, sinks: Sequence[Sink], counts: Counter[str]) -> int:
    """Evaluate once and deliver: how many were recorded, added to `counts`. Raises the first fault of a sink."""
    from pipeline.alerting import alerts
    from pipeline.alerting.sinks import deliver
    from pipeline.alerting.suppressions import read_suppressions

    output = config.root()
    recorded = alerts.evaluate(output, rules, read_suppressions(config.suppressions))
    delivered, failed = deliver(output, sinks)
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
    """Print the alerts; whether one is as grave as `fail_on`, which must not lie below `level`."""
    from pipeline.alerting import alerts
    from pipeline.commands.showing import at_most
    from pipeline.stories import stories
    from pipeline.terminal.rows import print_rows

    gravest = alerts.level_number(fail_on) if fail_on else None
    if gravest is not None and gravest < alerts.level_number(level):
        raise ConfigError(
            f"--fail-on {fail_on} lies below --level {level}, which leaves such alerts out; give --level {fail_on}"
        )
    since, until = first_day or stories.FIRST, last_day or stories.LAST
    with alerts.connect(config.root()) as connection:
        found = alerts.listed(connection, level=level, since=since, until=until, everything=everything, most=most + 1)
        never = not alerts.were_evaluated(connection)
    if never:
        print("no alert was evaluated here yet; `trailweave alert evaluate` does", file=sys.stderr)
    rows = at_most(found, most, "alerts")
    print_rows(alerts.in_short(rows) if form == "table" else rows, form, sys.stdout)
    return gravest is not None and any(alerts.level_number(str(it)) >= gravest for it in rows["level"].to_pylist())


def show_alert(config: Config, id_: str, *, as_json: bool) -> None:
    """Print the alert whose id begins so; a table of them where several do."""
    from pipeline.alerting import alerts
    from pipeline.alerting.page import render
    from pipeline.commands.showing import show_one

    output = config.root()
    with alerts.connect(output) as connection:
        found = alerts.show(connection, id_)
    show_one(found, "alerts", alerts.in_short, partial(render, output=output.uri), as_json=as_json)
