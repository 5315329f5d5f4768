"""The graph: it reads as the diagram in ARCHITECTURE.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam

from schemas.values import Message
from transforms import coders
from transforms.acknowledge_messages import AcknowledgeMessages
from transforms.batch_messages import BatchMessages
from transforms.commit_raw import CommitRaw
from transforms.enrich_events import EnrichEvents
from transforms.enrichment.book import NO_FILES, EnrichmentBook
from transforms.explode_records import ExplodeRecords
from transforms.fetch_objects import FetchLimits, FetchObjects
from transforms.list_objects import ListedObjects, ListObjects, Selection
from transforms.match_rules import MatchRules
from transforms.normalize_records import NormalizeRecords
from transforms.parse_notifications import ParseNotifications
from transforms.receive_messages import Limits, ReceiveMessages
from transforms.rules.book import NO_RULES, RuleBook
from transforms.stitch_sessions import StitchSessions
from transforms.stores.files import Output
from transforms.stores.settings import Settings
from transforms.stores.sources import Source
from transforms.write_dead_letters import WriteDeadLetters
from transforms.write_ingest_log import WriteIngestLog
from transforms.write_parquet import WriteParquet


@dataclass(frozen=True)
class Plan:
    """What a run works with: sources by name, output root and settings, sizes, rules, and files for enrichment."""

    sources: dict[str, Source]
    output: Output
    settings: Settings
    run_id: str
    fetch: FetchLimits = field(default_factory=FetchLimits)
    rules: RuleBook = NO_RULES
    enrichment: EnrichmentBook = NO_FILES


def ingest(pipeline: beam.Pipeline, plan: Plan, limits: Mapping[str, Limits]) -> Any:
    """The main job, one micro-batch of it: what the queues of the sources in `limits` hold now."""
    sources = tuple(plan.sources[name] for name in limits)
    received = pipeline | ReceiveMessages(sources, limits)
    return keep(received | ParseNotifications(plan.sources) | BatchMessages(), plan)


def ingest_forever(pipeline: beam.Pipeline, plan: Plan, each_poll: Limits, pollers: int) -> Any:
    """The main job on a streaming engine: one unbounded run, by `pollers` a source."""
    sources = tuple(it for it in plan.sources.values() if it.queue_url)
    received = pipeline | ReceiveMessages(sources, each_poll, pollers)
    return keep(received | ParseNotifications(plan.sources) | BatchMessages(by_bundle=True), plan)


def replay(pipeline: beam.Pipeline, plan: Plan, messages: list[Message]) -> Any:
    """The same over objects that a listing found."""
    return keep(pipeline | ListedObjects(messages), plan)


def replay_by_workers(pipeline: beam.Pipeline, plan: Plan, selection: Selection, *, force: bool) -> Any:
    """The same on an engine, whose workers list the locations of the sources as well."""
    sources = tuple(it for it in plan.sources.values() if it.location)
    listed = pipeline | ListObjects(sources, selection, None if force else plan.output)
    return keep(listed, plan)


def keep(batches: Any, plan: Plan) -> Any:
    """Batches of messages become datasets.

    From FetchObjects on everything is one fused chain: each sink passes its slice on, since a sibling branch would
    run after the acknowledgement, which must come last.
    """
    coders.register()
    committed = (
        batches
        | FetchObjects(plan.sources, plan.fetch)
        | ExplodeRecords(plan.fetch.caps.record_bytes)
        | CommitRaw(plan.output, plan.settings)
    )
    derived = committed | NormalizeRecords() | EnrichEvents(plan.enrichment) if plan.settings.normalize else committed
    matched = derived | MatchRules(plan.rules) if plan.settings.detections else derived
    stitched = matched | StitchSessions() if plan.settings.sessions else matched
    return (
        stitched
        | WriteParquet(plan.output, plan.settings)
        | WriteDeadLetters(plan.output)
        | WriteIngestLog(plan.output, plan.run_id)
        | AcknowledgeMessages(plan.sources)
    )
