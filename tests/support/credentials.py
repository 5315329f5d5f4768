"""Records of who acts with which credential, and of the calls that issue credentials."""

from __future__ import annotations

from typing import Any

from support.records import ACCOUNT, DAY, OTHER, record

ROLE_ID = "AROAEXAMPLEROLE"


def at(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"


def user(name: str = "ana", key: str | None = "AKIAANA", account: str = ACCOUNT) -> dict[str, Any]:
    arn = f"arn:aws:iam::{account}:user/{name}"
    found = {"type": "IAMUser", "principalId": f"AIDA{name}", "arn": arn, "accountId": account, "userName": name}
    return {**found, "accessKeyId": key} if key else found


def role(
    since: int | None,
    key: str = "ASIAROLE",
    *,
    name: str = "admin",
    session: str = "work",
    account: str = OTHER,
    role_id: str = ROLE_ID,
    **context: Any,
) -> dict[str, Any]:
    """A role session whose credentials were issued at a second of the day."""
    issuer = {"type": "Role", "principalId": role_id, "arn": f"arn:aws:iam::{account}:role/{name}", "userName": name}
    return {
        "type": "AssumedRole",
        "principalId": f"{role_id}:{session}",
        "arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
        "accountId": account,
        "accessKeyId": key,
        "sessionContext": {
            "sessionIssuer": issuer,
            **({"attributes": {"creationDate": f"{DAY}T{at(since)}Z"}} if since is not None else {}),
            **context,
        },
    }


def assume(
    id_: str,
    second: int,
    caller: dict[str, Any],
    key: str = "ASIAROLE",
    *,
    name: str = "admin",
    session: str = "work",
    account: str = OTHER,
    role_id: str = ROLE_ID,
    logged_in: str | None = None,
    **members: Any,
) -> Any:
    """An AssumeRole as the caller's account logs it, or, with `logged_in`, another."""
    return record(
        id_,
        time=at(second),
        account=logged_in or caller.get("accountId", ACCOUNT),
        userIdentity=caller,
        **{
            "eventSource": "sts.amazonaws.com",
            "eventName": "AssumeRole",
            "requestParameters": {"roleArn": f"arn:aws:iam::{account}:role/{name}", "roleSessionName": session},
            "responseElements": {
                "credentials": {"accessKeyId": key, "expiration": "Mar 5, 2024, 11:00:00 PM"},
                "assumedRoleUser": {
                    "assumedRoleId": f"{role_id}:{session}",
                    "arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
                },
            },
            **members,
        },
    )


def use(id_: str, second: int, identity: dict[str, Any], **members: Any) -> Any:
    account = identity.get("accountId", ACCOUNT)
    return record(id_, time=at(second), account=account, userIdentity=identity, **members)


def session(since: int, name: str = "work", role_id: str = ROLE_ID) -> str:
    return f"{role_id}:{name}@{DAY}T{at(since)}Z"
