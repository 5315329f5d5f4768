"""The session that a call belongs to, named by what every event of it carries.

| identity | session id |
|---|---|
| AssumedRole, FederatedUser | `<principalId>@<creationDate>`, without a creation date the access key |
| Root, IAMUser | the access key: long-term, or of GetSessionToken; from the console `<arn>@<creationDate>` |
| IAMUser with a bearer token | the credential's id |
| AWSService | `invokedBy`: one session a service |
| AWSAccount | `<accountId>/<principalId>` |
| IdentityCenterUser | the credential's id, else `<identityStoreArn>/<userId>` |
| others | the access key, else the principal id |

`creationDate` is brought to one form. The console mints a key for each request, so a key cannot name its sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from transforms.providers.cloudtrail.identity import ANONYMOUS
from transforms.providers.cloudtrail.times import canonical, in_range, parse_time
from transforms.providers.cloudtrail.user_identity import (
    NOBODY,
    OnBehalfOf,
    SessionAttributes,
    UserIdentity,
    WebIdFederationData,
    account,
    flag,
    known,
)

_NO_ATTRIBUTES, _NO_WEB, _NO_BEHALF = SessionAttributes(), WebIdFederationData(), OnBehalfOf()


def created_times(users: Sequence[UserIdentity]) -> tuple[list[datetime | None], list[str | None]]:
    """When the session's credentials were issued, as times and as canonical texts."""
    texts = [user.context.attributes.creation_date if user.context.attributes else None for user in users]
    times = list(map(parse_time, texts))
    return times, list(map(canonical, texts, times))


def session_columns(users: Sequence[UserIdentity]) -> dict[str, list[Any]]:
    """Columns of `cloud_audit_logs` about each user's credentials and session, as named outside of the console."""
    contexts = [user.context for user in users]
    attributes = [context.attributes or _NO_ATTRIBUTES for context in contexts]
    webs = [context.web_id_federation_data or _NO_WEB for context in contexts]
    behalves = [user.on_behalf_of or _NO_BEHALF for user in users]
    roles = [user if user.type == "AssumedRole" else NOBODY for user in users]
    times, texts = created_times(users)
    return {
        "session_id": list(map(session_id, users, texts)),
        "session_created_time": list(map(in_range, times)),
        "session_issuer_arn": [user.issuer.arn or None for user in users],
        "identity_type_orig": [user.type or None for user in users],
        "identity_arn": [user.arn or None for user in users],
        "principal_id": [user.principal_id or None for user in users],
        "caller_project": [account(user.account_id) for user in users],
        "access_key_id": [user.access_key_id or None for user in users],
        "credential_id": [user.credential_id or None for user in users],
        "role_name": [role.role_name for role in roles],
        "role_session_name": [role.session_name for role in roles],
        "sign_in_session_arn": [context.sign_in_session_arn or None for context in contexts],
        "mfa_authenticated": [flag(one.mfa_authenticated) for one in attributes],
        "source_identity": [context.source_identity or None for context in contexts],
        "federated_provider": [
            web.federated_provider or user.identity_provider or None for web, user in zip(webs, users, strict=True)
        ],
        "on_behalf_of_user_id": [behalf.user_id or None for behalf in behalves],
        "on_behalf_of_store_arn": [behalf.identity_store_arn or None for behalf in behalves],
        "invoked_by": [user.invoked_by or None for user in users],
        "invoked_by_delegate_account_id": [
            user.invoked_by_delegate.account_id or None if user.invoked_by_delegate else None for user in users
        ],
        "ec2_role_delivery": [context.ec2_role_delivery or None for context in contexts],
    }


def session_id(user: UserIdentity, since: str | None) -> str | None:
    """The session's name outside of the console; `since` is its creation date (canonical), if known."""
    key = known(user.access_key_id)
    match user.type:
        case "AssumedRole" | "FederatedUser":
            return _since(user.principal_id or user.arn, since) or key
        case "Root" | "IAMUser":
            return key or _since(user.arn, since) or known(user.credential_id)
        case "AWSService" | None | "":
            return known(user.invoked_by) or key
        case "AWSAccount":
            is_named = user.principal_id and user.account_id and user.account_id not in ANONYMOUS
            return f"{user.account_id}/{user.principal_id}" if is_named else None
        case "IdentityCenterUser":
            return known(user.credential_id) or _behalf(user) or key
        case _:
            return key or (known(user.principal_id) if user.principal_id != user.account_id else None)


def console_session_ids(users: Sequence[UserIdentity]) -> list[str | None]:
    """The sessions' names in the console, where they are others: those of users, whose keys there are temporary."""
    return list(map(console_session_id, users, created_times(users)[1])) if any(map(_is_user, users)) else []


def console_session_id(user: UserIdentity, since: str | None) -> str | None:
    """One such name; `since` is the creation date (canonical)."""
    is_long_term = (user.access_key_id or "").startswith("AKIA")
    return _since(user.arn, since) if _is_user(user) and not is_long_term else None


def creation_problems(users: Sequence[UserIdentity], columns: dict[str, list[Any]]) -> list[list[str]]:
    """Why a user's `session_created_time` is null although the record gives one."""
    problem = ["userIdentity.sessionContext.attributes.creationDate is not a readable time"]
    return [
        problem if time is None and (user.context.attributes or _NO_ATTRIBUTES).creation_date else []
        for user, time in zip(users, columns["session_created_time"], strict=True)
    ]


def _is_user(user: UserIdentity) -> bool:
    return user.type in ("Root", "IAMUser")


def _since(anchor: str | None, since: str | None) -> str | None:
    return f"{anchor}@{since}" if anchor and since else None


def _behalf(user: UserIdentity) -> str | None:
    behalf = user.on_behalf_of
    return f"{behalf.identity_store_arn or ''}/{behalf.user_id}" if behalf and behalf.user_id else None
