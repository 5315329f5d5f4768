"""What follows from an event's repeating scalars alone: computed once per distinct combination of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from transforms.providers.cloudtrail.identity import Who
from transforms.providers.cloudtrail.issued import is_issuing
from transforms.providers.cloudtrail.ocsf import OF_COUNTS, ocsf
from transforms.providers.cloudtrail.operations import operation
from transforms.providers.cloudtrail.outcome import NO_OUTCOME, SUCCESS, Outcome, by_code
from transforms.providers.cloudtrail.resources import resource_type
from transforms.providers.cloudtrail.user_identity import flag


class EventKey(msgspec.Struct, array_like=True, gc=False):
    """The scalars that repeat, in the order of the decoded column `event_key`."""

    event_source: str | None
    event_name: str | None
    event_type: str | None
    event_category: str | None
    event_version: str | None
    aws_region: str | None
    error_code: str | None
    read_only: bool | str | None
    management_event: bool | str | None
    session_credential_from_console: bool | str | None


KEY = EventKey.__struct_fields__
"""Fields of a record that make up its key."""

_SIGN_IN_SOURCES = frozenset({"signin.amazonaws.com", "sso.amazonaws.com"})


class Way(NamedTuple):
    """What decides how the rest of the row is made."""

    by_code: Outcome
    otherwise: Outcome
    nobody: Who
    issues: bool
    is_sign_in: bool
    is_count: bool


_COUNTS, _CALL, _SERVICE, _CALLER = Who(None), Outcome(SUCCESS), Who("SERVICE", "AWS"), Who("UNKNOWN")

_key = msgspec.json.Decoder(EventKey)


def read_key(text: str) -> EventKey:
    """A value of the decoded column `event_key`."""
    return _key.decode(text)


def fact_columns(keys: Sequence[EventKey]) -> dict[str, list[Any]]:
    """Columns of `cloud_audit_logs` that follow from each key."""
    read_only = [flag(key.read_only) for key in keys]
    done = [operation(key.event_name, is_read) for key, is_read in zip(keys, read_only, strict=True)]
    classes = [
        OF_COUNTS if is_count(key) else ocsf(key.event_source, key.event_name, one.verb)
        for key, one in zip(keys, done, strict=True)
    ]
    return {
        "region": [key.aws_region or None for key in keys],
        "event_kind": [key.event_type or None for key in keys],
        "event_category": [key.event_category or None for key in keys],
        "event_version": [key.event_version or None for key in keys],
        "operation_name": [one.verb for one in done],
        "operation_name_orig": [key.event_name or None for key in keys],
        "operation_status_orig_code": [key.error_code or None for key in keys],
        "read_only": read_only,
        "management_event": [flag(key.management_event) for key in keys],
        "session_credential_from_console": [flag(key.session_credential_from_console) for key in keys],
        "resource_type": [resource_type(key.event_source, one.noun) for key, one in zip(keys, done, strict=True)],
        "resource_type_orig": [key.event_source or None for key in keys],
        "resource_sub_type": [one.noun for one in done],
        "class_uid": [one.class_uid for one in classes],
        "activity_id": [one.activity_id for one in classes],
        "type_uid": [one.type_uid for one in classes],
    }


def flag_problems(key: EventKey) -> list[str]:
    """Why a flag of the row is null although the record gives one."""
    given = (("readOnly", key.read_only), ("managementEvent", key.management_event))
    return [
        f"{name} is neither true nor false" for name, value in given if isinstance(value, str) and flag(value) is None
    ]


def way(key: EventKey) -> Way:
    """What the rest of the row needs to know of a key."""
    counts = is_count(key)
    return Way(
        by_code(key.error_code) if key.error_code else NO_OUTCOME,
        NO_OUTCOME if counts else _CALL,
        _SERVICE if key.event_type == "AwsServiceEvent" else _COUNTS if counts else _CALLER,
        is_issuing(key.event_source, key.event_name),
        key.event_type == "AwsConsoleSignIn" or key.event_source in _SIGN_IN_SOURCES,
        counts,
    )


def is_count(key: EventKey) -> bool:
    """Whether the event tells of many calls instead of one."""
    return key.event_category in ("Insight", "Aggregated") or key.event_type == "AwsCloudTrailInsight"
