"""Every option, where it is read from, and the values that the stages take of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pipeline.alerting.sinks import Sink, stdout_sink
from pipeline.config.refusals import hint
from pipeline.config.tables import FILE, AccessConfig, EnrichmentConfig, SinkConfig, SourceConfig
from schemas.errors import ConfigError
from transforms.decoding.inflate import Caps
from transforms.enrichment.book import EnrichmentBook
from transforms.fetch_objects import FetchLimits
from transforms.receive_messages import Limits
from transforms.rules.book import RuleBook
from transforms.stores.files import Output
from transforms.stores.settings import Settings
from transforms.stores.sources import Source

PREFIX = "TRAILWEAVE_"
_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(gt=0)]


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
    max_slice_bytes: Annotated[int, Field(ge=1_000_000, le=1_000_000_000)] = 48_000_000
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
                raise ConfigError(f"no sink is named {name!r}{hint(name, known)}; see [[sink]] in {FILE}")
        return [known[name].sink() if name in known else stdout_sink("informational") for name in names]

    def sources(self, names: Sequence[str] = ()) -> dict[str, Source]:
        """The named sources, or all of them."""
        known = {it.name: it.source() for it in self.source}
        for name in names:
            if name not in known:
                raise ConfigError(f"no source is named {name!r}{hint(name, known)}; see [[source]] in {FILE}")
        return {name: known[name] for name in names or known}


def config_file() -> Path | None:
    """`./trailweave.toml`, else `$XDG_CONFIG_HOME/trailweave/config.toml`, if there is one.

    Raises `ConfigError` where a folder or a link to nowhere has its name. Docker makes such a folder of a file that
    it was to mount and did not find.
    """
    # Without a home, as a container's arbitrary user is, `~` stays as it is, and nothing is there.
    home = Path(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"))  # noqa: PTH111
    for path in (Path(FILE), home / "trailweave" / "config.toml"):
        if path.is_dir() or (path.is_symlink() and not path.exists()):
            raise ConfigError(f"{path} is a folder or a link to nowhere, and no configuration; correct or remove it")
        if path.is_file():
            return path
    return None
