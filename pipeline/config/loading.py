"""One frozen object from the file, the environment and the flags, or what is wrong with them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from pipeline.config.options import PREFIX, Config, config_file
from pipeline.config.refusals import LISTED, TABLES, refusal
from pipeline.config.tables import SourceConfig
from pipeline.terminal.logs import FORMAT_VARIABLE
from schemas.errors import ConfigError
from transforms.stores.sources import Source


def load(flags: Mapping[str, Any]) -> Config:
    """The configuration under the given flags (those that are None were not given)."""
    given = {name: value for name, value in flags.items() if value is not None}
    _refuse_misspelt(os.environ)
    try:
        return Config(**given)
    except ValidationError as error:
        raise refusal(error, Config) from None
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
    tables = {name: TABLES[name] for name in TABLES if name in Config.model_fields and name not in LISTED}
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
        raise refusal(error, SourceConfig) from None
