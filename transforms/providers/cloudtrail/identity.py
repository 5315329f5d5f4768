"""Who acted, by the product's names: a rule per type of `userIdentity`.

Source of the types: AWS CloudTrail user guide, "CloudTrail userIdentity element". A role session of IAM Identity
Center (role `AWSReservedSSO_*`) is a person, whose name is the session's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from transforms.providers.cloudtrail.user_identity import NOBODY, UserIdentity, known

ANONYMOUS = frozenset({"ANONYMOUS_PRINCIPAL", "anonymous"})
"""What stands for the account id of a caller who sent no credentials (S3); both words occur."""


class Who(NamedTuple):
    """The initiator, and the identity behind it as far as the record itself knows it."""

    identity_type: str | None
    identity_sub_type: str | None = None
    identity_name: str | None = None
    identity_uuid: str | None = None
    identity_invoked_by_name: str | None = None
    identity_invoked_by_uuid: str | None = None
    identity_invoked_by_type: str | None = None
    identity_invoked_by_sub_type: str | None = None


def who(user: UserIdentity) -> Who:
    """The initiator; without a type only a service is told (by `invokedBy`), else `identity_type` is None."""
    if not user.type:
        return _service(user) if user.invoked_by else Who(None)
    return _RULES.get(user.type, _other)(user)


def is_known_type(user: UserIdentity) -> bool:
    """Whether there is a rule for the type, or no type."""
    return not user.type or user.type in _RULES


def _by_key(user: UserIdentity) -> tuple[str | None, str | None, str | None, str | None]:
    """The access key as what stands behind the caller; `sourceIdentity` names the person and survives chains."""
    key = known(user.access_key_id)
    source = known(user.context.source_identity)
    if source:
        return source, key, "SOURCE_IDENTITY", None
    if not key:
        return None, None, None, None
    return None, key, "ACCESS_KEY", "LONG_TERM" if key.startswith("AKIA") else "TEMPORARY"


def _tail(arn: str | None) -> str | None:
    """The name at the end of an ARN, after its path."""
    _, slash, name = (arn or "").rpartition("/")
    return name if slash and name else None


def _root(user: UserIdentity) -> Who:
    return Who("USER", "ROOT", user.user_name or "root", known(user.account_id), *_by_key(user))


def _iam_user(user: UserIdentity) -> Who:
    return Who("USER", "IAM", user.user_name or _tail(user.arn), known(user.principal_id), *_by_key(user))


def _assumed_role(user: UserIdentity) -> Who:
    role = user.role_name
    if role and role.startswith("AWSReservedSSO_"):
        return Who("USER", "SSO", user.session_name, known(user.principal_id), *_by_key(user))
    return Who("ROLE", "ASSUMED", role, known(user.principal_id), *_by_key(user))


def _federated(user: UserIdentity) -> Who:
    issuer = user.issuer
    kind = _RULES[issuer.type](NOBODY) if issuer.type in _ISSUERS else Who(None)
    return Who(
        "USER",
        "FEDERATED",
        _tail(user.arn),
        known(user.principal_id),
        known(issuer.user_name),
        known(issuer.principal_id),
        kind.identity_type,
        kind.identity_sub_type,
    )


def _by_provider(sub_type: str) -> Callable[[UserIdentity], Who]:
    def rule(user: UserIdentity) -> Who:
        name = known(user.user_name or user.principal_id)
        provider = known(user.identity_provider)
        behind = (provider, None, "IDENTITY_PROVIDER", sub_type) if provider else ()
        return Who("USER", sub_type, name, known(user.principal_id), *behind)

    return rule


def _identity_center(user: UserIdentity) -> Who:
    behalf = user.on_behalf_of
    if behalf is None:
        return Who("USER", "IDENTITY_CENTER")
    store = known(behalf.identity_store_arn)
    behind = (store, None, "IDENTITY_PROVIDER", "IDENTITY_STORE") if store else ()
    return Who("USER", "IDENTITY_CENTER", known(behalf.user_id), known(behalf.user_id), *behind)


def _account(user: UserIdentity) -> Who:
    if user.account_id in ANONYMOUS:
        return Who("UNKNOWN", "ANONYMOUS", "anonymous")
    return Who("ACCOUNT", "EXTERNAL", known((user.principal_id or "").rpartition(":")[2]), known(user.account_id))


def _service(user: UserIdentity) -> Who:
    return Who("SERVICE", "AWS", known(user.invoked_by), known(user.invoked_by))


def _plain(identity_type: str) -> Callable[[UserIdentity], Who]:
    def rule(user: UserIdentity) -> Who:
        name = user.user_name or user.invoked_by or _tail(user.arn) or user.principal_id
        return Who(identity_type, None, known(name), known(user.principal_id or user.account_id))

    return rule


_other = _plain("UNKNOWN")

_RULES: dict[str, Callable[[UserIdentity], Who]] = {
    "Root": _root,
    "IAMUser": _iam_user,
    "AssumedRole": _assumed_role,
    "FederatedUser": _federated,
    "SAMLUser": _by_provider("SAML"),
    "WebIdentityUser": _by_provider("OIDC"),
    "IdentityCenterUser": _identity_center,
    "AWSAccount": _account,
    "AWSService": _service,
    "Role": _plain("ROLE"),
    "Directory": _plain("DIRECTORY"),
    "Unknown": _other,
}
_ISSUERS = ("Root", "IAMUser", "Role")
