"""Settings belong to the output root: which datasets are derived is decided once, when the root is first written."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import asdict, dataclass
from functools import lru_cache

from schemas.datasets import DETECTIONS, EVENTS, RAW, Dataset
from schemas.errors import ConfigError
from transforms.stores.commit_log import CommitLog
from transforms.stores.files import Output, Store, open_store

SETTINGS = ".trailweave/settings.json"
# Threads that want a commit log at once get the same.
_opening = threading.RLock()


@dataclass(frozen=True, slots=True)
class Settings:
    """What is derived from the raw records under an output root."""

    normalize: bool = True
    sessions: bool = True
    detections: bool = True

    @property
    def marker(self) -> Dataset | None:
        """The dataset whose file says that a commit is complete; None: the raw file itself."""
        return EVENTS if self.normalize else DETECTIONS if self.detections else None


def read_settings(store: Store) -> Settings | None:
    """The settings of an output root; None where none were written yet."""
    content = store.read(SETTINGS)
    if content is None:
        return None
    try:
        # A root that was begun before there were sessions, or detections, has none.
        return Settings(**{"sessions": False, "detections": False, **json.loads(content)})
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{store.describe(SETTINGS)} holds settings that this version does not know ({error}); upgrade trailweave"
        ) from error


def agree(store: Store, wanted: Settings) -> None:
    """Write the settings where there are none; refuse a root that was begun with others."""
    found = read_settings(store)
    if found is None and not store.create(SETTINGS, json.dumps(asdict(wanted), indent=1).encode()):
        found = read_settings(store)
    if found is not None and found != wanted:
        differences = ", ".join(
            f"{name} is {value!r} there and {getattr(wanted, name)!r} here"
            for name, value in asdict(found).items()
            if value != getattr(wanted, name)
        )
        raise ConfigError(
            f"{store.describe('')} was begun with other settings, or by an older version: {differences};"
            f" use the same options, or {rebuild(store)}"
        )


def rebuild(store: Store) -> str:
    """How everything derived of an output root is made anew, for messages."""
    raw = store.describe(RAW.name)
    return f"replay its raw records into another output root: trailweave replay --source {raw} --output NEW"


def commit_log(output: Output, settings: Settings) -> CommitLog:
    """The commit log of an output root, one in each process."""
    with _opening:
        return _commit_log(output, settings, os.getpid())


@lru_cache(maxsize=8)
def _commit_log(output: Output, settings: Settings, _process: int) -> CommitLog:
    return CommitLog(open_store(output), settings.marker)
