"""The CloudFormation template, as it is or with parameters filled in."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

import yaml

from schemas.errors import ConfigError

_PARAMETERS = re.compile(r"^Parameters:\n(.*?)^(?=\S)", re.MULTILINE | re.DOTALL)
_DEFAULT = "(?m)^  {name}:\n(?:    .*\n)*?    Default: (?P<value>.*)$"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the template; `allowed` is empty where any value goes."""

    name: str
    default: str
    description: str
    allowed: tuple[str, ...]
    pattern: str | None


def text() -> str:
    """The template as it ships."""
    return files(__package__).joinpath("trailweave.yaml").read_text(encoding="utf-8")


def parameters() -> dict[str, Parameter]:
    """Its parameters by name."""
    found = _PARAMETERS.search(text())
    assert found is not None
    blocks = yaml.safe_load(found[1])
    return {
        name: Parameter(
            name,
            str(block["Default"]),
            " ".join(block["Description"].split()),
            tuple(map(str, block.get("AllowedValues", ()))),
            block.get("AllowedPattern"),
        )
        for name, block in blocks.items()
    }


def filled_in(values: Mapping[str, str]) -> str:
    """The template with other defaults. Raises ConfigError for a parameter or value that it does not know."""
    known, filled = parameters(), text()
    for name, value in values.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else "; `trailweave setup --list` shows what there is"
            raise ConfigError(f"the template has no parameter {name!r}{hint}")
        asked = known[name]
        if asked.allowed and value not in asked.allowed:
            raise ConfigError(f"parameter {name} has the value {value!r}; use one of {', '.join(asked.allowed)}")
        if asked.pattern and not re.fullmatch(asked.pattern, value):
            raise ConfigError(f"parameter {name} has the value {value!r}, which does not match {asked.pattern}")
        if any(ord(character) < 0x20 for character in value):
            raise ConfigError(f"parameter {name} has a value with a control character in it")
        found = re.search(_DEFAULT.format(name=name), filled)
        assert found is not None
        quoted = value if value.isdigit() else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        filled = filled[: found.start("value")] + quoted + filled[found.end("value") :]
    return filled


def described() -> str:
    """One line a parameter: name, default, description."""
    return "".join(f"{it.name}={it.default}\n    {it.description}\n" for it in parameters().values())
