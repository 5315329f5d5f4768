"""The session that a call belongs to, named by what every event of it carries.

| identity | session id |
|---|---|
| AssumedRole, FederatedUser | `<principalId>@<creationDate>`, without a creation date the access key |
| Root, IAMUser | the access key: long-term, or of GetSessionToken; from the console `<arn>@<creationDate>` |
| AWSService | `invokedBy`: one session a service |
| AWSAccount | `<accountId>/<principalId>` |
| IdentityCenterUser | the credential's id, else `<identityStoreArn>/<userId>` |
| others | the access key, else the principal id |

`creationDate` is brought to one form. The console mints a key for each request, so a key cannot name its sessions.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from transforms.providers.cloudtrail.identity import ANONYMOUS
from transforms.providers.cloudtrail.times import canonical, in_range, parse_time
from transforms.providers.cloudtrail.user_identity import UserIdentity, account, flag, known


class Session(NamedTuple):
    """Columns of `cloud_audit_logs` about the credential and its session, from `userIdentity` alone."""

    identity_type_orig: str | None
    identity_arn: str | None
    principal_id: str | None
    caller_project: str | None
    access_key_id: str | None
    credential_id: str | None
    role_name: str | None
    role_session_name: str | None
    session_issuer_arn: str | None
    session_created_time: datetime | None
    sign_in_session_arn: str | None
    mfa_authenticated: bool | None
    source_identity: str | None
    federated_provider: str | None
    on_behalf_of_user_id: str | None
    on_behalf_of_store_arn: str | None
    invoked_by: str | None
    invoked_by_delegate_account_id: str | None
    ec2_role_delivery: str | None


def session(user: UserIdentity) -> Session:
    """The columns of the session."""
    context, behalf, delegate = user.context, user.on_behalf_of, user.invoked_by_delegate
    is_role = user.type == "AssumedRole"
    provider = context.web_id_federation_data and context.web_id_federation_data.federated_provider
    return Session(
        identity_type_orig=known(user.type),
        identity_arn=known(user.arn),
        principal_id=known(user.principal_id),
        caller_project=account(user.account_id),
        access_key_id=known(user.access_key_id),
        credential_id=known(user.credential_id),
        role_name=user.role_name if is_role else None,
        role_session_name=user.session_name if is_role else None,
        session_issuer_arn=known(user.issuer.arn),
        session_created_time=created_time(user),
        sign_in_session_arn=known(context.sign_in_session_arn),
        mfa_authenticated=flag(context.attributes.mfa_authenticated) if context.attributes else None,
        source_identity=known(context.source_identity),
        federated_provider=known(provider or user.identity_provider),
        on_behalf_of_user_id=known(behalf.user_id) if behalf else None,
        on_behalf_of_store_arn=known(behalf.identity_store_arn) if behalf else None,
        invoked_by=known(user.invoked_by),
        invoked_by_delegate_account_id=known(delegate.account_id) if delegate else None,
        ec2_role_delivery=known(context.ec2_role_delivery),
    )


def created_time(user: UserIdentity) -> datetime | None:
    """When the session's credentials were issued."""
    attributes = user.context.attributes
    return in_range(parse_time(attributes.creation_date)) if attributes else None


def session_id(user: UserIdentity, from_console: bool, created: datetime | None) -> str | None:
    """The session's name; `created` is its creation date, None where it is not known."""
    key = known(user.access_key_id)
    match user.type:
        case "AssumedRole" | "FederatedUser":
            return _since(known(user.principal_id) or known(user.arn), created) or key
        case "Root" | "IAMUser":
            is_temporary = key is not None and key.startswith("ASIA")
            named_by_arn = key is None or (is_temporary and from_console)
            return (_since(known(user.arn), created) if named_by_arn else None) or key
        case "AWSService" | None | "":
            return known(user.invoked_by) or key
        case "AWSAccount":
            is_named = user.principal_id and user.account_id and user.account_id != ANONYMOUS
            return f"{user.account_id}/{user.principal_id}" if is_named else None
        case "IdentityCenterUser":
            return known(user.credential_id) or _behalf(user) or key
        case _:
            return key or known(user.principal_id)


def _since(anchor: str | None, created: datetime | None) -> str | None:
    return f"{anchor}@{canonical(created)}" if anchor and created else None


def _behalf(user: UserIdentity) -> str | None:
    behalf = user.on_behalf_of
    return f"{behalf.identity_store_arn or ''}/{behalf.user_id}" if behalf and behalf.user_id else None
