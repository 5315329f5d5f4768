"""A source: where notifications come from, which buckets they may name, and the access to both."""

from __future__ import annotations

from dataclasses import dataclass, field

from transforms.stores.aws import Access


@dataclass(frozen=True, slots=True)
class Source:
    """One configured source. `buckets` is the allow-list of buckets; empty allows every bucket.

    `visibility_s`, where set, overrides the queue's own visibility timeout; `max_receives` likewise its redrive
    limit, for collectors that may not read the queue's attributes.
    """

    name: str = "default"
    queue_url: str | None = None
    location: str | None = None
    buckets: tuple[str, ...] = ()
    access: Access = field(default_factory=Access)
    visibility_s: int | None = None
    max_receives: int | None = None
