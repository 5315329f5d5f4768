"""Analytics: what is unusual for an identity, a key or an account, against what is known of it.

The baseline is the dataset `sessions`, whose fragments are functions of one raw file each and merge in any order: the
answers are functions of the set of events, too. An event that comes late may move a first time to an earlier day; the
alert under the later day is then superseded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipeline import query, sql

WARM_UP_DAYS = 14
DORMANT_DAYS = 90

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Analytic:
    """One question: an SQL file with its values, and what an alert of it says of itself."""

    id: str
    title: str
    description: str
    level: str
    tags: tuple[str, ...]
    file: str
    values: dict[str, str] = field(default_factory=dict)


def _first(what: str, column: str, event_column: str, tags: tuple[str, ...]) -> Analytic:
    return Analytic(
        id=f"first-{what}",
        title=f"First time in a {what}" if what == "region" else f"First time that a {what} is used",
        description=f"The identity has {WARM_UP_DAYS} days of history or more and was never seen with this {what}.",
        level="low",
        tags=tags,
        file="first_values",
        values={"what": what, "column": column, "event_column": event_column, "warm_up": str(WARM_UP_DAYS)},
    )


ANALYTICS = (
    _first("region", "regions", "region", ("attack.defense-evasion", "attack.t1535")),
    _first("service", "services", "resource_type_orig", ("attack.discovery", "attack.t1526")),
    Analytic(
        id="dormant-key",
        title="Dormant access key awakened",
        description=f"A long-term key is used again after {DORMANT_DAYS} days without: forgotten keys are found.",
        level="medium",
        tags=("attack.initial-access", "attack.t1078.004"),
        file="dormant_keys",
        values={"dormant": str(DORMANT_DAYS)},
    ),
    Analytic(
        id="denials",
        title="Unusually many denials",
        description="The identity is refused far more calls on a day than it is used to: permissions are tried out.",
        level="medium",
        tags=("attack.discovery", "attack.t1069.003"),
        file="denials",
        values={"warm_up": str(WARM_UP_DAYS)},
    ),
    Analytic(
        id="cross-account",
        title="New account takes roles",
        description="Sessions of an account take a role in another for which no such path was seen before.",
        level="medium",
        tags=("attack.lateral-movement", "attack.t1550.001"),
        file="cross_account",
        values={"warm_up": str(WARM_UP_DAYS)},
    ),
)


def findings(connection: duckdb.DuckDBPyConnection) -> Iterator[tuple[Analytic, Row]]:
    """Every answer of every question over the views: about, seen, first_seen, last_seen, events, score, evidence.

    Who and where (`story_id`, `root_identity`, `accounts`, `sessions`) are those of the session that it is told of.
    """
    connection.execute(sql.text("analytics/acted"))
    for analytic in ANALYTICS:
        text = sql.text(f"analytics/{analytic.file}", **analytic.values)
        told = sql.text("analytics/told", question=text)
        for row in query.run(connection, told).read_all().to_pylist():
            yield analytic, row
