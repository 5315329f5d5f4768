"""Rows of `detections`, from a slice's hits to its commits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.datasets import DETECTIONS
from schemas.values import Commit
from transforms.stores.parquet import conform

_ORDER: Any = [("event_time", "ascending"), ("event_id", "ascending"), ("rule_id", "ascending")]


def no_detections(commits: Sequence[Commit]) -> tuple[pa.Table, ...]:
    """A table without rows for each commit."""
    return tuple(DETECTIONS.arrow.empty_table() for _ in commits)


def by_commit(hits: pa.Table, places: NDArray[np.int64], commits: Sequence[Commit]) -> tuple[pa.Table, ...]:
    """A table of `detections` for each commit, by time, event and rule; perhaps without rows.

    `hits` have all columns of `detections` but what the commit tells, the account and the number; `places` are the
    rows of the slice that they are about.
    """
    tables = []
    for commit in commits:
        own = np.flatnonzero((places >= commit.start) & (places < commit.start + commit.length))
        part = hits.take(own)
        columns: dict[str, Any] = {it: part[it] for it in part.column_names}
        columns["recipient_account_id"] = pa.repeat(commit.partition.account, len(own))
        columns["commit_number"] = pa.array(np.full(len(own), commit.number, np.int32))
        tables.append(conform(columns, DETECTIONS).sort_by(_ORDER))
    return tuple(tables)


def united(ones: Sequence[pa.Table], others: Sequence[pa.Table]) -> tuple[pa.Table, ...]:
    """For each commit the rows of both, in the order of `by_commit`."""
    return tuple(
        pa.concat_tables([one, other]).sort_by(_ORDER) if len(other) else one
        for one, other in zip(ones, others, strict=True)
    )
