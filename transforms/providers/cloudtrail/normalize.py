"""Decoded records as rows of `cloud_audit_logs`: rules run once per distinct value, rows take them by index."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.datasets import EVENTS
from schemas.dictionaries import INDEX, dictionary
from transforms.providers.cloudtrail.columns import (
    Distinct,
    Encoded,
    choose,
    constant,
    encoded,
    first_known,
    mapped,
    spread,
    spread_all,
)
from transforms.providers.cloudtrail.event_facts import Way, fact_columns, flag_problems, read_key, way
from transforms.providers.cloudtrail.identity import Who, is_known_type, who
from transforms.providers.cloudtrail.network import Caller, Tls, caller, is_console, tls
from transforms.providers.cloudtrail.ocsf import status_id
from transforms.providers.cloudtrail.outcome import Outcome, by_message
from transforms.providers.cloudtrail.resources import read_resources, reference_columns, sub_type
from transforms.providers.cloudtrail.second_look import second_look
from transforms.providers.cloudtrail.sessions import console_session_ids, creation_problems, session_columns
from transforms.providers.cloudtrail.table import TYPES, Columns, Problems, columns_of, read_parts
from transforms.providers.cloudtrail.user_identity import NOBODY, UserIdentity, read_user_identity

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
    events = Distinct.read(encoded(decoded["event_key"]), read_key)
    ways = events.map(way)
    problems.add_distinct(events.map(flag_problems))
    identities = encoded(decoded["user_identity"])
    users = read_parts("userIdentity", identities, _user, problems)
    columns: Columns = {
        **_delivered(decoded),
        **spread_all(fact_columns(events.values), TYPES, events.indices),
        **_caller(decoded, problems),
    }
    columns.update(_identity(identities, users, ways))
    columns.update(_sessions(users, columns, problems))
    columns.update(_resources(decoded, columns, problems))
    columns.update(_outcome(columns, ways))
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
    sources = Distinct.read(encoded(decoded["source_ip_address"]), caller)
    secured = read_parts("tlsDetails", encoded(decoded["tls_details"]), tls, problems)
    return {**columns_of(Caller, sources), **columns_of(Tls, secured)}


def _user(text: bytes, name: str, notes: list[str]) -> UserIdentity:
    if text in _NOTHING:
        return NOBODY
    user = read_user_identity(text, name, notes)
    if not is_known_type(user):
        notes.append(f"{name}.type is not a known type")
    return user


def _identity(parts: Encoded, users: Distinct[UserIdentity], ways: Distinct[Way]) -> Columns:
    """The initiator; where no `userIdentity` tells, what the kind of event tells."""
    told = columns_of(Who, users.map(who))
    untold = columns_of(Who, ways.map(lambda one: one.nobody))
    is_told = told["identity_type"].indices.is_valid()
    for name in ("identity_type", "identity_sub_type"):
        told[name] = choose(is_told, told[name], untold[name])
    told["identity_orig"] = _as_text(parts)
    return told


def _as_text(parts: Encoded) -> Any:
    """Parts of records as text, null where there are none."""
    is_nothing: Any = pc.is_in(parts.dictionary, pa.array(_NOTHING, pa.binary()))
    indices: Any = pc.if_else(is_nothing.take(parts.indices), pa.scalar(None, INDEX), parts.indices)
    return dictionary(indices, parts.dictionary.cast(pa.string()))


def _sessions(users: Distinct[UserIdentity], columns: Columns, problems: Problems) -> Columns:
    """The session, by the name that it has in the console where the call came from there."""
    told = session_columns(users.values)
    problems.add_distinct(Distinct(creation_problems(users.values, told), users.indices))
    found = spread_all(told, TYPES, users.indices)
    names = console_session_ids(users.values)
    if any(names):
        in_console = spread(names, pa.string(), users.indices)
        by_agent = mapped(columns["user_agent"], is_console, pa.bool_()).fill_null(False)
        from_console: Any = pc.or_(columns["session_credential_from_console"].fill_null(False), by_agent)
        is_named = pc.and_(from_console, in_console.indices.is_valid())
        found["session_id"] = choose(is_named, in_console, found["session_id"])
    return found


def _resources(decoded: pa.Table, columns: Columns, problems: Problems) -> Columns:
    parts = read_parts("resources", encoded(decoded["resources"]), read_resources, problems)
    found = spread_all(reference_columns(parts.values), TYPES, parts.indices)
    by_type = mapped(found["resource_sub_type_orig"], sub_type, pa.string())
    found["resource_sub_type"] = first_known(columns["resource_sub_type"], by_type)
    return found


def _outcome(columns: Columns, ways: Distinct[Way]) -> Columns:
    """The code decides, without one the message; without either the call succeeded."""
    by_code = columns_of(Outcome, ways.map(lambda one: one.by_code))
    otherwise = columns_of(Outcome, ways.map(lambda one: one.otherwise))
    by_text = columns_of(Outcome, Distinct.read(columns["operation_status_reason_provided"], by_message))
    has_code = by_code["operation_status"].indices.is_valid()
    status = first_known(by_code["operation_status"], by_text["operation_status"])
    return {
        "operation_status": first_known(status, otherwise["operation_status"]),
        "error_class": choose(has_code, by_code["error_class"], by_text["error_class"]),
    }
