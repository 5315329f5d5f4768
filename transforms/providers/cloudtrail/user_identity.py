"""The element `userIdentity` of a record. Source: AWS CloudTrail user guide, "CloudTrail userIdentity element"."""

from __future__ import annotations

import re

from transforms.providers.cloudtrail.lenient import Reader
from transforms.providers.cloudtrail.record import Part

_ACCOUNT = re.compile("[0-9]{12}")


def account(text: str | None) -> str | None:
    """An AWS account id: exactly 12 ASCII digits; None for anything else."""
    return text if text is not None and _ACCOUNT.fullmatch(text) else None


def known(text: str | None) -> str | None:
    """None for the empty text that CloudTrail writes where it withholds or lacks a value."""
    return text or None


def flag(value: bool | str | None) -> bool | None:
    """A boolean that may have been delivered as text; None for what is neither."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.lower())
    return value


class SessionIssuer(Part):
    """What the session's credentials were issued for."""

    type: str | None = None
    principal_id: str | None = None
    arn: str | None = None
    user_name: str | None = None


class SessionAttributes(Part):
    """When the session began, and whether with a second factor."""

    creation_date: str | None = None
    mfa_authenticated: bool | str | None = None


class WebIdFederationData(Part):
    """The identity provider of a web identity session."""

    federated_provider: str | None = None


class SessionContext(Part):
    """The session of temporary credentials."""

    session_issuer: SessionIssuer | None = None
    attributes: SessionAttributes | None = None
    web_id_federation_data: WebIdFederationData | None = None
    source_identity: str | None = None
    sign_in_session_arn: str | None = None
    ec2_role_delivery: str | None = None


class OnBehalfOf(Part):
    """The Identity Center user behind the call."""

    user_id: str | None = None
    identity_store_arn: str | None = None


class InvokedByDelegate(Part):
    """The product provider that used temporary delegated access."""

    account_id: str | None = None


_NO_ISSUER, _NO_CONTEXT = SessionIssuer(), SessionContext()


class UserIdentity(Part):
    """Who made the request, by which credentials."""

    type: str | None = None
    principal_id: str | None = None
    arn: str | None = None
    account_id: str | None = None
    access_key_id: str | None = None
    user_name: str | None = None
    invoked_by: str | None = None
    identity_provider: str | None = None
    credential_id: str | None = None
    session_context: SessionContext | None = None
    on_behalf_of: OnBehalfOf | None = None
    invoked_by_delegate: InvokedByDelegate | None = None

    @property
    def context(self) -> SessionContext:
        """The session's context, empty where there is none."""
        return self.session_context or _NO_CONTEXT

    @property
    def issuer(self) -> SessionIssuer:
        """The session's issuer, empty where there is none."""
        return self.context.session_issuer or _NO_ISSUER

    @property
    def session_name(self) -> str | None:
        """The name that was chosen for a role session: what follows the role's id in the principal id."""
        name = (self.principal_id or "").partition(":")[2] or self._arn_part(2)
        return known(name)

    @property
    def role_name(self) -> str | None:
        """The role of a role session."""
        return known(self.issuer.user_name or self._arn_part(1))

    def _arn_part(self, index: int) -> str:
        parts = (self.arn or "").split(":", 5)[-1].split("/")
        return parts[index] if parts[0] == "assumed-role" and len(parts) > index else ""


NOBODY = UserIdentity()
"""What stands for no `userIdentity`, or one that cannot be read."""

read_user_identity = Reader(UserIdentity).read
