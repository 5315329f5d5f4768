"""Analytics: what is unusual for an identity, a key or an account, against what is known of it and of its peers.

The baselines are the datasets `profiles` and `sessions`, whose rows are functions of one file each and merge in any
order: the answers are functions of the set of events, too. An event that comes late may move a first time to an
earlier day; the alert under the later day is then superseded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipeline import sql
from pipeline.sql import query

WARM_UP_DAYS = 14
DORMANT_DAYS = 90

# Autonomous systems that are Amazon's, and those of other clouds: whoever has no lists of networks has perhaps these.
_AMAZON = ("7224", "8987", "14618", "16509")
_CLOUDS = (*_AMAZON, "8075", "8068", "13335", "14061", "15169", "16276", "24940", "31898", "45102", "63949", "396982")

_DELETED = (
    *("DeleteObject", "DeleteObjects", "DeleteBucket", "DeleteSnapshot", "DeleteVolume", "DeregisterImage"),
    *("DeleteDBInstance", "DeleteDBCluster", "DeleteDBSnapshot", "DeleteDBClusterSnapshot", "DeleteCluster"),
    *("DeleteTable", "DeleteBackup", "DeleteRecoveryPoint", "DeleteBackupVault", "DeleteFileSystem", "DeleteDomain"),
    *("DeleteRepository", "BatchDeleteImage", "DeleteSecret", "DeleteLogGroup", "DeleteStack", "TerminateInstances"),
)
_ENCRYPTED = (
    *("CopyObject", "PutBucketEncryption", "Encrypt", "ReEncrypt", "GenerateDataKey"),
    *("ScheduleKeyDeletion", "DisableKey", "DeleteImportedKeyMaterial", "CopySnapshot", "CopyDBSnapshot"),
)
_READ = (
    *("GetObject", "SelectObjectContent", "GetObjectTorrent", "GetSnapshotBlock", "GetRecords"),
    *("GetItem", "BatchGetItem", "Query", "Scan", "ExecuteStatement", "BatchExecuteStatement"),
)

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


def _first(
    what: str,
    title: str,
    tags: tuple[str, ...],
    *,
    value: str,
    shown: str | None = None,
    condition: str = "true",
    level: str = "low",
) -> Analytic:
    return Analytic(
        id=f"first-{what}",
        title=title,
        description=f"The identity has {WARM_UP_DAYS} days of history or more and was never seen with this {what};"
        " its peers do not have it commonly.",
        level=level,
        tags=tags,
        file="firsts",
        values={
            "what": what,
            "value": value,
            "shown": shown or f"{value}::VARCHAR",
            "condition": condition,
            "warm_up": str(WARM_UP_DAYS),
        },
    )


def _much(
    id_: str,
    title: str,
    description: str,
    tags: tuple[str, ...],
    *,
    what: str,
    condition: str,
    least: int,
    factor: int = 5,
    measure: str = "sum(events)",
    event_condition: str | None = None,
) -> Analytic:
    return Analytic(
        id=id_,
        title=title,
        description=description,
        level="medium",
        tags=tags,
        file="volumes",
        values={
            "what": what,
            "measure": measure,
            "condition": condition,
            "event_condition": event_condition or condition,
            "least": str(least),
            "factor": str(factor),
            "warm_up": str(WARM_UP_DAYS),
        },
    )


def _operations(names: tuple[str, ...]) -> str:
    return "operation_name_orig IN ({})".format(", ".join(f"'{name}'" for name in names))


_OPERATION = "regexp_replace(resource_type_orig, '[.]amazonaws[.]com$', '') || ':' || operation_name_orig"

ANALYTICS = (
    _first("region", "First time in a region", ("attack.defense-evasion", "attack.t1535"), value="region"),
    _first(
        "service",
        "First time that a service is used",
        ("attack.discovery", "attack.t1526"),
        value="resource_type_orig",
    ),
    _first(
        "operation",
        "First time that an operation is called",
        ("attack.persistence", "attack.privilege-escalation", "attack.t1098"),
        value=_OPERATION,
        condition="access_level IN ('WRITE', 'PERMISSIONS_MANAGEMENT')",
    ),
    _first(
        "country",
        "First time from a country",
        ("attack.initial-access", "attack.t1078.004"),
        value="country",
        level="medium",
    ),
    _first(
        "network",
        "First time from a network",
        ("attack.initial-access", "attack.t1078.004"),
        value="asn",
        shown="concat('AS', asn, ' ', asn_org)",
    ),
    _first("tool", "First time with a tool", ("attack.initial-access", "attack.t1078.004"), value="tool"),
    Analytic(
        id="impossible-travel",
        title="Impossible travel",
        description="One story goes on from another place in less time than anybody travels: a session or a key is"
        " in two hands.",
        level="high",
        tags=("attack.initial-access", "attack.credential-access", "attack.t1078.004", "attack.t1550"),
        file="travel",
        values={"warm_up": str(WARM_UP_DAYS), "hours": "1", "speed": "1000", "clouds": ", ".join(_CLOUDS)},
    ),
    Analytic(
        id="instance-outside",
        title="Credentials of an instance used from outside",
        description="The credentials of an instance's role are used at an address where none of the account's"
        " instances begins, and which is not AWS's: they were taken out of the instance.",
        level="high",
        tags=("attack.credential-access", "attack.t1552.005", "attack.t1078.004"),
        file="outside",
        values={"hours": "1", "amazon": ", ".join(_AMAZON)},
    ),
    Analytic(
        id="dormant-key",
        title="Dormant access key awakened",
        description=f"A long-term key is used again after {DORMANT_DAYS} days without: forgotten keys are found.",
        level="medium",
        tags=("attack.initial-access", "attack.t1078.004"),
        file="dormant_keys",
        values={"dormant": str(DORMANT_DAYS)},
    ),
    _much(
        "denials",
        "Unusually many denials",
        "The identity is refused far more calls on a day than it is used to: permissions are tried out.",
        ("attack.discovery", "attack.t1069.003"),
        what="denied",
        measure="sum(denials)",
        condition="denials > 0",
        event_condition="error_class = 'DENIED'",
        least=20,
    ),
    _much(
        "enumeration",
        "Burst of enumeration",
        "The identity lists and reads far more kinds of things on a day than it is used to: an account is explored.",
        ("attack.discovery", "attack.t1087.004", "attack.t1580", "attack.t1526"),
        what="distinct_operations",
        measure="count(DISTINCT (resource_type_orig, operation_name_orig))",
        condition="access_level IN ('LIST', 'READ')",
        least=20,
        factor=3,
    ),
    _much(
        "mass-deletion",
        "Unusually much is deleted",
        "The identity deletes far more data, or what holds data, on a day than it is used to.",
        ("attack.impact", "attack.t1485"),
        what="deletions",
        condition=_operations(_DELETED),
        least=20,
    ),
    _much(
        "mass-encryption",
        "Unusually much is encrypted, or its keys destroyed",
        "The identity copies, encrypts or takes away keys far more often on a day than it is used to: so does who"
        " holds data to ransom.",
        ("attack.impact", "attack.t1486"),
        what="calls",
        condition=_operations(_ENCRYPTED),
        least=20,
    ),
    _much(
        "data-reads",
        "Unusually much data is read",
        "The identity reads far more objects or items on a day than it is used to: data is collected.",
        ("attack.collection", "attack.exfiltration", "attack.t1530"),
        what="reads",
        condition=_operations(_READ),
        least=200,
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

    `who` of `sql/alerts` is defined. Who and where (`story_id`, `root_identity`, `accounts`, `sessions`) are those of
    the session that it is told of.
    """
    connection.execute(sql.text("analytics/deeds"))
    connection.execute(sql.text("analytics/members"))
    for analytic in ANALYTICS:
        text = sql.text(f"analytics/{analytic.file}", **analytic.values)
        told = sql.text("analytics/told", question=text)
        for row in query.run(connection, told).read_all().to_pylist():
            yield analytic, row
