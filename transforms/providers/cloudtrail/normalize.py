"""Decoded records as rows of `cloud_audit_logs`: rules run once per distinct value, rows take them by index."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.datasets import EVENTS
from transforms.providers.cloudtrail.columns import Distinct, choose, constant, encoded, first_known, mapped
from transforms.providers.cloudtrail.event_facts import EventFacts, Way, facts, read_key, way
from transforms.providers.cloudtrail.identity import Who, is_known_type, who
from transforms.providers.cloudtrail.network import CONSOLE_AGENTS, Caller, Tls, caller, tls
from transforms.providers.cloudtrail.ocsf import status_id
from transforms.providers.cloudtrail.outcome import Outcome, by_message
from transforms.providers.cloudtrail.resources import Referenced, referenced, sub_type
from transforms.providers.cloudtrail.second_look import second_look
from transforms.providers.cloudtrail.sessions import Session, created_time, session, session_id
from transforms.providers.cloudtrail.table import TYPES, Columns, Problems, columns_of, read_parts
from transforms.providers.cloudtrail.user_identity import UserIdentity, read_user_identity

PROVIDER = "cloudtrail"
"""The name in the registry and in the column `provider`."""

RULES_VERSION = "cloudtrail-1"
"""Recorded on each row; raised with every change of a rule that changes a value."""

_NOTHING = (b"", b"null")
_CONSTANTS = {
    "provider": PROVIDER,
    "vendor": "AWS",
    "event_type": "Cloud Audit Log",
    "cloud_provider": "AWS",
    "log_name": "CloudTrail",
    "rules_version": RULES_VERSION,
}


def normalize(decoded: pa.Table) -> pa.Table:
    """One row of `cloud_audit_logs` per decoded record, without `ingestion_time` and `commit_number`."""
    problems = Problems()
    _add_notes(decoded, problems)
    events = Distinct.read(decoded["event_key"], read_key)
    ways = events.map(way)
    problems.add_distinct(ways.map(lambda one: one.problems))
    users = read_parts("userIdentity", decoded["user_identity"], _user, problems)
    problems.add_distinct(users.map(_user_problems))
    columns: Columns = {
        **_delivered(decoded),
        **columns_of(EventFacts, events.map(facts)),
        **columns_of(Session, users.map(lambda user: session(user or UserIdentity()))),
        **_caller(decoded, problems),
    }
    columns.update(_identity(decoded, users, ways))
    columns.update(_session_ids(columns, users))
    columns.update(_resources(decoded, columns, problems))
    columns.update(_outcome(decoded, ways))
    second_look(decoded, columns, events, ways, users, problems)
    columns["status_id"] = mapped(columns["operation_status"], status_id, pa.int32()).fill_null(0)
    columns["normalize_problems"] = problems.column(decoded.num_rows)
    return _assembled(columns, decoded.num_rows)


def _assembled(columns: Columns, length: int) -> pa.Table:
    columns.update({name: constant(value, pa.string(), length) for name, value in _CONSTANTS.items()})
    nothing: Any = pa.nulls
    arrays = [columns[name] if name in columns else nothing(length, kind) for name, kind in TYPES.items()]
    fields = [
        pa.field(name, array.type, nullable=EVENTS.arrow.field(name).nullable)
        for name, array in zip(TYPES, arrays, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))


def _add_notes(decoded: pa.Table, problems: Problems) -> None:
    notes = decoded["notes"]
    if notes.null_count < len(notes):
        for row, text in enumerate(notes.to_pylist()):
            if text:
                problems.add(row, text.split("; "))


def _delivered(decoded: pa.Table) -> Columns:
    """Columns that hold what the record says, as it says it."""
    repeating = ("recipient_account_id", "user_agent", "vpc_endpoint_id", "vpc_endpoint_account_id")
    ids = ("event_id", "event_time", "shared_event_id", "request_id", "addendum_of_event_id", "addendum_reason")
    columns: Columns = {name: encoded(decoded[name]) for name in repeating} | {name: decoded[name] for name in ids}
    columns["project"] = columns["recipient_account_id"]
    columns["operation_status_reason_provided"] = encoded(decoded["error_message"])
    own = pc.if_else(decoded["has_event_id"], decoded["event_id"], pa.scalar(None, pa.string()))
    columns["cloud_provider_event_id"] = own
    columns["cloud_correlation_id"] = pc.coalesce(decoded["shared_event_id"], decoded["request_id"])
    return columns


def _caller(decoded: pa.Table, problems: Problems) -> Columns:
    sources = Distinct.read(decoded["source_ip_address"], caller)
    secured = read_parts("tlsDetails", decoded["tls_details"], tls, problems)
    return {**columns_of(Caller, sources), **columns_of(Tls, secured)}


def _user(text: bytes, name: str, notes: list[str]) -> UserIdentity | None:
    return None if text in _NOTHING else read_user_identity(text, name, notes)


def _user_problems(user: UserIdentity | None) -> list[str]:
    if user is None:
        return []
    attributes = user.context.attributes
    return [
        *([] if is_known_type(user) else ["userIdentity.type is not a known type"]),
        *(
            ["userIdentity.sessionContext.attributes.creationDate is not a readable time"]
            if attributes and attributes.creation_date and created_time(user) is None
            else []
        ),
    ]


def _identity(decoded: pa.Table, users: Distinct[UserIdentity | None], ways: Distinct[Way]) -> Columns:
    """The initiator; where no `userIdentity` tells, what the kind of event tells."""
    told = columns_of(Who, users.map(lambda user: who(user) if user else Who(None)))
    untold = columns_of(Who, ways.map(lambda one: one.identity))
    is_told = told["identity_type"].indices.is_valid()
    for name in ("identity_type", "identity_sub_type"):
        told[name] = choose(is_told, told[name], untold[name])
    told["identity_orig"] = mapped(encoded(decoded["user_identity"]), _text, pa.string())
    return told


def _text(part: bytes) -> str | None:
    return None if part in _NOTHING else part.decode("utf-8", "replace")


def _session_ids(columns: Columns, users: Distinct[UserIdentity | None]) -> Columns:
    """The session, by the name that console sessions have where the call came from the console."""

    def named(from_console: bool) -> Any:
        names = users.map(lambda user: session_id(user, from_console, created_time(user)) if user else None)
        return names.spread(pa.string())

    by_agent = mapped(columns["user_agent"], CONSOLE_AGENTS.__contains__, pa.bool_())
    said = columns["session_credential_from_console"].fill_null(False)
    from_console: Any = pc.or_(said, by_agent.fill_null(False))
    return {"session_id": choose(from_console, named(True), named(False))}


def _resources(decoded: pa.Table, columns: Columns, problems: Problems) -> Columns:
    found = columns_of(Referenced, read_parts("resources", decoded["resources"], referenced, problems))
    by_type = mapped(found["resource_sub_type_orig"], sub_type, pa.string())
    found["resource_sub_type"] = first_known(columns["resource_sub_type"], by_type)
    return found


def _outcome(decoded: pa.Table, ways: Distinct[Way]) -> Columns:
    """The code decides, without one the message; without either the call succeeded."""
    by_code = columns_of(Outcome, ways.map(lambda one: one.by_code or Outcome(None)))
    otherwise = columns_of(Outcome, ways.map(lambda one: one.otherwise))
    by_text = columns_of(Outcome, Distinct.read(decoded["error_message"], by_message))
    has_code = by_code["operation_status"].indices.is_valid()
    status = first_known(by_code["operation_status"], by_text["operation_status"])
    return {
        "operation_status": first_known(status, otherwise["operation_status"]),
        "error_class": choose(has_code, by_code["error_class"], by_text["error_class"]),
    }
