"""Which partition each row belongs to: its account and the UTC day of its event."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.dictionaries import ranked
from schemas.values import Partition

_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1)


def partitions_of(records: pa.Table) -> tuple[NDArray[np.int64], list[Partition]]:
    """(code of each row, the partitions that the codes stand for), partitions in ascending order.

    Reads `recipient_account_id` (text, never null) and `event_time` (microseconds, UTC, never null).
    """
    accounts: Any = records["recipient_account_id"].combine_chunks()
    if not pa.types.is_dictionary(accounts.type):
        accounts = accounts.dictionary_encode()
    names = accounts.dictionary.to_pylist()
    times = records["event_time"].combine_chunks().cast(pa.int64()).to_numpy()
    days = times // _DAY_US
    first = int(days.min()) if len(days) else 0
    span = int(days.max()) - first + 1 if len(days) else 1
    mixed = accounts.indices.to_numpy().astype(np.int64) * span + (days - first)
    there, codes = ranked(mixed, len(names) * span)
    found = [
        Partition(names[code // span], (_EPOCH + timedelta(days=first + code % span)).isoformat())
        for code in there.tolist()
    ]
    order = sorted(range(len(found)), key=lambda it: found[it])
    rank = np.empty(len(found), np.int64)
    rank[order] = np.arange(len(found))
    return rank[codes] if len(found) else codes.astype(np.int64), [found[it] for it in order]
