"""Ordinary activity: records of a window of time in one account and region, drawn by chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from random import Random

import msgspec

from pipeline.demo.calls import ORDINARY
from pipeline.demo.population import HOUR_S, Population
from pipeline.demo.records import Call, Json, Kind, Scene, denied, record, throttled

_KINDS: tuple[Kind, ...] = ("person", "pipeline", "workload", "service")
_SHARES = (20, 32, 77, 100)  # cumulative, in percent
_LATE_SHARE, _LATE_S = 0.03, 15 * 60
_VERY_LATE_SHARE, _VERY_LATE_S = 0.004, 6 * HOUR_S
_DENIED_SHARE, _THROTTLED_SHARE = 0.02, 0.005


@dataclass(frozen=True)
class Everyday:
    """Who may call what, from `start` (seconds of the epoch) on. IAM and its like are called in `home` only."""

    population: Population
    start: int
    home: str
    calls: tuple[Call, ...] = ORDINARY

    @cached_property
    def _menus(self) -> dict[tuple[Kind, bool], tuple[list[Call], list[int]]]:
        """Calls and their cumulative weights by kind of actor and whether the region is home."""
        return {
            (kind, home): _menu(call for call in self.calls if kind in call.kinds and (home or call.everywhere))
            for kind in _KINDS
            for home in (False, True)
        }

    def draw(self, rng: Random, account: str, region: str, begin: int, end: int, count: int) -> Iterator[bytes]:
        """`count` encoded records, in no order, delivered between `begin` and `end`; a few happened hours earlier."""
        home = region == self.home
        for kind in rng.choices(_KINDS, cum_weights=_SHARES, k=count):
            at = max(self.start, begin + int(rng.random() * (end - begin)) - _lateness(rng))
            present = self.population.present(account, (at - self.start) // HOUR_S, kind)
            calls, weights = self._menus[kind, home]
            call = rng.choices(calls, cum_weights=weights)[0]
            scene = Scene(rng, present[int(rng.random() * len(present))], account, region, at)
            yield msgspec.json.encode(_outcome(rng, scene, call))


def _menu(calls: Iterable[Call]) -> tuple[list[Call], list[int]]:
    chosen = list(calls)
    return chosen, list(accumulate(call.weight for call in chosen))


def _lateness(rng: Random) -> int:
    """Seconds by which an event is delivered later than its neighbours."""
    chance = rng.random()
    if chance < _VERY_LATE_SHARE:
        return int(rng.random() * _VERY_LATE_S)
    return int(rng.random() * _LATE_S) if chance < _LATE_SHARE else 0


def _outcome(rng: Random, scene: Scene, call: Call) -> Json:
    chance = rng.random()
    if scene.actor.kind == "service" or chance > _DENIED_SHARE + _THROTTLED_SHARE:
        return record(scene, call)
    return denied(scene, call) if chance < _DENIED_SHARE else throttled(scene, call)
