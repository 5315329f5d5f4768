"""The few events that are decoded a second time, and the columns that only this fills or corrects.

These are events that issue a credential, sign-in events, events of Identity Center users, Insights events and
aggregated events.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress, repeat
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from schemas.texts import Texts
from transforms.providers.cloudtrail.columns import Distinct, choose, first_known, mapped, placed, spread, spread_all
from transforms.providers.cloudtrail.details import Details, SignIn, read_details, sign_in
from transforms.providers.cloudtrail.event_facts import EventKey, Way
from transforms.providers.cloudtrail.issued import (
    ISSUES_CONSOLE_SESSION,
    Issued,
    Request,
    Response,
    is_of_portal,
    issued_console_session,
    issued_key,
    issued_portal_role,
)
from transforms.providers.cloudtrail.outcome import SUCCESS, Outcome, by_word
from transforms.providers.cloudtrail.resources import Resource, reference_columns
from transforms.providers.cloudtrail.sessions import created_times
from transforms.providers.cloudtrail.table import TYPES, Columns, Problems, columns_in
from transforms.providers.cloudtrail.times import canonical_texts
from transforms.providers.cloudtrail.unusual import Counted, counted
from transforms.providers.cloudtrail.user_identity import UserIdentity

_NO_REQUEST, _NO_RESPONSE = Request(), Response()

_ROLE = "AWS::IAM::Role"

_PEOPLE = ("IdentityCenterUser", "Unknown")
"""Types of Identity Center's sign-in events, where the person's name stands beside the identity."""


class Look(NamedTuple):
    """One of these events."""

    row: int
    text: bytes
    key: EventKey
    way: Way
    user: UserIdentity
    time: str | None
    details: Details


def second_look(
    decoded: pa.Table,
    columns: Columns,
    events: Distinct[EventKey],
    ways: Distinct[Way],
    users: Distinct[UserIdentity],
    problems: Problems,
) -> None:
    """Fills in and corrects `columns`."""
    rows = sorted(
        {
            *ways.rows_where(lambda way: way.issues or way.is_sign_in),
            *users.rows_where(lambda user: user.type == "IdentityCenterUser"),
        }
    )
    looks = _looks(decoded, rows, events, ways, users, problems)
    length = decoded.num_rows
    _sign_ins([look for look in looks if look.way.is_sign_in], columns, length)
    _people([look for look in looks if look.user.type in _PEOPLE], columns, length)
    _issued([look for look in looks if look.way.issues], columns, length)
    _roles([look for look in looks if look.way.issues], columns, length)
    _counted(decoded, ways.rows_where(lambda way: way.is_count), columns, problems)


def _texts(decoded: pa.Table, rows: Sequence[int]) -> list[bytes]:
    texts = Texts(decoded["raw_json"])
    return [bytes(texts[row]) for row in rows]


def _looks(
    decoded: pa.Table,
    rows: Sequence[int],
    events: Distinct[EventKey],
    ways: Distinct[Way],
    users: Distinct[UserIdentity],
    problems: Problems,
) -> list[Look]:
    texts = _texts(decoded, rows)
    notes: list[list[str]] = [[] for _ in rows]
    times = canonical_texts(decoded["event_time"].take(pa.array(rows, pa.int64())))
    details = map(read_details, texts, repeat(""), notes)
    looks = map(Look, rows, texts, events.at(rows), ways.at(rows), users.at(rows), times, details)
    found = list(looks)
    for row, texts_of_row in zip(rows, notes, strict=True):
        problems.add(row, texts_of_row)
    return found


def _sign_ins(looks: list[Look], columns: Columns, length: int) -> None:
    if not looks:
        return
    rows = [look.row for look in looks]
    found = [sign_in(look.key.event_name, look.details, look.text) for look in looks]
    columns.update(columns_in(SignIn, rows, found, length))
    failed = columns_in(Outcome, rows, [by_word(one.operation_status_orig) for one in found], length)
    columns["operation_status"] = first_known(failed["operation_status"], columns["operation_status"])
    has_code = columns["operation_status_orig_code"].indices.is_valid()
    by_word_first = first_known(failed["error_class"], columns["error_class"])
    columns["error_class"] = choose(has_code, columns["error_class"], by_word_first)


def _people(looks: list[Look], columns: Columns, length: int) -> None:
    """The name by which a person signed in."""
    if not looks:
        return
    names = [look.details.additional.user_name or None for look in looks]
    by_row = spread(names, pa.string(), placed([look.row for look in looks], length))
    columns["identity_name"] = first_known(by_row, columns["identity_name"])


def _issued(looks: list[Look], columns: Columns, length: int) -> None:
    if not looks:
        return
    succeeded = mapped(columns["operation_status"], SUCCESS.__eq__, pa.bool_())
    is_done = succeeded.take(pa.array([look.row for look in looks], pa.int64())).to_pylist()
    done = list(compress(looks, is_done))
    columns.update(columns_in(Issued, [look.row for look in done], [_issue(look) for look in done], length))


def _issue(look: Look) -> Issued:
    if look.key.event_name in ISSUES_CONSOLE_SESSION:
        (begun,) = created_times([look.user])[1]
        return issued_console_session(look.user, begun or look.time)
    request = look.details.request_parameters or _NO_REQUEST
    if is_of_portal(look.key.event_source, look.key.event_name):
        return issued_portal_role(request, look.details.service_event_details)
    return issued_key(look.key.event_name, request, look.details.response_elements or _NO_RESPONSE, look.time)


def _roles(looks: list[Look], columns: Columns, length: int) -> None:
    """The role that was asked for, where `resources` names none: services leave it out, and so do denials."""
    asked = [(look.row, look.details.request_parameters) for look in looks]
    roles = {row: request.role_arn for row, request in asked if request and request.role_arn}
    if not roles:
        return
    assets = [[Resource(arn=arn, type=_ROLE)] for arn in roles.values()]
    named = spread_all(reference_columns(assets), TYPES, placed(list(roles), length))
    for name, column in named.items():
        known = columns[name]
        is_text = pa.types.is_dictionary(column.type)
        columns[name] = first_known(known, column) if is_text else pc.coalesce(known, column)


def _counted(decoded: pa.Table, rows: Sequence[int], columns: Columns, problems: Problems) -> None:
    if not rows:
        return
    found = []
    for row, text in zip(rows, _texts(decoded, rows), strict=True):
        notes: list[str] = []
        found.append(counted(text, notes))
        problems.add(row, notes)
    columns.update(columns_in(Counted, rows, found, decoded.num_rows))
