"""Names and owners of accounts, from an export of the organization and from lists of known vendors.

| form | what is read |
|---|---|
| JSON | objects in a list, or in `Accounts` as `aws organizations list-accounts` prints them |
| YAML | the same; a vendor with `name` and a list of `accounts`, as in fwdcloudsec/known_aws_accounts |
| CSV with a header | a row an account |

An account's members are `id` (or `account_id`, `account`), `name`, `owner` (or `email`), in any case.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import yaml

OWN, VENDOR, EXTERNAL = "OWN", "VENDOR", "EXTERNAL"

_ID = re.compile(r"\d{12}")


class Account(NamedTuple):
    """What a list tells of an account."""

    name: str | None = None
    owner: str | None = None


class Caller(NamedTuple):
    """Columns of `cloud_audit_logs`."""

    caller_project_class: str | None = None
    caller_project_name: str | None = None
    caller_project_owner: str | None = None


def caller(id_: str, own: Mapping[str, Account] | None, vendors: Mapping[str, Account] | None) -> Caller:
    """Whose account a caller's is; EXTERNAL only where the organization's own accounts are known."""
    if own is not None and id_ in own:
        return Caller(OWN, *own[id_])
    if vendors is not None and id_ in vendors:
        return Caller(VENDOR, *vendors[id_])
    return Caller(EXTERNAL if own is not None else None)


def read_accounts(content: bytes, form: str) -> dict[str, Account]:
    """Accounts by id; of one that is listed twice, the first. `form` is a file's suffix. Raises ValueError."""
    found: dict[str, Account] = {}
    for entry in _entries(content, form):
        told = {str(name).lower(): value for name, value in entry.items()}
        ids = told.get("accounts") or [_first(told, "id", "account_id", "accountid", "account")]
        for id_ in ids if isinstance(ids, list) else [ids]:
            # A spreadsheet and YAML read a number, and drop its leading zeros.
            text = str(id_ or "").strip().replace("-", "")
            text = text.zfill(12) if text.isdecimal() else text
            if not _ID.fullmatch(text):
                raise ValueError(f"{id_!r} is no account id of 12 digits")
            found.setdefault(text, Account(_first(told, "name"), _first(told, "owner", "email")))
    if not found:
        raise ValueError("it holds no account")
    return found


def _entries(content: bytes, form: str) -> Iterator[Mapping[str, Any]]:
    if form == ".csv":
        entries: Any = list(csv.DictReader(content.decode("utf-8-sig").splitlines()))
    elif form in (".yaml", ".yml"):
        try:
            entries = yaml.safe_load(content)
        except yaml.YAMLError as error:
            raise ValueError(f"it is no YAML: {error}") from error
    else:
        entries = msgspec.json.decode(content)
    if isinstance(entries, dict):
        entries = entries.get("Accounts")
    if not isinstance(entries, list) or not all(isinstance(it, dict) for it in entries):
        raise ValueError("it is no list of accounts")
    yield from entries


def _first(told: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        if told.get(name) not in (None, ""):
            return str(told[name]).strip()
    return None
