"""What is derived from a commit, outside of the graph: for repair and for hunts, by the stages' own functions."""

from __future__ import annotations

from schemas.values import Slice
from transforms.enrich_events import enrich_events
from transforms.enrichment.book import EnrichmentBook
from transforms.match_rules import match_rules
from transforms.normalize_records import normalize_records
from transforms.rules.book import RuleBook
from transforms.stitch_sessions import stitch_sessions
from transforms.stores.settings import Settings


def derive(committed: Slice, settings: Settings, rules: RuleBook, enrichment: EnrichmentBook) -> Slice:
    """The slice with everything that the settings ask for, as its writer would have derived it."""
    derived = enrich_events(normalize_records(committed), enrichment) if settings.normalize else committed
    if settings.detections:
        derived = match_rules(derived, rules)
    return stitch_sessions(derived) if settings.sessions else derived
