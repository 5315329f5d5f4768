"""The rules of a run: they travel in the graph as text, and are compiled once in each process.

Indicators travel by the names of their files alone: a million of them do not belong into a graph.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from transforms.indicators.book import IndicatorBook
from transforms.providers import PROVIDERS_BY_NAME
from transforms.rules.matching import RuleMatcher
from transforms.rules.sigma import RuleSet, RuleText, compile_rules, read_rules

SHIPPED = Path(__file__).parent / "shipped"


@dataclass(frozen=True)
class RuleBook:
    """The YAML files of a run's rules, and its lists of indicators."""

    texts: tuple[RuleText, ...] = ()
    indicators: IndicatorBook | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Small: Beam pickles what a graph holds several times a run, and compresses it slowly."""
        return _unpacked, (_packed(self.texts), self.indicators)

    @classmethod
    def of(
        cls, places: Sequence[Path | str] = (), *, shipped: bool = True, indicators: Sequence[Path | str] = ()
    ) -> RuleBook:
        """The rules at some places, with those that come with trailweave. Raises ConfigError for a wrong one."""
        lists = IndicatorBook.of(indicators) if indicators else None
        book = cls(read_rules([*([SHIPPED] if shipped else []), *places]), lists)
        book.rule_set().checked()
        return book

    def rule_set(self) -> RuleSet:
        """What the files hold, compiled."""
        return _compiled(self.texts)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with what the rules ask for."""
        versions = sorted(f"{rule.id} {rule.version}" for rule in self.rule_set().rules)
        versions += [self.indicators.digest] if self.indicators else []
        return hashlib.sha256("\n".join(versions).encode()).hexdigest()[:16]

    def matcher(self, provider: str) -> RuleMatcher:
        """The rules ready for a provider's records; one in each process."""
        return _matcher(self.texts, provider)


NO_RULES = RuleBook()


@lru_cache(maxsize=8)
def _packed(texts: tuple[RuleText, ...]) -> bytes:
    return zlib.compress(msgspec.json.encode(texts))


def _unpacked(packed: bytes, indicators: IndicatorBook | None) -> RuleBook:
    return RuleBook(_texts(packed), indicators)


@lru_cache(maxsize=8)
def _texts(packed: bytes) -> tuple[RuleText, ...]:
    return msgspec.json.decode(zlib.decompress(packed), type=tuple[RuleText, ...])


@lru_cache(maxsize=8)
def _compiled(texts: tuple[RuleText, ...]) -> RuleSet:
    return compile_rules(texts)


@lru_cache(maxsize=16)
def _matcher(texts: tuple[RuleText, ...], provider: str) -> RuleMatcher:
    return RuleMatcher(_compiled(texts).rules, PROVIDERS_BY_NAME[provider])
