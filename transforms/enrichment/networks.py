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
from bisect import bisect_right
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
    """A network of a list: its first address as a number, the length of its prefix, of 128 bits, and whose it is."""

    first: int
    bits: int
    network: Network

    @property
    def end(self) -> int:
        """The address behind its last."""
        return self.first + (1 << (128 - self.bits))


def entry(prefix: str, network: Network) -> Entry:
    """The entry of a network or an address in text. Raises ValueError for one that is neither."""
    found = packed_network(prefix)
    if found is None:
        raise ValueError(f"{prefix!r} is no network")
    first, bits = found
    return Entry(int.from_bytes(first), bits, network)


class Networks:
    """Networks by address. The longest prefix that holds an address decides, whatever the order of the lists."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        kept: dict[tuple[int, int], Entry] = {}
        for it in entries:
            key = it.first, it.bits
            kept[key] = min(kept.get(key, it), it, key=lambda one: _precedence(one.network))
        self._count = len(kept)
        # Prefixes lie within each other or apart: cut into ranges that lie side by side, each with its longest one.
        ranges: dict[int, Network | None] = {0: None}
        around: list[Entry] = []
        for _, it in sorted(kept.items()):
            _leave(around, it.first, ranges)
            ranges[it.first] = it.network
            around.append(it)
        _leave(around, 1 << 128, ranges)
        ranges.pop(1 << 128, None)
        self._starts = [start.to_bytes(16) for start in ranges]
        self._networks = list(ranges.values())

    def __len__(self) -> int:
        return self._count

    def find(self, address: str) -> Network | None:
        """The network that holds the address."""
        place = packed(address)
        return None if place is None else self._networks[bisect_right(self._starts, place) - 1]


def _leave(around: list[Entry], place: int, ranges: dict[int, Network | None]) -> None:
    """Leave the networks that end at or before a place: behind each lies what is around it."""
    while around and around[-1].end <= place:
        end = around.pop().end
        ranges[end] = around[-1].network if around else None


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
