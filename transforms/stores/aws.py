"""The one module that builds AWS clients, and the one vocabulary for what their calls can fail with."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import boto3
import botocore.loaders
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from schemas.errors import AccessError, ConfigError

FaultKind = Literal["missing", "denied", "denied_or_missing", "kms", "transient", "taken"]

ATTEMPTS = 6
"""How often botocore makes a call that fails in passing."""

# Nothing answered at all: a wrong address or a cut network, seldom a passing fault of AWS.
UNREACHED = {"EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError", "SSLError"}
_MISSING = {"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed"}
_TAKEN = {"PreconditionFailed", "412"}
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
_ARN_IN_TEXT = re.compile(r"arn:aws[\w-]*:[^\s\"']+")


@dataclass(frozen=True, slots=True)
class Role:
    """A role on the way to the last one, with the external id that its trust policy asks for."""

    arn: str
    external_id: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ClientSide:
    """How objects are opened that the Amazon S3 Encryption Client wrote: by which KMS key, in which context.

    `accept` is the least that is good enough: `committed` (version 3 of the format), `authenticated` (also version 2,
    AES-GCM without key commitment), `legacy` (also AES-CBC, and keys that KMS wrapped without a context).
    """

    kms_key: str
    context: tuple[tuple[str, str], ...] = ()
    accept: Literal["committed", "authenticated", "legacy"] = "committed"


@dataclass(frozen=True, slots=True)
class Access:
    """How a client gets its credentials: names and paths only, never a secret.

    `credentials_file` is an AWS shared credentials file. With `role_arn` the other credentials assume that role
    and refresh by themselves; `via` are roles to assume before it, in their order. `fips` asks for endpoints of that
    standard. `sse_c_key_file` holds the 32 bytes of a customer-provided S3 key. With `client_side` objects are
    decrypted that were encrypted before they were stored.
    """

    profile: str | None = None
    credentials_file: str | None = None
    role_arn: str | None = None
    external_id: str | None = field(default=None, repr=False)
    session_name: str = "trailweave"
    region: str | None = None
    endpoint_url: str | None = None
    sse_c_key_file: str | None = None
    via: tuple[Role, ...] = ()
    fips: bool = False
    client_side: ClientSide | None = None


class AwsFault(Exception):
    """A call that failed, in the terms that a stage decides by. The text is for the operator."""

    def __init__(self, kind: FaultKind, code: str, text: str) -> None:
        super().__init__(kind, code, text)
        self.kind: FaultKind = kind
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return self.text


_building: dict[Access, Any] = {}


def building(access: Access) -> AbstractContextManager[Any]:
    """To be held while something is made of the access: threads that want it at once get the same.

    A client takes 0.1 s to make, and sessions are not made for several threads. By access, since one that waits for
    its credentials holds up no other.
    """
    lock: AbstractContextManager[Any] = _building.setdefault(access, threading.RLock())
    return lock


def client(service: str, access: Access, attempts: int = ATTEMPTS) -> Any:
    """A client of `service`, one per process and access; boto3 clients are safe to share between threads."""
    with building(access):
        return _client(service, access, attempts)


@lru_cache(maxsize=64)
def _client(service: str, access: Access, attempts: int) -> Any:
    return own_client(service, access, attempts)


def own_client(service: str, access: Access, attempts: int = ATTEMPTS) -> Any:
    """A client that nobody else has, for what changes it."""
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=5,
        read_timeout=60,
        max_pool_connections=64,
        tcp_keepalive=True,
        user_agent_extra="trailweave",
        use_fips_endpoint=access.fips or None,
    )
    build: Any = _session(access).client
    return build(service, endpoint_url=access.endpoint_url, config=config)


@lru_cache(maxsize=64)
def _session(access: Access) -> boto3.Session:
    try:
        core = _core_session(access)
        if access.role_arn:
            provider = _AssumedRole(core, access)
            core = _core_session(access)
            core.get_component("credential_provider").insert_before("env", provider)
        return boto3.Session(botocore_session=core)
    except BotoCoreError as error:
        raise ConfigError(f"AWS access cannot be set up: {error}") from error


def _core_session(access: Access) -> botocore.session.Session:
    core = botocore.session.Session(profile=access.profile)
    # First of all: the profile may stand in this file alone.
    if access.credentials_file:
        core.set_config_variable("credentials_file", access.credentials_file)
    core.register_component("data_loader", _models(core.get_config_variable("data_path")))
    core.register("needs-retry", _count_fault)
    if access.region or not core.get_config_variable("region"):
        core.set_config_variable("region", access.region or "us-east-1")
    return core


@lru_cache(maxsize=4)
def _models(data_path: str | None) -> botocore.loaders.Loader:
    """What botocore knows of the services, once a process: a session of its own for each access took 13 MB more."""
    return botocore.loaders.create_loader(data_path)


# Calls that failed in this process, those too that were tried again by themselves: by action and code.
_faults: Counter[tuple[str, str]] = Counter()
_MOST_KINDS = 1_000
_counting = threading.Lock()


def faults_since() -> Counter[tuple[str, str]]:
    """The calls that failed since this was asked last, by action (`s3:GetObject`) and AWS's code for it."""
    with _counting:
        found = Counter(_faults)
        _faults.clear()
    return found


def _count_fault(**attempt: Any) -> None:
    """Told of each attempt, as botocore asks whether to try again. That a file is there, or is not, is no fault."""
    operation, error = attempt["operation"], attempt["caught_exception"]
    code = type(error).__name__ if error else str(attempt["response"][1].get("Error", {}).get("Code", ""))
    if code and code not in _MISSING | _TAKEN:
        kind = f"{operation.service_model.service_name}:{operation.name}", code
        with _counting:
            if kind in _faults or len(_faults) < _MOST_KINDS:
                _faults[kind] += 1


class _AssumedRole(CredentialProvider):
    """Credentials of a role, fetched at first use and refreshed by botocore before they end."""

    METHOD = CANONICAL_NAME = "trailweave-assume-role"

    def __init__(self, core: botocore.session.Session, access: Access) -> None:
        super().__init__(core)
        self._core, self._access = core, access

    def load(self) -> DeferredRefreshableCredentials:
        source = self._source()
        if source is None:
            raise AccessError(
                f"sts:AssumeRole of {self._access.role_arn} needs credentials to start from and there are none;"
                " set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or credentials_file"
            )
        arguments = {"RoleSessionName": self._access.session_name}
        if self._access.external_id:
            arguments["ExternalId"] = self._access.external_id
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=self._sts,
            source_credentials=source,
            role_arn=str(self._access.role_arn),
            extra_args=arguments,
        )
        return DeferredRefreshableCredentials(refresh_using=fetcher.fetch_credentials, method="assume-role")

    def _source(self) -> Any:
        """The credentials to start from: of the role before this one, which refresh too, or the session's own."""
        if not self._access.via:
            return self._core.get_credentials()
        *earlier, last = self._access.via
        before = replace(self._access, role_arn=last.arn, external_id=last.external_id, via=tuple(earlier))
        return _session(before).get_credentials()

    def _sts(self, service: str, **credentials: Any) -> Any:
        return self._core.create_client(service, endpoint_url=self._access.endpoint_url, **credentials)


@dataclass(frozen=True, slots=True)
class BucketAccess:
    """What a reader other than boto3 needs for one bucket: where it is, and the credentials as they are now."""

    region: str
    endpoint_url: str
    access_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)


def bucket_access(bucket: str, access: Access) -> BucketAccess:
    """Region and endpoint of the bucket itself, with frozen credentials; they do not refresh.

    Raises AwsFault when the bucket does not exist or s3:ListBucket is denied.
    """
    s3 = client("s3", access)
    with calling("s3:ListBucket", f"s3://{bucket}", access):
        region = s3.head_bucket(Bucket=bucket).get("BucketRegion") or s3.meta.region_name
    held: Any = _session(access).get_credentials()
    frozen = held.get_frozen_credentials()
    # A client of the bucket's own region knows that region's endpoint, or the one that overrides it.
    endpoint_url = client("s3", replace(access, region=region)).meta.endpoint_url
    return BucketAccess(region, endpoint_url, frozen.access_key, frozen.secret_key, frozen.token)


def said(fault: AwsFault) -> str:
    """What AWS itself said of a fault; empty where nothing of it came back."""
    response: Any = getattr(fault.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Message", ""))


def partition(access: Access) -> str:
    """The partition of the access's region, as ARNs name it: `aws`, `aws-us-gov` or `aws-cn`."""
    session = _session(access)
    return str(session.get_partition_for_region(session.region_name or "us-east-1"))


def principal(access: Access) -> str:
    """The arn that calls are made as, for error messages; asks STS once, which needs no permission."""
    try:
        return _principal(access)
    except (ClientError, BotoCoreError, ResponseParserError, AccessError):
        return access.role_arn or "an unknown principal (sts:GetCallerIdentity gave no answer)"


@lru_cache(maxsize=64)
def _principal(access: Access) -> str:
    return str(client("sts", access).get_caller_identity()["Arn"])


def sse_c_arguments(access: Access) -> dict[str, Any]:
    """Arguments of GetObject for an object encrypted with the customer's own key; empty without one."""
    if access.sse_c_key_file is None:
        return {}
    try:
        with open(access.sse_c_key_file, "rb") as file:  # noqa: PTH123
            key = file.read()
    except OSError as error:
        raise ConfigError(f"sse_c_key_file {access.sse_c_key_file!r} cannot be read: {error.strerror}") from error
    if len(key) != 32:
        raise ConfigError(
            f"sse_c_key_file {access.sse_c_key_file!r} holds {len(key)} bytes; an AES-256 key has exactly 32"
        )
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": key}


@contextmanager
def calling(action: str, resource: str, access: Access) -> Iterator[None]:
    """Turn what boto3 raises inside into an `AwsFault` that names action, resource and principal."""
    try:
        yield
    except ClientError as error:
        raise _fault(error, action, resource, access) from error
    except (BotoCoreError, ResponseParserError) as error:
        raise AwsFault("transient", type(error).__name__, f"{action} on {resource} failed: {error}") from error


def _fault(error: ClientError, action: str, resource: str, access: Access) -> AwsFault:
    response: Any = error.response
    code = str(response.get("Error", {}).get("Code", ""))
    message = str(response.get("Error", {}).get("Message", ""))
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _TAKEN or status == 412:
        return AwsFault("taken", code, f"{resource} exists already")
    if code in _MISSING:
        return AwsFault("missing", code, f"{resource} does not exist ({code})")
    if _TRANSIENT.search(code) or status >= 500 or status == 429:
        return AwsFault("transient", code, f"{action} on {resource} failed for now: {code}")
    if error.operation_name.startswith("AssumeRole"):
        role = next((arn for arn in _ARN_IN_TEXT.findall(message)[::-1] if ":role/" in arn), access.role_arn)
        return AwsFault(
            "denied",
            code,
            f"sts:AssumeRole on {role} was refused ({code}); its trust policy must name the caller and the external"
            " id of the source, and the caller's identity policy must allow it: without the role"
            f" {action} on {resource} cannot be called",
        )
    if action == "kms:Decrypt" or code.startswith("KMS") or "kms:" in message or ".kms." in message.lower():
        own = f"kms:Decrypt on {resource}"
        key = next((arn for arn in _ARN_IN_TEXT.findall(message) if ":kms:" in arn), "the key of the object")
        return AwsFault(
            "kms",
            code,
            f"{own if action == 'kms:Decrypt' else f'kms:Decrypt on {key} for {resource}'} failed ({code})"
            f" as {principal(access)};"
            " grant kms:Decrypt in the key policy and the identity policy, and check that the key is enabled",
        )
    if code in {"AccessDenied", "403"} and action == "s3:GetObject":
        return _denied_object(code, message, action, resource, access)
    return AwsFault("denied", code, _denial(code, action, resource, access))


def _denied_object(code: str, message: str, action: str, resource: str, access: Access) -> AwsFault:
    """S3 says 403 for a missing key too, unless the caller may list the bucket; its text may tell which it was."""
    if "s3:ListBucket" in message:
        return AwsFault(
            "denied_or_missing", code, f"{resource} is missing, or {action} is denied to {principal(access)}"
        )
    if "s3:GetObject" in message or "explicit deny" in message:
        return AwsFault("denied", code, _denial(code, action, resource, access))
    return AwsFault(
        "denied_or_missing",
        code,
        f"{action} on {resource} is denied to {principal(access)}, or the object is missing"
        " (without s3:ListBucket S3 gives the same answer for both); check the identity policy and the bucket policy",
    )


def _denial(code: str, action: str, resource: str, access: Access) -> str:
    allow = f"allow {action} in the identity policy and in the resource's own policy"
    return f"{action} on {resource} was refused to {principal(access)} ({code}); {_REMEDIES.get(code, allow)}"
