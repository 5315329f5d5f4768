"""A second look at the few events whose outcome, person or issued credential stands in their free-form parts.

Sources: CloudTrail user guide, "AWS Management Console sign-in events" and "IAM Identity Center sign-in events": a
sign-in event gives its outcome under its own name, in `responseElements` or in `serviceEventDetails`.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from transforms.providers.cloudtrail.issued import PortalRole, Request, Response
from transforms.providers.cloudtrail.lenient import REFUSED, Reader, Text, UnreadableError, loads, members
from transforms.providers.cloudtrail.record import Part
from transforms.providers.cloudtrail.user_identity import known


class AdditionalData(Part):
    """`additionalEventData`; its names begin with a capital."""

    user_name: str | None = msgspec.field(default=None, name="UserName")
    mfa_used: str | None = msgspec.field(default=None, name="MFAUsed")
    auth_workflow_id: str | None = msgspec.field(default=None, name="AuthWorkflowID")
    switch_from: str | None = msgspec.field(default=None, name="SwitchFrom")


class Details(Part):
    """What is decoded of such an event."""

    request_parameters: Request | None = None
    response_elements: Response | None = None
    additional_event_data: AdditionalData | None = None
    service_event_details: PortalRole | None = None

    @property
    def additional(self) -> AdditionalData:
        """The additional data, empty where there is none."""
        return self.additional_event_data or AdditionalData()


class SignIn(NamedTuple):
    """Columns of `cloud_audit_logs` that sign-in events fill."""

    operation_status_orig: str | None = None
    sign_in_mfa_used: bool | None = None
    auth_workflow_id: str | None = None
    switched_from_arn: str | None = None


read_details = Reader(Details).read


def sign_in(event_name: str | None, details: Details, text: bytes) -> SignIn:
    """The columns of a sign-in event; `text` is the record."""
    additional = details.additional
    return SignIn(
        operation_status_orig=_word(event_name, text),
        sign_in_mfa_used={"yes": True, "no": False}.get((additional.mfa_used or "").lower()),
        auth_workflow_id=known(additional.auth_workflow_id),
        switched_from_arn=known(additional.switch_from),
    )


class _Words(Part):
    """The two parts that may hold the outcome."""

    response_elements: msgspec.Raw = msgspec.Raw(b"null")
    service_event_details: msgspec.Raw = msgspec.Raw(b"null")


_decode = msgspec.json.Decoder(_Words).decode


def _word(event_name: str | None, text: bytes) -> str | None:
    for part in _parts(text):
        try:
            value = loads(part)
        except UnreadableError:
            continue
        word = value.get(event_name) if isinstance(value, dict) else None
        if isinstance(word, str) and word:
            return word
    return None


def _parts(text: bytes) -> tuple[Text, Text]:
    try:
        words = _decode(text)
        return words.response_elements, words.service_event_details
    except REFUSED:
        found = members(text)
        return found.get("responseElements", b"null"), found.get("serviceEventDetails", b"null")
