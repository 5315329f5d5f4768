"""`trailweave alert`: what an analyst acts on, evaluated over all detections that are known.

One alert stands for a rule and a story (without one, an account), or for a correlation's group and bucket of time.
Its id is a function of these, so that no order of arrival changes it. Evaluated again, an alert grows; one of which
what came later makes another is superseded. Rows are only added: killed half way, the rest is recorded the next time.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow as pa

from pipeline import sql
from pipeline.alerting import profiles
from pipeline.alerting.analytics import Analytic, findings
from pipeline.alerting.correlations import evaluate as matches_of
from pipeline.alerting.suppressions import MOST_ACCOUNTS, MOST_SEEN, Suppression
from pipeline.sql import query
from pipeline.terminal.words import counted
from schemas.datasets import ALERTS
from schemas.errors import ConfigError
from transforms.rules.correlations import Correlation
from transforms.rules.sigma import RuleSet
from transforms.stores.files import Output, open_store
from transforms.stores.parquet import ALERTS_LAYOUT, encode
from transforms.stores.tree import dated_path

log = logging.getLogger(__name__)

LEVELS = ("informational", "low", "medium", "high", "critical")
_MOST = {"most_accounts": str(MOST_ACCOUNTS), "most_seen": str(MOST_SEEN)}
OPEN, SUPPRESSED, SUPERSEDED = "open", "suppressed", "superseded"

_NAMESPACE = uuid.UUID("b0a1c0de-2f0e-5c1d-8b5e-6d2f4a7c9e10")
_PREFIX = "alert-"
_SHORTEST = 6
_SHOWN = 6

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: its row of `alerts`, what its rule says of itself, and the events of its evidence."""

    row: Row
    events: Sequence[Mapping[str, Any]]


def level_number(level: str) -> int:
    """The place of a level from 1, the lowest. Raises ConfigError for a word that is none."""
    if level not in LEVELS:
        raise ConfigError(f"level {level!r} is unknown; use one of {', '.join(LEVELS)}")
    return LEVELS.index(level) + 1


def connect(output: Output) -> duckdb.DuckDBPyConnection:
    """The views over an output root. Raises ConfigError for one whose detections are not derived."""
    return query.connect(output, derived="detections")


def evaluate(
    output: Output, rules: RuleSet, suppressions: Sequence[Suppression] = (), *, now: datetime | None = None
) -> int:
    """Evaluate all alerts and record those that are new or have changed: how many those are.

    `now` (aware) settles the whole buckets of correlations that a later event could make untrue.
    """
    with connect(output) as connection:
        made = profiles.complete(open_store(output), connection)
    if made:
        log.info("profiles_made: %d, of files of events that had none", made)
    with connect(output) as connection:
        rows = {row["alert_id"]: row for row in current(connection, rules, suppressions, now or datetime.now(UTC))}
        recorded = {row["alert_id"]: row for row in _rows(query.run(connection, "FROM alerts"))}
        changed = [row for id_, row in rows.items() if _differs(row, recorded.get(id_))]
        changed += _superseded(connection, rules, rows, recorded)
    if changed:
        evaluated = datetime.now(UTC)
        table = pa.Table.from_pylist([{**row, "evaluated_time": evaluated} for row in changed], ALERTS.arrow)
        open_store(output).create(dated_path(ALERTS, evaluated), encode(table, ALERTS_LAYOUT))
    return len(changed)


def current(
    connection: duckdb.DuckDBPyConnection, rules: RuleSet, suppressions: Sequence[Suppression], now: datetime
) -> Iterator[Row]:
    """Every alert as it stands now: rows of `alerts` but for `evaluated_time`."""
    connection.execute(sql.text("alerts/who"))
    connection.execute(sql.text("alerts/told"))
    about = {rule.id: rule.description for rule in rules.rules}
    for row in _rows(query.run(connection, sql.text("alerts/single", **_MOST))):
        what = row.pop("about")
        whole = {**row, "alert_id": _id(row["rule_id"], what), "group_values": [], "bucket": None}
        yield _finished(whole, about.get(row["rule_id"]), suppressions)
    for correlation in (it for it in rules.correlations if it.alerts):
        for row in _correlated(connection, correlation, now):
            yield _finished(row, correlation.description, suppressions)
    for analytic, row in findings(connection):
        yield _finished(_analysed(analytic, row), analytic.description, suppressions)


def _analysed(analytic: Analytic, row: Row) -> Row:
    """A finding as an alert; its score, from 0 to 1, stands among the values seen."""
    whole = {name: value for name, value in row.items() if name not in ("about", "score")}
    return {
        **whole,
        "seen": [*row["seen"], f"score={row['score']:.2f}"],
        "alert_id": _id(analytic.id, row["about"]),
        "kind": "analytics",
        "rule_id": analytic.id,
        "rule_title": analytic.title,
        "level": analytic.level,
        "tags": sorted(analytic.tags),
        "group_values": [],
        "bucket": None,
    }


def _correlated(connection: duckdb.DuckDBPyConnection, rule: Correlation, now: datetime) -> Iterator[Row]:
    connection.register("bases", pa.table({"rule_id": rule.rules()}))
    hits = query.run(connection, sql.text("alerts/hits")).read_all()
    connection.register("matches", matches_of(rule, hits, now))
    for row in _rows(query.run(connection, sql.text("alerts/correlated", **_MOST))):
        yield {
            **row,
            "alert_id": _id(row.pop("match_id")),
            "kind": "correlation",
            "rule_id": rule.rule_id,
            "rule_title": rule.title,
            "level": rule.level,
            "tags": list(rule.tags),
        }


def _id(*parts: str) -> str:
    return f"{_PREFIX}{uuid.uuid5(_NAMESPACE, repr(parts)).hex}"


def _finished(row: Row, description: str | None, suppressions: Sequence[Suppression]) -> Row:
    found = next((it for it in suppressions if it.fits(row)), None)
    return {
        **row,
        "status": SUPPRESSED if found else OPEN,
        "reason": found.reason if found else None,
        "explanation": explained(row, description),
    }


def explained(row: Mapping[str, Any], description: str | None) -> str:
    """An alert in plain words: what, who, how often, when, where, the values seen, and why it matters."""
    who = row["root_identity"] or ", ".join(row["group_values"]) or "somebody whom no session tells"
    first, last = (row[name].astimezone(UTC) for name in ("first_seen", "last_seen"))
    when = (
        f"at {first:%Y-%m-%d %H:%M:%S}" if first == last else f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S}"
    )
    events = counted(row["events"], "event")
    accounts = "accounts" if len(row["accounts"]) > 1 else "account"
    where = f" in {accounts} {', '.join(row['accounts'][:_SHOWN])}" if row["accounts"] else ""
    seen = f" Seen: {'; '.join(row['seen'][:_SHOWN])}." if row["seen"] else ""
    why = f" {' '.join(description.split())}" if description else ""
    return f"{row['rule_title']}: {who}, {events}{where}, {when} UTC.{seen}{why}"


def _superseded(
    connection: duckdb.DuckDBPyConnection, rules: RuleSet, rows: Mapping[str, Row], recorded: Mapping[str, Row]
) -> Iterator[Row]:
    """Recorded alerts that are none any more.

    One whose correlation is not loaded, or whose events are gone by retention, stays as it is.
    """
    loaded = {it.rule_id for it in rules.correlations}
    gone = {
        id_: row
        for id_, row in recorded.items()
        if id_ not in rows
        and row["status"] != SUPERSEDED
        and (row["kind"] != "correlation" or row["rule_id"] in loaded)
    }
    if not gone:
        return
    evidence = [{"alert_id": id_, "event_id": event} for id_, row in gone.items() for event in row["evidence"]]
    connection.register("gone", pa.Table.from_pylist(evidence))
    for found in _rows(query.run(connection, sql.text("alerts/known"))):
        yield {**gone[found["alert_id"]], "status": SUPERSEDED, "reason": None}


def _differs(row: Row, recorded: Row | None) -> bool:
    return recorded is None or any(
        row[name] != recorded[name] for name in ALERTS.arrow.names if name != "evaluated_time"
    )


def listed(
    connection: duckdb.DuckDBPyConnection, *, level: str, since: str, until: str, everything: bool, most: int
) -> pa.Table:
    """Alerts of a level or a graver one seen between two days, both ends in, the gravest first; at most so many.

    `everything` brings those that are suppressed or superseded as well.
    """
    values = {"level": str(level_number(level)), "since": since, "until": until, "most": str(most)}
    values["all"] = "yes" if everything else "no"
    return query.run(connection, sql.text("alerts/list"), values).read_all()


def were_evaluated(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether any alert was recorded."""
    return bool(query.run(connection, "SELECT alert_id FROM tree.alerts LIMIT 1").read_all())


def show(connection: duckdb.DuckDBPyConnection, asked: str) -> Alert | pa.Table:
    """The alert whose id begins so; a table of them where several do. Raises ConfigError where there is none."""
    digits = asked.removeprefix(_PREFIX)
    if len(digits) < _SHORTEST:
        raise ConfigError(f"alert {asked!r} is too short; give {_SHORTEST} digits of its id or more")
    text = "FROM alerts WHERE starts_with(alert_id, $beginning) ORDER BY alert_id"
    found = query.run(connection, text, {"beginning": _PREFIX + digits}).read_all()
    if not len(found):
        raise ConfigError(
            f"no alert {asked!r} in this output root; `trailweave alert list --all` shows what there is"
        )
    if len(found) > 1:
        return found
    (row,) = _rows(found)
    connection.register("asked", pa.table({"event_id": row["evidence"]}))
    values = {
        "since": row["first_seen"].astimezone(UTC).date().isoformat(),
        "until": row["last_seen"].astimezone(UTC).date().isoformat(),
    }
    return Alert(row, _rows(query.run(connection, sql.text("alerts/events"), values)))


def in_short(rows: pa.Table) -> pa.Table:
    """Alerts in columns that fit a terminal; the beginning of the id is enough to show one."""
    ids: Any = pa.compute.utf8_slice_codeunits(rows["alert_id"], len(_PREFIX), len(_PREFIX) + 10)
    columns = ["level", "rule_title", "root_identity", "events", "last_seen"]
    return (
        rows.select(columns)
        .rename_columns(["level", "rule", "who", "events", "last_seen"])
        .add_column(0, "alert", ids)
    )


def _rows(found: pa.Table | pa.RecordBatchReader) -> list[Row]:
    table = found if isinstance(found, pa.Table) else found.read_all()
    return table.to_pylist()
