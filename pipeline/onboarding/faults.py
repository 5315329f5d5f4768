"""What `trailweave check` tells of a call that failed: whose policy to look at, and the statement to add to it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from transforms.stores.aws import Access, principal
from transforms.stores.aws_faults import said
from transforms.stores.faults import CallFault

Verdict = Literal["ok", "note", "misconfigured", "denied", "unreachable", "skipped"]

_KMS_KEY = re.compile(r"arn:aws[\w-]*:kms:[\w/:-]+")
_BLAME = (
    ("service control policy", "a service control policy (SCP) of the organisation denies it: ask who owns the SCPs"),
    ("resource control policy", "a resource control policy (RCP) of the organisation denies it"),
    ("permissions boundary", "the permissions boundary of the principal leaves it out: add the statement there too"),
    ("session policy", "the session policy of the assumed role leaves it out: assume it without one"),
    ("vpc endpoint policy", "the policy of the VPC endpoint leaves it out: add the statement there"),
    ("no identity-based policy", "the identity policy of the principal lacks it: add the statement to it"),
    ("no resource-based policy", "{resource_policy} lacks it: add the statement there, for this principal"),
    ("explicit deny in a resource-based policy", "{resource_policy} denies it: take the principal out of the deny"),
    ("explicit deny in an identity-based policy", "an identity policy of the principal denies it"),
)


@dataclass(frozen=True, slots=True)
class Step:
    """One call or look: what was tried, what came of it, what to do, and the statement to add to a policy."""

    source: str
    name: str
    verdict: Verdict
    tried: str
    got: str
    remedy: str | None = None
    statement: dict[str, Any] | None = None


def faulty(source: str, name: str, tried: str, fault: CallFault, resource: str, access: Access) -> Step:
    """A call that failed: which policy to look at, by AWS's own words, and the statement that is missing."""
    action = tried.split(" ")[0].rstrip(":")
    if fault.kind == "kms":
        named = _KMS_KEY.search(str(fault))
        action, resource = "kms:Decrypt", named[0] if named else "the key's arn"
    if fault.kind == "transient":
        remedy = "check network, endpoint and region; then try again"
        return Step(source, name, "unreachable", tried, str(fault), remedy)
    if refused_role(fault):
        action, resource = "sts:AssumeRole", str(fault).split(" ")[2]
        remedy = "name the caller and the external id in the role's trust policy; the caller needs the statement"
        statement = {"Effect": "Allow", "Action": action, "Resource": resource}
        return Step(source, name, "denied", tried, str(fault), remedy, statement)
    if fault.kind in ("missing", "taken") or no_queue(fault):
        remedy = (
            "check the queue's URL and its region"
            if action.startswith("sqs:")
            else "the object is gone: check lifecycle"
        )
        return Step(source, name, "misconfigured", tried, str(fault), remedy)
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return Step(source, name, "denied", tried, str(fault), _blamed(fault, action, access), statement)


def no_queue(fault: CallFault) -> bool:
    """Whether the queue itself is not there."""
    return "NonExistentQueue" in fault.code or "QueueDoesNotExist" in fault.code


def refused_role(fault: CallFault) -> bool:
    """Whether a role could not be assumed, without which nothing can be called."""
    return str(fault).startswith("sts:AssumeRole ")


def _blamed(fault: CallFault, action: str, access: Access) -> str:
    """Which policy to look at. AWS says it in the message of most denials; else all that may be it are named."""
    service = action.split(":")[0]
    named = {"sqs": "the queue policy", "s3": "the bucket policy", "kms": "the key policy"}
    resource_policy = named.get(service, "the resource's policy")
    words = said(fault).lower()
    for phrase, remedy in _BLAME:
        if phrase in words:
            return remedy.format(resource_policy=resource_policy)
    return (
        f"add the statement to the identity policy of {principal(access)}; across accounts {resource_policy} must"
        " allow it as well, and no SCP may deny it"
    )
