"""Events against a million indicators: each distinct value of a column is looked up once, by binary search."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from transforms.indicators.hashes import named_hashes
from transforms.indicators.lists import Lists
from transforms.indicators.parameters import Named, named
from transforms.indicators.values import Kind, packed, packed_network

Places = NDArray[np.int64]

COLUMNS: dict[Kind, tuple[str, ...]] = {
    Kind.ADDRESS: ("caller_ip",),
    Kind.DOMAIN: ("tls_client_host", "caller_ip_orig", "federated_provider"),
    Kind.USER_AGENT: ("user_agent",),
    Kind.ACCESS_KEY: ("access_key_id", "issued_access_key_id"),
    # No column has one: `hashes` says where they are looked for.
    Kind.HASH: (),
    Kind.ACCOUNT: (
        "caller_project",
        "issued_account_id",
        "vpc_endpoint_account_id",
        "invoked_by_delegate_account_id",
    ),
}
"""The columns of `cloud_audit_logs` in which indicators of a kind are looked for; networks in those of addresses."""

IN_PARAMETERS = frozenset({Kind.ADDRESS, Kind.ACCESS_KEY, Kind.ACCOUNT})
"""The kinds that are looked for in the parameters of calls as well."""


@dataclass(frozen=True, slots=True)
class Sightings:
    """Rows of events and places in the table of indicators, pair by pair, and where each shows what."""

    rows: Places
    indicators: Places
    column: str
    texts: Sequence[str]


class IndicatorMatcher:
    """Indicators, ready for any events. Not bound to a slice; holds some 30 bytes an indicator beside the table."""

    def __init__(self, lists: Lists) -> None:
        self.lists = lists
        kinds = np.asarray(lists.table["kind"].to_pylist())
        self._values: Any = lists.table["value"].combine_chunks()
        self._ends = _micros(lists.table["valid_until"], never=np.iinfo(np.int64).max)
        own = {kind: np.flatnonzero(kinds == kind.value) for kind in Kind}
        made: list[tuple[Kind, _Lookup]] = [
            (Kind.ADDRESS, _Networks(self._values, np.concatenate([own[Kind.ADDRESS], own[Kind.NETWORK]]))),
            (Kind.DOMAIN, _Domains(self._values, own[Kind.DOMAIN])),
            (Kind.USER_AGENT, _UserAgents(self._values, own[Kind.USER_AGENT])),
            (Kind.ACCESS_KEY, _Texts(self._values, own[Kind.ACCESS_KEY])),
            (Kind.ACCOUNT, _Texts(self._values, own[Kind.ACCOUNT])),
            (Kind.HASH, _Texts(self._values, own[Kind.HASH])),
        ]
        present = {Kind.ADDRESS if kind is Kind.NETWORK else kind for kind in Kind if len(own[kind])}
        self._lookups: dict[Kind, _Lookup] = {kind: lookup for kind, lookup in made if kind in present}

    def sightings(self, records: pa.Table, events: pa.Table) -> Iterator[Sightings]:
        """What rows of `cloud_audit_logs` and their records show, column by column, parameters last.

        What had ended by the event's time is left out.
        """
        times = _micros(events["event_time"], never=0)
        for it in self._shown(records, events):
            lasts = times[it.rows] < self._ends[it.indicators]
            if lasts.any():
                texts = [text for text, does in zip(it.texts, lasts.tolist(), strict=True) if does]
                yield Sightings(it.rows[lasts], it.indicators[lasts], it.column, texts)

    def _shown(self, records: pa.Table, events: pa.Table) -> Iterator[Sightings]:
        for kind, lookup in self._lookups.items():
            for column in COLUMNS[kind]:
                codes, distinct = _encoded(events[column])
                rows, indicators = _spread(codes, *lookup.pairs(distinct))
                yield Sightings(rows, indicators, column, [distinct[code] or "" for code in codes[rows]])
        found = named(records, events) if self._lookups.keys() & IN_PARAMETERS else []
        if Kind.HASH in self._lookups:
            found += named_hashes(records, events)
        own: dict[tuple[Kind, str], list[Named]] = {}
        for it in found:
            own.setdefault((it.kind, it.column), []).append(it)
        for (kind, column), texts in own.items():
            if kind in self._lookups:
                places, indicators = self._lookups[kind].pairs([it.text for it in texts])
                shown = [texts[place] for place in places.tolist()]
                rows = np.asarray([it.row for it in shown], np.int64)
                yield Sightings(rows, indicators, column, [it.text for it in shown])


class _Lookup(Protocol):
    """Indicators of a kind."""

    def pairs(self, distinct: Sequence[str | None]) -> tuple[Places, Places]:
        """Places among distinct values, and of the indicators that each shows."""


class _Texts:
    """Texts by their 8-byte digest, sorted; a digest that fits is checked against the text itself."""

    def __init__(self, values: Any, places: Places) -> None:
        digests = _digests(values.take(pa.array(places)).to_pylist())
        order = np.argsort(digests, kind="stable")
        self._values, self._digests, self._places = values, digests[order], places[order]

    def pairs(self, distinct: Sequence[str | None]) -> tuple[Places, Places]:
        return self.pairs_of([(code, text) for code, text in enumerate(distinct) if text])

    def pairs_of(self, asked: Sequence[tuple[int, str]]) -> tuple[Places, Places]:
        """The same for texts that stand for a value, which may have several."""
        digests = _digests([text for _, text in asked])
        starts = np.searchsorted(self._digests, digests)
        ends = np.searchsorted(self._digests, digests, side="right")
        found = {
            (asked[one][0], int(place))
            for one in np.flatnonzero(ends > starts).tolist()
            for place in self._places[starts[one] : ends[one]]
            if self._values[int(place)].as_py() == asked[one][1]
        }
        return _columns(found)


class _Domains:
    """Domains, and everything below them. A value may be a host with its port, a URL or an ARN that holds one."""

    def __init__(self, values: Any, places: Places) -> None:
        self._texts = _Texts(values, places)

    def pairs(self, distinct: Sequence[str | None]) -> tuple[Places, Places]:
        hosts = [(code, host) for code, text in enumerate(distinct) if text for host in _HOST.findall(text.lower())]
        return self._texts.pairs_of([(code, it) for code, host in hosts for it in _and_above(host)])


_HOST = re.compile(r"(?:[a-z0-9_-]+\.)+[a-z][a-z0-9-]+")


def _and_above(host: str) -> Iterator[str]:
    labels = host.split(".")
    return (".".join(labels[first:]) for first in range(len(labels) - 1))


class _UserAgents:
    """User agents, whatever their case; `*` stands for anything."""

    def __init__(self, values: Any, places: Places) -> None:
        texts = values.take(pa.array(places)).to_pylist()
        self._whole: dict[str, list[int]] = {}
        self._patterns: list[tuple[re.Pattern[str], int]] = []
        for text, place in zip(texts, places.tolist(), strict=True):
            if "*" in text:
                pattern = ".*".join(map(re.escape, text.split("*")))
                self._patterns.append((re.compile(pattern, re.IGNORECASE | re.DOTALL), place))
            else:
                self._whole.setdefault(text.casefold(), []).append(place)

    def pairs(self, distinct: Sequence[str | None]) -> tuple[Places, Places]:
        return _columns({(code, it) for code, text in enumerate(distinct) if text for it in self._find(text)})

    def _find(self, text: str) -> Iterator[int]:
        yield from self._whole.get(text.casefold(), ())
        yield from (place for pattern, place in self._patterns if pattern.fullmatch(text))


class _Networks:
    """Addresses and networks: for each length of prefix the sorted first addresses."""

    def __init__(self, values: Any, places: Places) -> None:
        by_length: dict[int, tuple[list[bytes], list[int]]] = {}
        for text, place in zip(values.take(pa.array(places)).to_pylist(), places.tolist(), strict=True):
            found = packed_network(text)
            if found is None:
                raise ValueError(f"{text!r} is no address or network")
            firsts, own = by_length.setdefault(found[1], ([], []))
            firsts.append(found[0])
            own.append(place)
        self._by_length = []
        for length, (firsts, own) in sorted(by_length.items()):
            keys = np.frombuffer(b"".join(firsts), "S16")
            order = np.argsort(keys, kind="stable")
            self._by_length.append((_mask(length), keys[order], np.asarray(own, np.int64)[order]))

    def pairs(self, distinct: Sequence[str | None]) -> tuple[Places, Places]:
        known = [(code, address) for code, text in enumerate(distinct) if text and (address := packed(text))]
        if not known:
            return _NONE, _NONE
        codes = np.asarray([code for code, _ in known], np.int64)
        octets = np.frombuffer(b"".join(address for _, address in known), np.uint8).reshape(-1, 16)
        found_codes, found = [_NONE], [_NONE]
        for mask, keys, places in self._by_length:
            firsts = np.ascontiguousarray(octets & mask).view("S16").reshape(-1)
            spots = np.minimum(np.searchsorted(keys, firsts), len(keys) - 1)
            held = keys[spots] == firsts
            found_codes.append(codes[held])
            found.append(places[spots[held]])
        return np.concatenate(found_codes), np.concatenate(found)


_NONE: Places = np.empty(0, np.int64)


def _mask(bits: int) -> NDArray[np.uint8]:
    return np.frombuffer((((1 << bits) - 1) << (128 - bits)).to_bytes(16), np.uint8)


def _digests(texts: Sequence[str]) -> NDArray[np.uint64]:
    joined = b"".join(blake2b(it.encode("utf-8", "surrogatepass"), digest_size=8).digest() for it in texts)
    return np.frombuffer(joined, np.uint64)


def _columns(found: set[tuple[int, int]]) -> tuple[Places, Places]:
    pairs = np.asarray(sorted(found), np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _spread(codes: Places, found_codes: Places, found: Places) -> tuple[Places, Places]:
    """From pairs of distinct value and indicator to pairs of row and indicator."""
    if not len(found_codes):
        return _NONE, _NONE
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], found_codes)
    counts = np.searchsorted(codes[order], found_codes, side="right") - starts
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.repeat(starts, counts) + within], np.repeat(found, counts)


def _encoded(column: Any) -> tuple[Places, list[str | None]]:
    one: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    one = one if pa.types.is_dictionary(one.type) else one.dictionary_encode()
    return one.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), one.dictionary.to_pylist()


def _micros(column: Any, never: int) -> Places:
    times: Any = column.cast(pa.int64()).fill_null(never)
    return np.asarray(times.to_numpy(), np.int64)
