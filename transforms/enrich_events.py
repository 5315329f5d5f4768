"""EnrichEvents: what the values of an event mean beyond its record, by the data of now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np
import pyarrow as pa

from schemas.datasets import EVENTS
from schemas.dictionaries import Places, places, ranked
from schemas.values import Slice
from transforms.dofn import StageFn
from transforms.enrichment.access_levels import access_level
from transforms.enrichment.accounts import Account, Caller, caller
from transforms.enrichment.addresses import AWS_SERVICE, Address, address
from transforms.enrichment.agents import Agent, agent
from transforms.enrichment.book import Data, EnrichmentBook
from transforms.enrichment.geography import Asn, Place
from transforms.enrichment.techniques import techniques
from transforms.providers.cloudtrail.columns import Distinct, constant, encoded, first_known, mapped, spread_all
from transforms.providers.cloudtrail.table import TYPES, columns_of
from transforms.stores.parquet import conform


class Project(NamedTuple):
    """Columns of `cloud_audit_logs` about the account that was called."""

    project_name: str | None
    project_owner: str | None


def enrich_events(normalized: Slice, book: EnrichmentBook) -> Slice:
    """The slice, the columns of enrichment in its `events` filled in; a slice without events stays as it is."""
    if normalized.events is None:
        return normalized
    events, data = normalized.events, book.data()
    columns: dict[str, Any] = {name: events[name] for name in events.column_names}
    columns.update(_address(events, data))
    columns.update(_accounts(events, data))
    columns.update(columns_of(Agent, Distinct.read(encoded(events["user_agent"]), agent)))
    columns.update(_operation(events))
    if data.sensitive is not None:
        resources, first = events["referenced_resources"], events["referenced_resource"]
        columns["resource_sensitivity"] = data.sensitive.sensitivity(resources, first)
    columns["enrichment_version"] = constant(data.version, pa.string(), len(events))
    return replace(normalized, events=conform(columns, EVENTS))


def _address(events: pa.Table, data: Data) -> dict[str, Any]:
    addresses = Distinct.read(encoded(events["caller_ip"]), str)
    columns = columns_of(Address, addresses.map(lambda it: address(it, data.networks)))
    by_service = mapped(encoded(events["caller_service"]), lambda _: AWS_SERVICE, pa.string())
    columns["caller_ip_class"] = first_known(columns["caller_ip_class"], by_service)
    columns.update(columns_of(Place, addresses.map(data.country.place)))
    if data.asn is not None:
        columns.update(columns_of(Asn, addresses.map(data.asn.asn)))
    return columns


def _accounts(events: pa.Table, data: Data) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    if data.accounts is not None:
        own = data.accounts
        found = Distinct.read(encoded(events["project"]), lambda it: own.get(it, Account()))
        columns.update(columns_of(Project, found.map(lambda it: Project(it.name, it.owner))))
    if data.accounts is not None or data.vendors is not None:
        callers = Distinct.read(encoded(events["caller_project"]), lambda it: caller(it, data.accounts, data.vendors))
        columns.update(columns_of(Caller, callers))
    return columns


def _operation(events: pa.Table) -> dict[str, Any]:
    pairs = _pairs(events, "resource_type_orig", "operation_name_orig")
    told: dict[str, list[Any]] = {
        "access_level": [access_level(*it) for it in pairs.values],
        "attack_techniques": [techniques(*it) for it in pairs.values],
    }
    return spread_all(told, TYPES, pairs.indices)


def _pairs(events: pa.Table, first: str, second: str) -> Distinct[tuple[str | None, str | None]]:
    """The distinct pairs of values in two columns; a null is a value of its own."""
    one, other = encoded(events[first]), encoded(events[second])
    ones, others = ([*it.dictionary.to_pylist(), None] for it in (one, other))
    codes = _codes(one) * len(others) + _codes(other)
    there, rows = ranked(codes, len(ones) * len(others))
    found = (divmod(code, len(others)) for code in there.tolist())
    return Distinct([(ones[a], others[b]) for a, b in found], pa.array(rows.astype(np.int32)))


def _codes(column: Any) -> Places:
    return places(column.indices, len(column.dictionary))


@dataclass(eq=False)
class EnrichEvents(beam.PTransform[Any, Any]):
    """Slice in, the same slice with its events enriched out."""

    book: EnrichmentBook

    def expand(self, slices: Any) -> Any:
        """Enrich each slice."""
        return slices | beam.ParDo(_Enrich(self.book)).with_output_types(Slice)


class _Enrich(StageFn):
    def __init__(self, book: EnrichmentBook) -> None:
        self._book = book

    def process(self, normalized: Slice) -> Iterator[Slice]:
        yield enrich_events(normalized, self._book)
