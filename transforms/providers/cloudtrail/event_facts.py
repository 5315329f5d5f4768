"""What follows from an event's repeating scalars alone: computed once per distinct combination of them."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from transforms.providers.cloudtrail.identity import Who
from transforms.providers.cloudtrail.issued import ISSUES_CONSOLE_SESSION, ISSUES_KEY
from transforms.providers.cloudtrail.ocsf import OF_COUNTS, ocsf
from transforms.providers.cloudtrail.operations import operation
from transforms.providers.cloudtrail.outcome import SUCCESS, Outcome, by_code
from transforms.providers.cloudtrail.resources import resource_type
from transforms.providers.cloudtrail.user_identity import flag, known


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


class EventFacts(NamedTuple):
    """Columns of `cloud_audit_logs`."""

    region: str | None
    event_kind: str | None
    event_category: str | None
    event_version: str | None
    operation_name: str
    operation_name_orig: str | None
    operation_status_orig_code: str | None
    read_only: bool | None
    management_event: bool | None
    session_credential_from_console: bool | None
    resource_type: str | None
    resource_type_orig: str | None
    resource_sub_type: str | None
    class_uid: int
    activity_id: int
    type_uid: int


class Way(NamedTuple):
    """What decides how the rest of the row is made."""

    by_code: Outcome | None
    otherwise: Outcome
    identity: Who
    issues: bool
    is_sign_in: bool
    is_count: bool
    problems: list[str]


def read_key(text: str) -> EventKey:
    """A value of the decoded column `event_key`."""
    return msgspec.json.decode(text, type=EventKey)


def facts(key: EventKey) -> EventFacts:
    """The columns that follow from a key."""
    read_only = flag(key.read_only)
    verb, noun = operation(key.event_name, read_only)
    return EventFacts(
        region=known(key.aws_region),
        event_kind=known(key.event_type),
        event_category=known(key.event_category),
        event_version=known(key.event_version),
        operation_name=verb,
        operation_name_orig=known(key.event_name),
        operation_status_orig_code=known(key.error_code),
        read_only=read_only,
        management_event=flag(key.management_event),
        session_credential_from_console=flag(key.session_credential_from_console),
        resource_type=resource_type(key.event_source, noun),
        resource_type_orig=known(key.event_source),
        resource_sub_type=noun,
        **(OF_COUNTS if is_count(key) else ocsf(key.event_source, key.event_name, verb))._asdict(),
    )


def way(key: EventKey) -> Way:
    """What the rest of the row needs to know of a key."""
    counts = is_count(key)
    is_service_event = key.event_type == "AwsServiceEvent"
    name = key.event_name or ""
    return Way(
        by_code=by_code(key.error_code) if key.error_code else None,
        otherwise=Outcome(None if counts else SUCCESS),
        identity=_nobody(counts, is_service_event),
        issues=name in ISSUES_KEY or name in ISSUES_CONSOLE_SESSION,
        is_sign_in=key.event_type == "AwsConsoleSignIn" or key.event_source in _SIGN_IN_SOURCES,
        is_count=counts,
        problems=[
            f"{name} is neither true nor false"
            for name, value in (("readOnly", key.read_only), ("managementEvent", key.management_event))
            if value is not None and flag(value) is None
        ],
    )


def is_count(key: EventKey) -> bool:
    """Whether the event tells of many calls instead of one."""
    return key.event_category in ("Insight", "Aggregated") or key.event_type == "AwsCloudTrailInsight"


def _nobody(counts: bool, is_service_event: bool) -> Who:
    """Who acted in an event without a `userIdentity` that says so."""
    if is_service_event:
        return Who("SERVICE", "AWS")
    return Who(None if counts else "UNKNOWN")
