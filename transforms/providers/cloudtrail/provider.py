"""The provider's entry in the registry."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from transforms.providers.base import Fields, RawRecord
from transforms.providers.cloudtrail.decode import FIELDS, decode, recognises
from transforms.providers.cloudtrail.normalize import PROVIDER, normalize


class CloudTrail:
    """CloudTrail's management, data, network activity, Insights and aggregated events; stateless."""

    name = PROVIDER
    log_source = ("aws", "cloudtrail")
    fields: Fields = FIELDS

    def recognises(self, record: RawRecord) -> bool:
        """Whether this one record is CloudTrail's."""
        return recognises(record)

    def decode(self, raws: Sequence[RawRecord]) -> pa.Table:
        """The spine and the columns that the module `decode` lists."""
        return decode(raws)

    def cluster_key(self, _: pa.Table) -> list[str]:
        """The event key, whose text begins with event source and event name."""
        return ["event_key"]

    def normalize(self, decoded: pa.Table) -> pa.Table:
        """Rows of `cloud_audit_logs`."""
        return normalize(decoded)


CLOUDTRAIL = CloudTrail()
