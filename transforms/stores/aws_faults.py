"""AWS's answers as faults: which call failed, on which resource, as which principal, and what helps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from botocore.parsers import ResponseParserError

from transforms.stores.aws import MISSING, TAKEN, Access, principal
from transforms.stores.faults import CallFault

# Nothing answered at all: a wrong address or a cut network, seldom a passing fault of AWS.
UNREACHED = {"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError"}
_TRANSIENT = re.compile(
    r"Throttl|SlowDown|TooManyRequests|RequestLimit|InternalError|InternalFailure|ServiceUnavailable|RequestTimeout"
    r"|ConditionalRequestConflict|OperationAborted|ExpiredToken|RequestExpired|^5\d\d$|^409$"
)
_NO_QUEUE = "there is no such queue: check its URL, the region, and AWS_ENDPOINT_URL"
# What helps, where it is not a permission.
_REMEDIES = {
    "NoSuchBucket": "there is no such bucket: check its name, the region, and AWS_ENDPOINT_URL",
    "AWS.SimpleQueueService.NonExistentQueue": _NO_QUEUE,
    "QueueDoesNotExist": _NO_QUEUE,
    "InvalidObjectState": "it is archived: restore it, and its message is read at the next delivery",
    "InvalidRequest": "if it is encrypted with a key of your own (SSE-C), name that key's file in sse_c_key_file",
    "InvalidAccessKeyId": "the access key is unknown or disabled: enable or renew it",
    "InvalidClientTokenId": "the access key is unknown or disabled: enable or renew it",
    "SignatureDoesNotMatch": "the secret does not belong to the access key: renew both",
}
_GIVE_CREDENTIALS = "; give a key in the environment, a profile or credentials_file, or run where a role gives them"
_ARN_IN_TEXT = re.compile(r"arn:aws[\w-]*:[^\s\"']+")


@contextmanager
def calling(action: str, resource: str, access: Access) -> Iterator[None]:
    """Turn what boto3 raises inside into a `CallFault` that names action, resource and principal."""
    try:
        yield
    except ClientError as error:
        raise _fault(error, action, resource, access) from error
    except (BotoCoreError, ResponseParserError) as error:
        remedy = _GIVE_CREDENTIALS if isinstance(error, NoCredentialsError) else ""
        text = f"{action} on {resource} failed: {error}{remedy}"
        raise CallFault("transient", type(error).__name__, text) from error


def _fault(error: ClientError, action: str, resource: str, access: Access) -> CallFault:
    response: Any = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in TAKEN or status == 412:
        return CallFault("taken", code, f"{resource} exists already")
    if code in MISSING:
        return CallFault("missing", code, f"{resource} does not exist ({code})")
    if _TRANSIENT.search(code) or status >= 500 or status == 429:
        return CallFault("transient", code, f"{action} on {resource} failed for now: {code}")
    if error.operation_name.startswith("AssumeRole"):
        role = next((arn for arn in _ARN_IN_TEXT.findall(message)[::-1] if ":role/" in arn), access.role_arn)
        return CallFault(
            "denied",
            code,
            f"sts:AssumeRole on {role} was refused ({code}); its trust policy must name the caller and the external"
            " id of the source, and the caller's identity policy must allow it: without the role"
            f" {action} on {resource} cannot be called",
        )
    if action == "kms:Decrypt" or code.startswith("KMS") or "kms:" in message or ".kms." in message.lower():
        own = f"kms:Decrypt on {resource}"
        key = next((arn for arn in _ARN_IN_TEXT.findall(message) if ":kms:" in arn), "the key of the object")
        return CallFault(
            "kms",
            code,
            f"{own if action == 'kms:Decrypt' else f'kms:Decrypt on {key} for {resource}'} failed ({code})"
            f" as {principal(access)};"
            " grant kms:Decrypt in the key policy and the identity policy, and check that the key is enabled",
        )
    if code in {"AccessDenied", "403"} and action == "s3:GetObject":
        return _denied_object(code, message, action, resource, access)
    return CallFault("denied", code, _denial(code, action, resource, access))


def _denied_object(code: str, message: str, action: str, resource: str, access: Access) -> CallFault:
    """S3 says 403 for a missing key too, unless the caller may list the bucket; its text may tell which it was."""
    if "s3:ListBucket" in message:
        return CallFault(
            "denied_or_missing", code, f"{resource} is missing, or {action} is denied to {principal(access)}"
        )
    if "s3:GetObject" in message or "explicit deny" in message:
        return CallFault("denied", code, _denial(code, action, resource, access))
    return CallFault(
        "denied_or_missing",
        code,
        f"{action} on {resource} is denied to {principal(access)}, or the object is missing"
        " (without s3:ListBucket S3 gives the same answer for both); check the identity policy and the bucket policy",
    )


def _denial(code: str, action: str, resource: str, access: Access) -> str:
    allow = f"allow {action} in the identity policy and in the resource's own policy"
    return f"{action} on {resource} was refused to {principal(access)} ({code}); {_REMEDIES.get(code, allow)}"


def said(fault: CallFault) -> str:
    """What AWS itself said of a fault; empty where nothing of it came back."""
    response: Any = getattr(fault.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Message", ""))
