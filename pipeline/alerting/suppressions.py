"""Which alerts are known and wanted: a TOML file of suppressions. A suppressed alert is kept, with the reason.

    [[suppress]]
    rule = "Shell command run on instances*"   # title or id
    identity = "deploy-*"                       # name at the root of the story
    account = "111122223333"
    seen = "requestParameters.documentName=AWS-Patch*"   # what stands in the alert's `seen`
    until = 2026-12-31                          # for alerts whose last event is not later
    reason = "patching by the platform team"

Every key but `reason` may be left out, one at least is given; an alert that fits all given keys is suppressed. Texts
are globs (`*`, `?`), whatever their case. All accounts of the alert must fit, and all values that were seen of a
field: otherwise a call that nobody wants would hide behind one that is known.
"""

from __future__ import annotations

import datetime as dt
import fnmatch
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schemas.errors import ConfigError

MOST_ACCOUNTS, MOST_SEEN = 64, 12
"""What an alert names at most: of so many nobody can tell that there are no others."""


class Suppression(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: str = Field(min_length=1)
    rule: str | None = None
    identity: str | None = None
    account: str | None = None
    seen: str | None = None
    until: dt.date | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Suppression:
        if not (self.rule or self.identity or self.account or self.seen):
            raise ValueError("give one of rule, identity, account and seen, or it would suppress everything")
        return self

    def fits(self, alert: Mapping[str, Any]) -> bool:
        """Whether an alert (a row of `alerts`) fits all keys."""
        return (
            _fits(self.rule, [alert["rule_title"], alert["rule_id"]])
            and _fits(self.identity, [alert["root_identity"]])
            and _accounts_fit(self.account, alert["accounts"])
            and _seen_fits(self.seen, alert["seen"])
            and (self.until is None or alert["last_seen"].date() <= self.until)
        )


def _fits(glob: str | None, texts: Sequence[str | None]) -> bool:
    return glob is None or any(fnmatch.fnmatchcase(text.lower(), glob.lower()) for text in texts if text)


def _accounts_fit(glob: str | None, accounts: Sequence[str]) -> bool:
    return glob is None or (len(accounts) < MOST_ACCOUNTS and _all_fit(glob, accounts))


def _seen_fits(glob: str | None, seen: Sequence[str]) -> bool:
    """`seen` are texts `field=value`; those of other fields than fit are none of the glob's concern."""
    fields = {_field(text) for text in seen if _fits(glob, [text])}
    return glob is None or (len(seen) < MOST_SEEN and _all_fit(glob, [it for it in seen if _field(it) in fields]))


def _all_fit(glob: str, texts: Sequence[str]) -> bool:
    return bool(texts) and all(_fits(glob, [text]) for text in texts)


def _field(text: str) -> str:
    return text.partition("=")[0]


def read_suppressions(path: Path | None) -> tuple[Suppression, ...]:
    """The entries of a file; none without a file. Raises ConfigError that names file, entry and key."""
    if path is None:
        return ()
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"suppressions in {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"suppressions in {path} are no TOML in UTF-8: {error}") from error
    unknown = sorted(content.keys() - {"suppress"})
    if unknown:
        raise ConfigError(f"suppressions in {path}: unknown table {unknown[0]!r}; entries stand under [[suppress]]")
    found = []
    for number, entry in enumerate(content.get("suppress", []), 1):
        try:
            found.append(Suppression.model_validate(entry))
        except ValidationError as error:
            told = "; ".join(f"{'.'.join(map(str, it['loc'])) or 'entry'}: {it['msg']}" for it in error.errors())
            raise ConfigError(f"suppressions in {path}, entry {number}: {told}") from None
    return tuple(found)
