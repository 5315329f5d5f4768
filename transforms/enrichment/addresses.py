"""What kind of place an address is: on the internet or not, and whose, as far as lists were given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from transforms.enrichment.networks import Network, Networks, entry

KINDS = ("tor", "vpn", "aws", "cloud", "hosting")
"""Lists that may be given; an address in several is of the kind that stands first."""

AWS_SERVICE, PRIVATE, RESERVED, PUBLIC = "AWS_SERVICE", "PRIVATE", "RESERVED", "PUBLIC"

# IANA's registries of special-purpose addresses (RFC 6890 and what updates it).
_SPECIAL = Networks(
    [
        entry(prefix, Network(kind))
        for kind, prefixes in {
            PRIVATE: "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 "
            "::1/128 fc00::/7 fe80::/10",
            RESERVED: "0.0.0.0/8 192.0.0.0/24 192.0.2.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 "
            "240.0.0.0/4 ::/128 100::/64 2001:db8::/32 ff00::/8",
        }.items()
        for prefix in prefixes.split()
    ]
)


class Address(NamedTuple):
    """Columns of `cloud_audit_logs`."""

    caller_ip_class: str | None = None
    caller_ip_provider: str | None = None
    caller_ip_service: str | None = None
    caller_ip_region: str | None = None


def address(text: str, lists: Mapping[str, Networks]) -> Address:
    """The class of an address, by the lists of each kind."""
    for kind in KINDS:
        if kind in lists and (network := lists[kind].find(text)) is not None:
            return Address(kind.upper(), *network)
    special = _SPECIAL.find(text)
    return Address(PUBLIC if special is None else special.provider)
