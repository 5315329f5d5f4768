"""The tables of trailweave.toml: sources, access, sinks, enrichment; each gives the value that the stages take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipeline.alerting.sinks import Sink
from schemas.errors import ConfigError
from transforms.stores import client_side
from transforms.stores.aws import Access, ClientSide, Role
from transforms.stores.sources import Source

FILE = "trailweave.toml"
_ROLE = r"^arn:aws[\w-]*:iam::\d{12}:role/.+$"


class RoleConfig(BaseModel):
    """A role to assume on the way to `role_arn`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role_arn: str = Field(pattern=_ROLE)
    external_id: str | None = Field(default=None, min_length=2, repr=False)


class AccessConfig(BaseModel):
    """How calls are authorised: names and paths, never a secret. Keys come from the environment or a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: str | None = None
    credentials_file: Path | None = None
    role_arn: str | None = Field(default=None, pattern=_ROLE)
    external_id: str | None = Field(default=None, min_length=2, repr=False)
    session_name: str = "trailweave"
    region: str | None = None
    endpoint_url: str | None = None
    via: tuple[RoleConfig, ...] = ()
    fips: bool = False
    sse_c_key_file: Path | None = None

    def access(self) -> Access:
        """The access as the clients take it."""
        return Access(
            profile=self.profile,
            credentials_file=str(self.credentials_file) if self.credentials_file else None,
            role_arn=self.role_arn,
            external_id=self.external_id,
            session_name=self.session_name,
            region=self.region,
            endpoint_url=self.endpoint_url,
            sse_c_key_file=str(self.sse_c_key_file) if self.sse_c_key_file else None,
            via=tuple(Role(it.role_arn, it.external_id) for it in self.via),
            fips=self.fips,
        )


class ClientSideConfig(BaseModel):
    """`client_side` of a source: how objects are opened that the Amazon S3 Encryption Client wrote."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kms_key: str = Field(pattern=r"^arn:aws[\w-]*:kms:[\w-]+:\d{12}:(key|alias)/.+$")
    context: dict[str, str] = {}
    accept: Literal["committed", "authenticated", "legacy"] = "committed"

    def client_side(self) -> ClientSide:
        """As the stores take it; an error where the library is not installed."""
        if not client_side.installed():
            raise ConfigError(f"client_side needs AWS's library, which is not installed: {client_side.EXTRA}")
        return ClientSide(self.kms_key, tuple(sorted(self.context.items())), self.accept)


class SourceConfig(AccessConfig):
    """One `[[source]]`: a queue to ingest from, a location to replay, or both."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")
    queue_url: str | None = Field(default=None, pattern=r"^https?://.+/.+$")
    location: str | None = Field(default=None, min_length=1)
    buckets: tuple[str, ...] = ()
    visibility_s: int | None = Field(default=None, ge=10, le=43_200)
    max_receives: int | None = Field(default=None, ge=1)
    client_side: ClientSideConfig | None = None

    def source(self) -> Source:
        """The source as the stages take it."""
        return Source(
            name=self.name,
            queue_url=self.queue_url,
            location=self.location,
            buckets=self.buckets,
            access=replace(self.access(), client_side=self.client_side.client_side() if self.client_side else None),
            visibility_s=self.visibility_s,
            max_receives=self.max_receives,
        )


class SinkConfig(AccessConfig):
    """One `[[sink]]`: where alerts are delivered to. A webhook's address is a secret; `url_file` holds it alone."""

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9_.-]+$")
    kind: Literal["stdout", "webhook", "slack", "sns"]
    level: Literal["informational", "low", "medium", "high", "critical"] = "medium"
    url: str | None = Field(default=None, pattern=r"^https?://", repr=False)
    url_file: Path | None = None
    topic_arn: str | None = Field(default=None, pattern=r"^arn:aws[\w-]*:sns:[\w-]+:\d{12}:.+$")

    def sink(self) -> Sink:
        """The sink; an error if it lacks what its kind needs."""
        url = self.url
        if self.url_file is not None:
            try:
                url = self.url_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigError(f"sink {self.name!r}: url_file cannot be read: {error}") from error
        needs = {"webhook": ("url", url), "slack": ("url", url), "sns": ("topic_arn", self.topic_arn)}
        name, value = needs.get(self.kind, ("", "nothing"))
        if not value:
            raise ConfigError(
                f"sink {self.name!r} of kind {self.kind} has no {name}; set it under [[sink]] in {FILE}"
            )
        return Sink(self.name, self.kind, self.level, url, self.topic_arn, self.access())


class EnrichmentConfig(BaseModel):
    """The table `[enrichment]`: files that tell more of an event's values (docs/enrichment.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    country: Path | None = None
    asn: Path | None = None
    tor: tuple[Path, ...] = ()
    vpn: tuple[Path, ...] = ()
    aws: tuple[Path, ...] = ()
    cloud: tuple[Path, ...] = ()
    hosting: tuple[Path, ...] = ()
    accounts: Path | None = None
    vendors: tuple[Path, ...] = ()
    sensitive: Path | None = None

    def places(self) -> dict[str, tuple[Path, ...]]:
        """The files for each subject that has some."""
        given = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: it if isinstance(it, tuple) else (it,) for name, it in given.items() if it}
