"""MatchRules: which rules and indicators hold for which events, as one raw file and the rules of now tell it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam

from schemas.values import Slice
from transforms.detections import united
from transforms.dofn import StageFn
from transforms.rules.book import RuleBook


def match_rules(derived: Slice, book: RuleBook) -> Slice:
    """The slice with `detections`, a table of rule hits for each of its commits, perhaps without rows.

    Without events (raw records only) rules see the records alone, and indicators nothing.
    """
    if derived.records is None or derived.provider is None or not derived.commits:
        return derived
    matcher = book.matcher(derived.provider)
    detections = matcher.detections(derived.records, derived.events, derived.commits)
    if book.indicators is not None and derived.events is not None:
        shown = book.indicators.detections(derived.records, derived.events, derived.commits)
        detections = united(detections, shown)
    return replace(derived, detections=detections)


@dataclass(eq=False)
class MatchRules(beam.PTransform[Any, Any]):
    """Slice in, the same slice with its rule hits out."""

    book: RuleBook

    def expand(self, slices: Any) -> Any:
        """Match each slice."""
        return slices | beam.ParDo(_Match(self.book)).with_output_types(Slice)


class _Match(StageFn):
    def __init__(self, book: RuleBook) -> None:
        self._book = book

    def process(self, derived: Slice) -> Iterator[Slice]:
        yield match_rules(derived, self._book)
