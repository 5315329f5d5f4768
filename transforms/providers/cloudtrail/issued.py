"""Credentials that a call issued: the link from the session that issued to the session that was issued.

Few events issue any, so `requestParameters` and `responseElements` are decoded for those alone. Sources: AWS STS, IAM
and IAM Roles Anywhere API references; CloudTrail user guide, "AWS Management Console sign-in events"; IAM Identity
Center user guide, "Understanding CloudTrail events for IAM Identity Center".
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import msgspec

from transforms.providers.cloudtrail.record import Part
from transforms.providers.cloudtrail.sessions import console_session_id, session_id
from transforms.providers.cloudtrail.times import in_range, parse_expiration
from transforms.providers.cloudtrail.user_identity import UserIdentity, account, known

ISSUES_KEY = frozenset(
    {
        "AssumeRole",
        "AssumeRoleWithSAML",
        "AssumeRoleWithWebIdentity",
        "AssumeRoot",
        "GetSessionToken",
        "GetFederationToken",
        "CreateAccessKey",
    }
)
"""Operations whose response names the key that it issues."""

ISSUES_CONSOLE_SESSION = frozenset({"ConsoleLogin", "SwitchRole", "GetSigninToken", "CreateOAuth2Token"})
"""Events that begin a session without naming its key: its requests carry this event's principal, and this event's
time as creation date where the principal has none; less certain than a key."""


_ISSUES_PORTAL_ROLE = frozenset({"GetRoleCredentials", "Federate"})
_PORTAL, _ROLES_ANYWHERE = "sso.amazonaws.com", "rolesanywhere.amazonaws.com"


def is_issuing(event_source: str | None, event_name: str | None) -> bool:
    """Whether such a call, if it succeeds, issues a credential or begins a session."""
    return (
        event_name in ISSUES_KEY
        or event_name in ISSUES_CONSOLE_SESSION
        or is_of_portal(event_source, event_name)
        # Other services begin sessions of their own under this name.
        or (event_name == "CreateSession" and event_source == _ROLES_ANYWHERE)
    )


def is_of_portal(event_source: str | None, event_name: str | None) -> bool:
    """Whether a person chose a role in the access portal of Identity Center. The event does not name the key."""
    return event_source == _PORTAL and event_name in _ISSUES_PORTAL_ROLE


class Credentials(Part):
    """Temporary credentials in a response, without the secret."""

    access_key_id: str | None = None
    expiration: str | None = None


class AssumedRoleUser(Part):
    """The role session that was begun."""

    assumed_role_id: str | None = None
    arn: str | None = None


class FederatedUser(Part):
    """The federated session that was begun."""

    federated_user_id: str | None = None
    arn: str | None = None


class AccessKey(Part):
    """A long-term key that was made."""

    access_key_id: str | None = None
    user_name: str | None = None


class CredentialSet(Part):
    """What IAM Roles Anywhere issues for a certificate."""

    credentials: Credentials | None = None
    assumed_role_user: AssumedRoleUser | None = None
    source_identity: str | None = None


class Response(Part):
    """`responseElements` of an issuing operation."""

    credentials: Credentials | None = None
    assumed_role_user: AssumedRoleUser | None = None
    federated_user: FederatedUser | None = None
    access_key: AccessKey | None = None
    source_identity: str | None = None
    credential_set: list[CredentialSet] | None = None


class Tag(Part):
    """A session tag."""

    key: str | None = None
    value: str | None = None


class Request(Part):
    """`requestParameters` of an issuing operation."""

    role_arn: str | None = None
    source_identity: str | None = None
    tags: list[Tag] | None = None
    principal_tags: dict[str, str] | None = None
    account_id: str | None = None
    role_name: str | None = None


class PortalRole(Part):
    """`serviceEventDetails` of the access portal: the role that was chosen."""

    account_id: str | None = msgspec.field(default=None, name="account_id")
    role_name: str | None = msgspec.field(default=None, name="role_name")


class Issued(NamedTuple):
    """Columns of `cloud_audit_logs` about the credential that the event issued."""

    issued_access_key_id: str | None = None
    issued_principal_id: str | None = None
    issued_arn: str | None = None
    issued_session_id: str | None = None
    issued_user_name: str | None = None
    issued_expiration_time: datetime | None = None
    issued_source_identity: str | None = None
    issued_session_tags: list[str] | None = None
    issued_account_id: str | None = None
    issued_role_name: str | None = None


_NAMED_BY_KEY = ("GetSessionToken", "AssumeRoot")
"""Operations that begin a session of a user, which has the name of its key."""

_NO_CREDENTIALS, _NO_ROLE, _NO_USER = Credentials(), AssumedRoleUser(), FederatedUser()


def issued_key(event_name: str | None, request: Request, response: Response, since: str | None) -> Issued:
    """The key that a response names; `since` is the event's time (canonical), and the new session's creation date."""
    if response.access_key:
        key = known(response.access_key.access_key_id)
        return Issued(key, issued_session_id=key, issued_user_name=known(response.access_key.user_name))
    for issued in response.credential_set or ():
        response = Response(issued.credentials, issued.assumed_role_user, source_identity=issued.source_identity)
    return _temporary(event_name in _NAMED_BY_KEY, request, response, since)


def issued_portal_role(request: Request, details: PortalRole | None) -> Issued:
    """The role whose session began: its account, and its permission set's name."""
    chosen = details or PortalRole()
    return Issued(
        issued_account_id=account(chosen.account_id or request.account_id),
        issued_role_name=known(chosen.role_name or request.role_name),
    )


def issued_console_session(user: UserIdentity, since: str | None) -> Issued:
    """The session that a successful sign-in began; `since` is its creation date (canonical)."""
    return Issued(
        issued_principal_id=known(user.principal_id),
        issued_arn=known(user.arn),
        issued_session_id=console_session_id(user, since) or session_id(user, since),
    )


def _temporary(is_named_by_key: bool, request: Request, response: Response, since: str | None) -> Issued:
    credentials = response.credentials or _NO_CREDENTIALS
    role, federated = response.assumed_role_user or _NO_ROLE, response.federated_user or _NO_USER
    key = known(credentials.access_key_id)
    principal = known(role.assumed_role_id or federated.federated_user_id)
    if key is None and principal is None:
        return Issued()
    begun = f"{principal}@{since}" if principal and since else key if is_named_by_key else None
    return Issued(
        key,
        principal,
        known(role.arn or federated.arn),
        begun,
        None,
        in_range(parse_expiration(credentials.expiration)),
        known(response.source_identity or request.source_identity),
        _tags(request) if request.tags or request.principal_tags else None,
    )


def _tags(request: Request) -> list[str]:
    listed = [(tag.key, tag.value) for tag in request.tags or ()]
    return [f"{key}={value or ''}" for key, value in [*listed, *(request.principal_tags or {}).items()] if key]
