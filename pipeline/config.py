"""Configuration: trailweave.toml, then environment, then flags, validated once into one frozen object."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from pipeline.alerting.sinks import Sink, stdout_sink
from pipeline.terminal.logs import FORMAT_VARIABLE
from schemas.errors import ConfigError
from transforms.decoding.inflate import Caps
from transforms.enrichment.book import EnrichmentBook
from transforms.fetch_objects import FetchLimits
from transforms.receive_messages import Limits
from transforms.rules.book import RuleBook
from transforms.stores import client_side
from transforms.stores.aws import Access, ClientSide, Role
from transforms.stores.files import Output
from transforms.stores.settings import Settings
from transforms.stores.sources import Source

FILE = "trailweave.toml"
PREFIX = "TRAILWEAVE_"
_ROLE = r"^arn:aws[\w-]*:iam::\d{12}:role/.+$"
# What a text that must have a form looks like.
_EXAMPLES = {
    "queue_url": "https://sqs.us-east-1.amazonaws.com/111122223333/trail",
    "role_arn": "arn:aws:iam::111122223333:role/collector",
    "topic_arn": "arn:aws:sns:us-east-1:111122223333:alerts",
    "kms_key": "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "url": "https://example.com/hook",
    "name": "organisation (letters, digits, and . _ -)",
}
_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(gt=0)]


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


class Config(BaseSettings):
    """Every option, by the name that it has in trailweave.toml; sizes in bytes, times in seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    output: str | None = Field(default=None, min_length=1)
    output_access: AccessConfig = AccessConfig()
    normalize: bool = True
    sessions: bool = True
    detections: bool | None = None
    rules: tuple[Path, ...] = ()
    indicators: tuple[Path, ...] = ()
    suppressions: Path | None = None
    enrichment: EnrichmentConfig = EnrichmentConfig()
    sink: tuple[SinkConfig, ...] = ()
    source: tuple[SourceConfig, ...] = ()
    max_wait: _Positive = 30.0
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    metrics_address: str = "127.0.0.1"
    max_messages: Annotated[int, Field(gt=0, le=100_000)] = 1_000
    max_slice_bytes: Annotated[int, Field(ge=1_000_000, le=1_000_000_000)] = 24_000_000
    max_object_bytes: _Count = 10_000_000_000
    max_ratio: _Count = 300
    max_record_bytes: Annotated[int, Field(ge=1_000, le=1_000_000_000)] = 32_000_000

    @field_validator("source", "sink")
    @classmethod
    def _names_differ(cls, named: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        names = [it.name for it in named]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two {info.field_name}s are named {name!r}; give each a name of its own")
        return named

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win over the environment, the environment over the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, config_file())

    def root(self) -> Output:
        """The output root; an error if none was given."""
        if self.output is None:
            raise ConfigError("no output root: give --output URI, TRAILWEAVE_OUTPUT, or output in trailweave.toml")
        return Output(self.output, self.output_access.access())

    def settings(self) -> Settings:
        """What the output root is to derive."""
        return Settings(
            normalize=self.normalize,
            sessions=self.normalize and self.sessions,
            detections=self.normalize if self.detections is None else self.detections,
        )

    def rule_book(self) -> RuleBook:
        """The rules of the run: those that come with trailweave, those of `rules`, and the lists of `indicators`."""
        settings = self.settings()
        if self.indicators and not (settings.normalize and settings.detections):
            raise ConfigError("indicators are looked for in normalized events: leave out --indicators, or normalize")
        return RuleBook.of(self.rules, indicators=self.indicators) if settings.detections else RuleBook()

    def enrichment_book(self) -> EnrichmentBook:
        """The files that enrich events, each opened and found good; none where nothing is normalized."""
        return EnrichmentBook.of(self.enrichment.places() if self.normalize else {})

    def limits(self) -> Limits:
        """The size of a micro-batch."""
        return Limits(messages=self.max_messages, wait_s=self.max_wait)

    def fetch(self) -> FetchLimits:
        """The sizes in FetchObjects."""
        caps = Caps(self.max_object_bytes, self.max_ratio, self.max_record_bytes)
        return FetchLimits(slice_bytes=self.max_slice_bytes, caps=caps)

    def sinks(self, names: Sequence[str] | None = None) -> list[Sink]:
        """The named sinks, or all of them; `stdout` needs no configuration."""
        known = {it.name: it for it in self.sink}
        if names is None:
            return [it.sink() for it in self.sink]
        for name in names:
            if name not in known and name != "stdout":
                raise ConfigError(f"no sink is named {name!r}{_hint(name, known)}; see [[sink]] in {FILE}")
        return [known[name].sink() if name in known else stdout_sink("informational") for name in names]

    def sources(self, names: Sequence[str] = ()) -> dict[str, Source]:
        """The named sources, or all of them."""
        known = {it.name: it.source() for it in self.source}
        for name in names:
            if name not in known:
                raise ConfigError(f"no source is named {name!r}{_hint(name, known)}; see [[source]] in {FILE}")
        return {name: known[name] for name in names or known}


# Tables by the name under which they stand, and how those are written that stand there more than once.
_TABLES: dict[Any, type[BaseModel]] = {
    "enrichment": EnrichmentConfig,
    "sink": SinkConfig,
    "source": SourceConfig,
    "output_access": AccessConfig,
    "client_side": ClientSideConfig,
    "via": RoleConfig,
}
_LISTED = {"source": "[[source]]", "sink": "[[sink]]", "via": "[[source.via]]"}
_FORMS = {
    "bool_parsing": "true or false is expected",
    "bool_type": "true or false is expected",
    "string_type": "text is expected, in quotes",
    "path_type": "a path is expected, in quotes",
}


def config_file() -> Path | None:
    """`./trailweave.toml`, else `$XDG_CONFIG_HOME/trailweave/config.toml`, if there is one."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return next((path for path in (Path(FILE), home / "trailweave" / "config.toml") if path.is_file()), None)


def load(flags: Mapping[str, Any]) -> Config:
    """The configuration under the given flags (those that are None were not given)."""
    given = {name: value for name, value in flags.items() if value is not None}
    _refuse_misspelt(os.environ)
    try:
        return Config(**given)
    except ValidationError as error:
        raise _refusal(error) from None
    except SettingsError as error:
        # Its text names the option alone; its cause may show a secret.
        named = str(error).split('"')[1].upper()
        raise ConfigError(
            f"{PREFIX}{named}, or a part of it, is no JSON: in the environment lists and tables are, such as"
            f""" {PREFIX}RULES='["one", "two"]'"""
        ) from None
    except ValueError as error:
        raise ConfigError(f"{config_file()} cannot be read: {error}") from error


def _refuse_misspelt(environment: Mapping[str, str]) -> None:
    """Refuse a variable that looks like an option. Kubernetes, for one, sets others that begin as ours do."""
    tables = {name: _TABLES[name] for name in _TABLES if name in Config.model_fields and name not in _LISTED}
    parts = {f"{name}__{part}" for name, table in tables.items() for part in table.model_fields}
    known = {name.upper() for name in {*Config.model_fields, *parts}} | {FORMAT_VARIABLE.removeprefix(PREFIX)}
    for name in sorted(environment):
        plain = name.upper().removeprefix(PREFIX)
        if plain == name.upper() or plain in known:
            continue
        if close := difflib.get_close_matches(plain, known, 1, 0.75):
            raise ConfigError(f"the environment's {name} is no option (did you mean {PREFIX}{close[0]}?)")


def queue_source(queue_url: str) -> Source:
    """The unnamed source that `--queue-url` defines."""
    try:
        return SourceConfig(name="default", queue_url=queue_url).source()
    except ValidationError as error:
        raise _refusal(error) from None


def _refusal(error: ValidationError) -> ConfigError:
    """Without the error itself as its cause, which shows every input."""
    return ConfigError("; ".join(_told(each) for each in error.errors()))


def _told(problem: Any) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        table = next((_TABLES[part] for part in reversed(problem["loc"][:-1]) if part in _TABLES), Config)
        return f"unknown option {path!r}{_hint(str(problem['loc'][-1]), {*table.model_fields})}"
    if problem["type"] == "missing":
        return f"option {path!r} is missing"
    if problem["type"] == "value_error":  # our own words
        return f"option {path!r}: {problem['ctx']['error']}"
    # A table may hold a secret.
    shown = isinstance(problem["input"], str | int | float) and "external_id" not in path
    value = f"the value {problem['input']!r}" if shown else "a value that it cannot have"
    return f"option {path!r} has {value}: {_expected(problem, shown=shown)}"


def _expected(problem: Any, *, shown: bool) -> str:
    """What the option may be, with an example where the form is the fault."""
    named = next(part for part in reversed(problem["loc"]) if isinstance(part, str))
    kind = problem["type"]
    if kind in ("tuple_type", "model_type", "dict_type") and named in _TABLES:
        many = "such tables are" if named in _LISTED else "a table is"
        return f"{many} expected, written {_LISTED.get(named, f'[{named}]')}"
    if kind == "tuple_type":
        example = json.dumps([problem["input"] if shown else "..."])
        return f"a list is expected, such as {named} = {example}"
    if kind == "string_pattern_mismatch" and named in _EXAMPLES:
        return f"it looks like {_EXAMPLES[named]}"
    return _FORMS.get(kind) or str(problem["msg"]).lower()


def _hint(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), 1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(sorted(known))})" if known else " (none is configured)"
