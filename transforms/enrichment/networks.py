"""Whose network an address lies in, by published lists: of cloud providers, and of Tor, VPN and hosting.

| form | what is read |
|---|---|
| AWS (`ip-ranges.json`) | `prefixes` and `ipv6_prefixes`: service, region |
| Google Cloud (`cloud.json`) | `prefixes`: service, scope as region |
| Azure (`ServiceTags_Public.json`) | `values`: systemService, region, addressPrefixes |
| text or CSV | a network or address a line, perhaps a comma and a name; `#` begins a comment |
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from transforms.indicators.values import packed, packed_network


class Network(NamedTuple):
    """Who has it: a provider or the name in a list; the provider's service and region, where it is told."""

    provider: str | None = None
    service: str | None = None
    region: str | None = None


class Entry(NamedTuple):
    """A network of a list: the first `bits` bits of 128 of its addresses, as a number, and whose it is."""

    bits: int
    key: int
    network: Network


def entry(prefix: str, network: Network) -> Entry:
    """The entry of a network or an address in text. Raises ValueError for one that is neither."""
    found = packed_network(prefix)
    if found is None:
        raise ValueError(f"{prefix!r} is no network")
    first, bits = found
    return Entry(bits, int.from_bytes(first) >> (128 - bits), network)


class Networks:
    """Networks by prefix. The longest prefix that holds an address decides, whatever the order of the lists."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        by_length: dict[int, dict[int, Network]] = {}
        for bits, key, network in entries:
            at = by_length.setdefault(bits, {})
            at[key] = min(at.get(key, network), network, key=_precedence)
        self._by_length = sorted(by_length.items(), reverse=True)

    def __len__(self) -> int:
        return sum(len(at) for _, at in self._by_length)

    def find(self, address: str) -> Network | None:
        """The network that holds the address."""
        first = packed(address)
        if first is None:
            return None
        number = int.from_bytes(first)
        for bits, at in self._by_length:
            if (network := at.get(number >> (128 - bits))) is not None:
                return network
        return None


# A prefix of several services stands in AWS's list once for each, in AMAZON's always, in EC2's often.
_GENERAL = {"EC2": 1, "AMAZON": 2}


def _precedence(network: Network) -> tuple[Any, ...]:
    service = network.service or ""
    return (not service, _GENERAL.get(service, 0), service, network.provider or "", network.region or "")


def read_networks(content: bytes) -> list[Entry]:
    """The entries of one list. Raises ValueError, with the reason, for another form, and for a list without any."""
    if content.lstrip().startswith((b"{", b"[")):
        document = msgspec.json.decode(content)
        if not isinstance(document, dict) or not isinstance(document.get("prefixes", document.get("values")), list):
            raise ValueError("it has neither `prefixes` (AWS, Google Cloud) nor `values` (Azure)")
        try:
            found = [entry(prefix, network) for prefix, network in _read_ranges(document)]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"an entry lacks what it should have: {error}") from error
    else:
        found = [entry(prefix, network) for prefix, network in _read_lines(content.decode("utf-8-sig"))]
    if not found:
        raise ValueError("it holds no network")
    return found


def _read_ranges(document: Mapping[str, Any]) -> Iterator[tuple[str, Network]]:
    for told in document.get("prefixes", []) + document.get("ipv6_prefixes", []):
        if aws := told.get("ip_prefix") or told.get("ipv6_prefix"):
            yield aws, Network("AWS", told["service"], told["region"])
        else:
            google = told.get("ipv4Prefix") or told["ipv6Prefix"]
            yield google, Network("GCP", told.get("service"), told.get("scope"))
    for tag in document.get("values", []):
        told = tag["properties"]
        network = Network("AZURE", told.get("systemService") or None, told.get("region") or None)
        for prefix in told["addressPrefixes"]:
            yield prefix, network


def _read_lines(text: str) -> Iterator[tuple[str, Network]]:
    for row in csv.reader(line.partition("#")[0] for line in text.splitlines()):
        if row and row[0].strip():
            yield row[0].strip(), Network(row[1].strip() or None if len(row) > 1 else None)
