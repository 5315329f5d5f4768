"""Identities, and the calls that issue their credentials: every role session here can be traced to its issuer."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random
from typing import Any, Literal

from pipeline.demo.records import (
    Actor,
    Call,
    Json,
    Kind,
    Planted,
    Scene,
    base32,
    base64,
    encoded,
    iso,
    key_id,
    planted,
    principal_id,
    uuid,
)

GITHUB = "token.actions.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class Role:
    """A role of an account; the same id in every record that names it."""

    account: str
    name: str
    path: str = ""

    @property
    def arn(self) -> str:
        """The role's own arn, not a session's."""
        return f"arn:aws:iam::{self.account}:role/{self.path}{self.name}"

    @property
    def unique_id(self) -> str:
        """The AROA id."""
        return _unique_id("AROA", self.account, self.name)


@lru_cache(maxsize=65536)
def _unique_id(prefix: Literal["AIDA", "AROA"], account: str, name: str) -> str:
    return principal_id(Random(f"{prefix}/{account}/{name}"), prefix)  # noqa: S311


def user(account: str, name: str, *, key: str, kind: Kind, address: str, agent: str) -> Actor:
    """An IAM user calling with a long-term key."""
    arn = f"arn:aws:iam::{account}:user/{name}"
    identity = {
        "type": "IAMUser",
        "principalId": _unique_id("AIDA", account, name),
        "arn": arn,
        "accountId": account,
        "accessKeyId": key,
        "userName": name,
    }
    return Actor(kind, account, arn, encoded(identity), address, agent)


def service(account: str, name: str) -> Actor:
    """An AWS service that acts on its own; its address is its name."""
    host = f"{name}.amazonaws.com"
    return Actor("service", account, host, encoded({"type": "AWSService", "invokedBy": host}), host, host)


def _session(role: Role, session: str, key: str, at: int, caller: Actor, federation: Json) -> Actor:
    arn = f"arn:aws:sts::{role.account}:assumed-role/{role.name}/{session}"
    issuer = {
        "type": "Role",
        "principalId": role.unique_id,
        "arn": role.arn,
        "accountId": role.account,
        "userName": role.name,
    }
    context: Json = {"sessionIssuer": issuer, "webIdFederationData": federation}
    context["attributes"] = {"creationDate": iso(at), "mfaAuthenticated": "false"}
    if caller.address == "ec2.amazonaws.com":
        context["ec2RoleDelivery"] = "2.0"
    identity = {
        "type": "AssumedRole",
        "principalId": f"{role.unique_id}:{session}",
        "arn": arn,
        "accountId": role.account,
        "accessKeyId": key,
        "sessionContext": context,
    }
    return Actor(caller.kind, role.account, arn, encoded(identity), caller.address, caller.agent)


def _issued(rng: Random, role: Role, session: str, key: str, at: int) -> Json:
    credentials = {
        "accessKeyId": key,
        "sessionToken": base64(rng, 300),
        "expiration": time.strftime("%b %d, %Y, %I:%M:%S %p", time.gmtime(at + 3600)),
    }
    user = {
        "assumedRoleId": f"{role.unique_id}:{session}",
        "arn": f"arn:aws:sts::{role.account}:assumed-role/{role.name}/{session}",
    }
    return {"credentials": credentials, "assumedRoleUser": user}


def _empty(_scene: Scene) -> Json:
    return {}


def assume(scene: Scene, role: Role, session: str, **asked: Any) -> tuple[Actor, tuple[Planted, ...]]:
    """AssumeRole by the scene's actor: the session, and the record of it in the caller's account and in the role's.

    Both copies share request and `sharedEventID`; the copy in another account shows the caller as an AWSAccount.
    """
    rng, caller, key = scene.rng, scene.actor, key_id(scene.rng, "ASIA")
    fields: Json = {
        "requestParameters": {"roleArn": role.arn, "roleSessionName": session} | asked,
        "responseElements": _issued(rng, role, session, key, scene.at),
        "requestID": uuid(rng),
        "resources": [{"accountId": role.account, "type": "AWS::IAM::Role", "ARN": role.arn}],
    }
    call = Call("sts", "AssumeRole", _empty)
    if caller.kind == "service" or role.account != caller.account:
        fields["sharedEventID"] = uuid(rng)
    records = [planted(replace(scene, account=role.account, actor=_as_seen_by(role.account, caller)), call, **fields)]
    if caller.kind != "service" and role.account != caller.account:
        records.append(planted(replace(scene, account=caller.account), call, **fields))
    return _session(role, session, key, scene.at, caller, {}), tuple(records)


def _as_seen_by(account: str, caller: Actor) -> Actor:
    if caller.kind == "service" or caller.account == account:
        return caller
    principal = _unique_id("AROA", caller.account, caller.arn.split("/")[1]) + ":" + caller.arn.rsplit("/", 1)[-1]
    if ":user/" in caller.arn:
        principal = _unique_id("AIDA", caller.account, caller.arn.rsplit("/", 1)[-1])
    identity = {"type": "AWSAccount", "principalId": principal, "accountId": caller.account}
    return replace(caller, identity=encoded(identity))


def from_github(scene: Scene, role: Role, repository: str) -> tuple[Actor, tuple[Planted, ...]]:
    """AssumeRoleWithWebIdentity by a workflow of a GitHub repository; the scene's actor gives address and agent."""
    rng, caller = scene.rng, scene.actor
    provider = f"arn:aws:iam::{role.account}:oidc-provider/{GITHUB}"
    subject = f"repo:{repository}:ref:refs/heads/main"
    identity = {
        "type": "WebIdentityUser",
        "principalId": f"{provider}:sts.amazonaws.com:{subject}",
        "userName": subject,
        "identityProvider": provider,
    }
    session, key = "GitHubActions", key_id(rng, "ASIA")
    answer = _issued(rng, role, session, key, scene.at) | {
        "subjectFromWebIdentityToken": subject,
        "provider": provider,
        "audience": "sts.amazonaws.com",
    }
    asked = {"roleArn": role.arn, "roleSessionName": session, "durationSeconds": 3600}
    federated = replace(scene, account=role.account, actor=replace(caller, identity=encoded(identity)))
    call = Call("sts", "AssumeRoleWithWebIdentity", _empty)
    record = planted(federated, call, requestParameters=asked, responseElements=answer)
    return _session(role, session, key, scene.at, caller, {"federatedProvider": provider, "attributes": {}}), (
        record,
    )


def from_single_sign_on(scene: Scene, permission_set: str, person: str) -> tuple[Actor, tuple[Planted, ...]]:
    """AssumeRoleWithSAML behind IAM Identity Center: the person is the name of the session."""
    rng, account = scene.rng, scene.account
    suffix = _unique_id("AROA", account, permission_set)[4:14].lower()
    role = Role(account, f"AWSReservedSSO_{permission_set}_{suffix}", "aws-reserved/sso.amazonaws.com/")
    provider = f"arn:aws:iam::{account}:saml-provider/AWSSSO_{suffix}_DO_NOT_DELETE"
    identity = {
        "type": "SAMLUser",
        "principalId": f"{base32(rng, 26)}=:{person}",
        "userName": person,
        "identityProvider": f"{base32(rng, 26)}=",
    }
    key = key_id(rng, "ASIA")
    answer = _issued(rng, role, person, key, scene.at) | {"subject": person, "subjectType": "persistent"}
    asked = {"roleArn": role.arn, "principalArn": provider, "roleSessionName": person, "durationSeconds": 28800}
    federated = replace(scene, actor=replace(scene.actor, identity=encoded(identity)))
    record = planted(
        federated, Call("sts", "AssumeRoleWithSAML", _empty), requestParameters=asked, responseElements=answer
    )
    return _session(role, person, key, scene.at, scene.actor, {}), (record,)


def from_console(scene: Scene, name: str) -> tuple[Actor, tuple[Planted, ...]]:
    """ConsoleLogin of an IAM user: one failed attempt, then the session that the console calls with."""
    rng, account = scene.rng, scene.account
    arn = f"arn:aws:iam::{account}:user/{name}"
    who: Json = {
        "type": "IAMUser",
        "principalId": _unique_id("AIDA", account, name),
        "arn": arn,
        "accountId": account,
        "userName": name,
    }
    extra = {
        "LoginTo": f"https://console.aws.amazonaws.com/console/home?region={scene.region}",
        "MobileVersion": "No",
        "MFAUsed": "Yes",
    }
    call = Call("signin", "ConsoleLogin", _empty, read_only=False)
    entering = replace(scene, actor=replace(scene.actor, identity=encoded(who)))
    common = {"additionalEventData": extra, "eventType": "AwsConsoleSignIn"}
    refused = planted(
        replace(entering, at=scene.at - 20),
        call,
        errorCode="Failure",
        errorMessage="Failed authentication",
        responseElements={"ConsoleLogin": "Failure"},
        **common,
    )
    entered = planted(entering, call, responseElements={"ConsoleLogin": "Success"}, **common)
    attributes = {"creationDate": iso(scene.at), "mfaAuthenticated": "true"}
    within = who | {"accessKeyId": key_id(rng, "ASIA"), "sessionContext": {"attributes": attributes}}
    actor = replace(scene.actor, arn=arn, identity=encoded(within), console=True)
    return actor, (refused, entered)
