"""The lists of indicators of a run: they travel in the graph by name and digest; each process reads them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from schemas.errors import ConfigError
from schemas.values import Commit
from transforms.indicators.detections import detections
from transforms.indicators.lists import digest_of, list_files, read_lists
from transforms.indicators.matching import IndicatorMatcher


@dataclass(frozen=True)
class IndicatorBook:
    """Files of lists, which every worker must be able to read, and the digest of what they held at the start."""

    files: tuple[str, ...]
    digest: str

    @classmethod
    def of(cls, places: Sequence[Path | str]) -> IndicatorBook:
        """The lists at some places: files, or folders of them. Raises ConfigError for one that cannot be used."""
        files = list_files(places)
        book = cls(tuple(map(str, files)), digest_of(files))
        _matcher(book)
        return book

    def detections(self, records: pa.Table, events: pa.Table, commits: Sequence[Commit]) -> tuple[pa.Table, ...]:
        """Rows of `detections` for each commit of a slice: one per event and indicator that it shows."""
        return detections(_matcher(self), records, events, commits)


@lru_cache(maxsize=2)
def _matcher(book: IndicatorBook) -> IndicatorMatcher:
    files = tuple(map(Path, book.files))
    if digest_of(list_files(files)) != book.digest:
        raise ConfigError(
            f"the indicators in {', '.join(book.files)} have changed since the run began; begin it again to use them"
        )
    return IndicatorMatcher(read_lists(files))
