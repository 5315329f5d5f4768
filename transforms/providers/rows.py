"""Rows of the raw dataset, decoded again: for repair, for a commit that another writer left, and for a rebuild."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.digests import digests_of, order_by_time
from schemas.texts import Texts, by_index
from schemas.values import Commit, Partition, Slice
from transforms.providers import PROVIDERS_BY_NAME
from transforms.providers.base import SPINE, Provider


def decode_rows(rows: pa.Table, provider: Provider) -> pa.Table:
    """Rows of `aws_s3_raw` as the records of a slice: the provider's columns beside what the rows hold."""
    texts = Texts(rows["raw_json"])
    decoded = provider.decode([bytes(texts[row]) for row in range(len(rows))])
    decoded = decoded.drop_columns(SPINE.names)
    for name in rows.column_names:
        if name not in ("provider", "commit_number"):
            decoded = decoded.append_column(name, rows[name])
    return decoded


def committed_slice(rows: pa.Table, partition: Partition, number: int) -> Slice:
    """A raw file as the slice that its writer had after the commit: the same rows in the same order, no receipts."""
    digests = digests_of(rows["event_id"])
    times = rows["event_time"].combine_chunks().cast(pa.int64()).to_numpy()
    rows = rows.take(order_by_time(digests, times, np.zeros(len(times), np.int64)))
    (name,) = map(str, pc.unique(rows["provider"]).to_pylist())
    records = decode_rows(rows, PROVIDERS_BY_NAME[name]).combine_chunks()
    raw_json = by_index(records["raw_json"].combine_chunks())
    return Slice(
        provider=name,
        records=records.set_column(records.schema.get_field_index("raw_json"), "raw_json", raw_json),
        commits=(Commit(partition, number, 0, len(rows)),),
    )
