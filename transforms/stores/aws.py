"""The one module that builds AWS clients: by whose credentials, and what their calls met."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import AbstractContextManager
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

ATTEMPTS = 6
"""How often botocore makes a call that fails in passing."""

MISSING = {"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed"}
TAKEN = {"PreconditionFailed", "412"}
"""AWS's codes that tell that a file is not there, or is there: no faults."""


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
    if code and code not in MISSING | TAKEN:
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


def credentials(access: Access) -> Any:
    """The access's credentials as they are now; these do not refresh."""
    held: Any = _session(access).get_credentials()
    return held.get_frozen_credentials()


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
