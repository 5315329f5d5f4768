"""The library of named queries: one SQL file each, described by the comment lines at its head.

A line `-- $name = 'default': meaning` declares a parameter, `-- $name, as 'example': meaning` one that is to be
given; the other lines are the description. Values are text; the SQL casts them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from pipeline import sql
from schemas.errors import ConfigError

_DECLARATION = re.compile(r"\$(?P<name>\w+)(?: = '(?P<default>.*)'|, as '(?P<example>.*)'): (?P<meaning>.+)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that a query takes, as text. One that is to be given has an example instead of a default."""

    name: str
    default: str | None
    example: str | None
    meaning: str


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A question with its answer in SQL."""

    name: str
    description: str
    sql: str
    parameters: tuple[Parameter, ...] = ()

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """A value for every parameter: the given ones over the defaults.

        Raises ConfigError for an unknown name, and for one without default that is not given.
        """
        known = {parameter.name: parameter.default for parameter in self.parameters}
        for name in given:
            if name not in known:
                raise ConfigError(f"query {self.name!r} has no parameter {name!r}{_instead(name, list(known))}")
        for it in self.parameters:
            if it.default is None and it.name not in given:
                raise ConfigError(
                    f"query {self.name!r} asks for {it.name}, {it.meaning}; such as --param {it.name}={it.example}"
                )
        return {name: value for name, value in (known | dict(given)).items() if value is not None}


@cache
def library() -> tuple[NamedQuery, ...]:
    """Every named query, by name."""
    return tuple(_parsed(name, sql.text(f"queries/{name}")) for name in sql.names("queries"))


def named(name: str) -> NamedQuery:
    """The query of that name; another name is a ConfigError with a suggestion."""
    found = {query.name: query for query in library()}
    if name not in found:
        raise ConfigError(f"there is no query {name!r}{_instead(name, list(found))}")
    return found[name]


def _instead(name: str, names: list[str]) -> str:
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    meant = f"; did you mean {close[0]!r}?" if close else ""
    return f"{meant or ';'} there are {', '.join(names)}" if names else "; it takes none"


def _parsed(name: str, text: str) -> NamedQuery:
    lines = text.splitlines()
    body = next(number for number, line in enumerate(lines) if not line.startswith("--"))
    head = [line.removeprefix("--").strip() for line in lines[:body]]
    declared = [match for line in head if (match := _DECLARATION.fullmatch(line))]
    description = " ".join(line for line in head if not _DECLARATION.fullmatch(line))
    parameters = tuple(Parameter(**match.groupdict()) for match in declared)
    return NamedQuery(name, description, "\n".join(lines[body:]).strip(), parameters)
