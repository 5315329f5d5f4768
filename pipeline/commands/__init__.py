"""What each command does, from a validated configuration; the command line only parses and prints."""

from __future__ import annotations

from pipeline.commands.alerts import evaluate_alerts, list_alerts, show_alert
from pipeline.commands.beginning import begin, load, located, queue_sources, refuse_loop
from pipeline.commands.detection import (
    hunt,
    list_rules,
    read_indicators,
    rule_book,
    rule_set,
    show_enrichment,
    test_rules,
)
from pipeline.commands.ingestion import IngestOptions, ingest, replay
from pipeline.commands.looking import list_queries, print_views, query, status
from pipeline.commands.onboarding import check
from pipeline.commands.stories import list_stories, show_story, stitch
from pipeline.commands.upkeep import compact, redrive, repair, verify

__all__ = [
    "IngestOptions",
    "begin",
    "check",
    "compact",
    "evaluate_alerts",
    "hunt",
    "ingest",
    "list_alerts",
    "list_queries",
    "list_rules",
    "list_stories",
    "load",
    "located",
    "print_views",
    "query",
    "queue_sources",
    "read_indicators",
    "redrive",
    "refuse_loop",
    "repair",
    "replay",
    "rule_book",
    "rule_set",
    "show_alert",
    "show_enrichment",
    "show_story",
    "status",
    "stitch",
    "test_rules",
    "verify",
]
