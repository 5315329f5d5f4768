"""How sensitive a touched resource is, by a list of patterns over its ids that a user supplies.

A CSV without header: pattern, and perhaps a word for its sensitivity (`CROWN_JEWEL` without). In a pattern `*` stands
for any text and `?` for a character; case counts. `#` at the beginning of a line makes it a comment.
"""

from __future__ import annotations

import csv
import fnmatch
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.providers.cloudtrail.columns import INDEX, encoded, spread

CROWN_JEWEL = "CROWN_JEWEL"


class Patterns:
    """Patterns in the order of the list: the first that fits decides."""

    def __init__(self, content: bytes) -> None:
        """Raises ValueError for a list without patterns."""
        lines = [it for it in content.decode("utf-8-sig").splitlines() if not it.lstrip().startswith("#")]
        rows = [[part.strip() for part in row] for row in csv.reader(lines) if row and row[0].strip()]
        if not rows:
            raise ValueError("it holds no pattern")
        self.words = [row[1] if len(row) > 1 and row[1] else CROWN_JEWEL for row in rows]
        regexes = [_regex(row[0]) for row in rows]
        self._each = [re.compile(it) for it in regexes]
        self._any = re.compile("|".join(f"(?:{it})" for it in regexes))

    def find(self, resource: str) -> int | None:
        """The place of the first pattern that fits a resource's id."""
        if not self._any.match(resource):
            return None
        return next(place for place, pattern in enumerate(self._each) if pattern.match(resource))

    def sensitivity(self, resources: pa.ChunkedArray[Any], first: pa.ChunkedArray[Any]) -> Any:
        """A word for each row: of the first pattern that fits any of its resources, or the one that stands first."""
        lists: Any = resources.combine_chunks()
        flat = pa.chunked_array([lists.flatten()])
        rows: Any = pc.list_parent_indices(lists)
        best = np.full(len(lists), len(self.words), np.int32)
        np.minimum.at(best, rows.to_numpy(), self._places(flat))
        best = np.minimum(best, self._places(first))
        indices = pa.array(best, INDEX, mask=best == len(self.words))
        return spread(self.words, pa.string(), indices)

    def _places(self, column: pa.ChunkedArray[Any]) -> Any:
        """The place for each value; one past the last where none fits."""
        none = len(self.words)
        values: Any = encoded(column)
        places = [self.find(it) for it in values.dictionary.to_pylist()]
        of_values = np.array([none if it is None else it for it in places] + [none], np.int32)
        return of_values[values.indices.fill_null(len(places)).to_numpy()]


def _regex(pattern: str) -> str:
    # fnmatch knows character classes too; an id is taken as it is.
    return fnmatch.translate(pattern.replace("[", "[[]"))
