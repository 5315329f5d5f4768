"""AWS CloudTrail: management, data, network activity, Insights and aggregated events, event versions 1.0 to 1.11."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from transforms.providers.base import RawRecord
from transforms.providers.cloudtrail.decode import decode
from transforms.providers.cloudtrail.normalize import PROVIDER, normalize
from transforms.providers.cloudtrail.record import recognises


class CloudTrail:
    """The provider; stateless."""

    name = PROVIDER

    def recognises(self, record: RawRecord) -> bool:
        """Whether this one record is CloudTrail's."""
        return recognises(record)

    def decode(self, raws: Sequence[RawRecord]) -> pa.Table:
        """See `decode.decode`."""
        return decode(raws)

    def cluster_key(self, _: pa.Table) -> list[str]:
        """The event key: its text begins with event source and event name."""
        return ["event_key"]

    def normalize(self, decoded: pa.Table) -> pa.Table:
        """See `normalize.normalize`."""
        return normalize(decoded)


CLOUDTRAIL = CloudTrail()
"""The registry's entry."""
