"""What a provider is: two functions on Arrow tables, so that the stages stay the same for every kind of log.

* `decode(raws)`: one row per record, in order. The columns of `SPINE` are the contract with the stages; further
  columns are the provider's own and come back to it in `normalize`.
* `normalize(decoded)`: the same rows as `cloud_audit_logs`, all columns of its schema but the ones that the
  commit adds (`ingestion_time`, `commit_number`), in the schema's order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
import pyarrow as pa

RawRecord = bytes | msgspec.Raw
"""One record as delivered: the text of a JSON object, valid UTF-8."""

CHUNK_RECORDS = 4_096
"""Records that are decoded together: what a table costs is paid once for them, and they still are in the cache."""

_FIELDS: list[pa.Field[Any]] = [
    # The provider's own id of the event, as delivered; null where the record has none.
    pa.field("event_id", pa.string()),
    # Null where the record has no readable time: then `problem` says so.
    pa.field("event_time", pa.timestamp("us", tz="UTC")),
    # The account that the record itself names, 12 digits for AWS; null where it names none.
    pa.field("record_account", pa.string()),
    # Why this cannot be a row at all (not this provider's record, no readable time); else null.
    pa.field("problem", pa.string()),
]
SPINE = pa.schema(_FIELDS)
"""The columns of a decoded table that every provider has."""


@dataclass(frozen=True)
class Fields:
    """Where detection rules find members of a record among the decoded columns, so that it is not read again.

    `key` is a dictionary encoded column: a JSON array of the record's members `key_members`. `texts` are columns that
    hold a member's text, `parts` those that hold a member's JSON; each by the member's name. None of them tells null
    from absent, but the parts. `members` are the names that the provider's documentation knows; none: unknown.
    """

    key: str
    key_members: tuple[str, ...]
    texts: Mapping[str, str]
    parts: Mapping[str, str]
    members: frozenset[str] = frozenset()


class Provider(Protocol):
    """One kind of log."""

    @property
    def name(self) -> str:
        """The entry's name in the registry, and the value of the `provider` columns."""

    @property
    def log_source(self) -> tuple[str, str]:
        """Product and service of Sigma's log source for these records."""

    @property
    def fields(self) -> Fields:
        """Which members of a record `decode` has read."""

    def recognises(self, record: RawRecord) -> bool:
        """Whether this one JSON record is of this kind; never raises."""

    def decode(self, raws: Sequence[RawRecord]) -> pa.Table:
        """One row per record of `raws`, in order; never raises for bad content.

        Depends on nothing but the records' bytes, each row on its own record alone.
        """

    def cluster_key(self, decoded: pa.Table) -> list[str]:
        """Names of decoded columns (dictionary encoded) by which raw rows compress well when sorted."""

    def normalize(self, decoded: pa.Table) -> pa.Table:
        """Rows of `cloud_audit_logs`; never raises for bad content: a row says itself what it could not tell.

        `decoded` is what `decode` returned, perhaps concatenated, filtered and reordered, with `event_id`
        filled in and the columns `recipient_account_id` and `raw_json` added. String columns may come back
        dictionary encoded: their values are those of the schema's type.
        """
