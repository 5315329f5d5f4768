"""Rules, indicators and enrichment, and hunts with them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import Config
from pipeline.detection.rules import Tested
from pipeline.terminal.words import counted
from transforms.indicators.lists import Tally, list_files, read_lists
from transforms.list_objects import Selection
from transforms.rules.book import SHIPPED, RuleBook
from transforms.rules.sigma import RuleSet, read_rules
from transforms.stores.files import open_store, prove


def hunt(
    config: Config,
    book: RuleBook,
    selection: Selection,
    *,
    beam_flags: Sequence[str],
    form: str,
    quiet: bool,
) -> None:
    """Hunt with some rules and print the hits by rule."""
    from pipeline import sql
    from pipeline.detection.hunt import digest_of
    from pipeline.detection.hunt import hunt as search
    from pipeline.sql import query as asking
    from pipeline.sql.tree import open_tree
    from pipeline.terminal.rows import print_rows

    output = config.root()
    open_tree(output)
    prove(open_store(output))
    enrichment = config.enrichment_book()
    counts = search(output, book, selection, enrichment=enrichment, beam_flags=beam_flags, quiet=quiet)
    with asking.connect(output) as connection:
        values = {
            "ruleset": digest_of(book, enrichment),
            "since": selection.first_day or "0001-01-01",
            "until": selection.last_day or "9999-12-31",
            "accounts": ",".join(selection.accounts),
        }
        rows = asking.run(connection, sql.text("hunts/hits"), values).read_all()
    # Ids of rules are for programs: with them a table does not fit a terminal.
    print_rows(rows.drop_columns(["rule_id"]) if form == "table" else rows, form, sys.stdout)
    records, hits = counted(counts["records"], "record"), counted(counts["rule_hits"], "hit")
    print(f"{records} looked through, {hits}", file=sys.stderr)


def rule_book(places: Sequence[Path], indicators: Sequence[Path] = ()) -> RuleBook:
    """The rules and lists of indicators at some places, or the rules that come with trailweave."""
    return RuleBook.of(places, shipped=not (places or indicators), indicators=indicators)


def rule_set(places: Sequence[Path]) -> RuleSet:
    """What some places hold, with what is wrong."""
    return RuleBook(read_rules(places or [SHIPPED])).rule_set()


def list_rules(places: Sequence[Path], form: str) -> None:
    """Print the rules."""
    from pipeline.detection.rules import listed
    from pipeline.terminal.rows import print_rows

    rows = listed(rule_set(places).checked())
    print_rows(rows.select(["title", "level", "kind", "tags"]) if form == "table" else rows, form, sys.stdout)


def test_rules(places: Sequence[Path]) -> list[Tested]:
    """The samples of the rules at some places, run."""
    from pipeline.detection.rules import tested

    return list(tested(rule_book(places)))


def read_indicators(places: Sequence[Path]) -> tuple[Tally, ...]:
    """What became of each list at some places."""
    return read_lists(list_files(places)).tallies


def show_enrichment(config: Config, form: str) -> None:
    """Print what enriches events."""
    from pipeline.detection import enrichment
    from pipeline.terminal.rows import print_rows

    rows = enrichment.loaded(config.enrichment_book(), datetime.now(UTC))
    print_rows(enrichment.in_short(rows) if form == "table" else rows, form, sys.stdout)
    if form == "table" and (lines := enrichment.missing(rows)):
        print("\nnot given; set it under [enrichment] in trailweave.toml:", *lines, sep="\n  ")
