"""Rows of `detections`, from a slice's hits to its commits."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.datasets import DETECTIONS
from schemas.values import Commit
from transforms.stores.parquet import conform

_ORDER: Any = [("event_time", "ascending"), ("event_id", "ascending"), ("rule_id", "ascending")]


def no_detections(commits: Sequence[Commit]) -> tuple[pa.Table, ...]:
    """A table without rows for each commit."""
    return (DETECTIONS.arrow.empty_table(),) * len(commits)


def by_commit(hits: pa.Table, places: NDArray[np.int64], commits: Sequence[Commit]) -> tuple[pa.Table, ...]:
    """A table of `detections` for each commit, by time, event and rule; perhaps without rows.

    `hits` have all columns of `detections` but what the commit tells, the account and the number; `places` are the
    rows of the slice that they are about.
    """
    starts = np.array([it.start for it in commits])
    owners = np.searchsorted(starts, places, side="right") - 1
    accounts: Any = pa.array([it.partition.account for it in commits], pa.string())
    numbers: Any = pa.array([it.number for it in commits], pa.int32())
    owner: Any = pa.array(owners)
    order = pc.sort_indices(hits.append_column("owner", owner), [("owner", "ascending"), *_ORDER])
    columns: dict[str, Any] = dict(zip(hits.column_names, hits.columns, strict=True))
    columns["recipient_account_id"] = accounts.take(owner)
    columns["commit_number"] = numbers.take(owner)
    table = conform(columns, DETECTIONS).take(order)
    bounds = np.searchsorted(owners[order.to_numpy()], np.arange(len(commits) + 1)).tolist()
    return tuple(table.slice(start, stop - start) for start, stop in pairwise(bounds))


def united(ones: Sequence[pa.Table], others: Sequence[pa.Table]) -> tuple[pa.Table, ...]:
    """For each commit the rows of both, in the order of `by_commit`."""
    return tuple(
        pa.concat_tables([one, other]).sort_by(_ORDER) if len(other) else one
        for one, other in zip(ones, others, strict=True)
    )
