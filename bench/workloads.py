"""Seeded workloads: folders of trail objects, drawn once into a cache."""

from __future__ import annotations

import gzip
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import cycle
from pathlib import Path

from pipeline.demo.organisation import organisation

CACHE = Path(".cache/bench")
# Raised with every change of the generator that changes its bytes.
_GENERATION = 1


@dataclass(frozen=True)
class Workload:
    """`events` records in `objects` objects; `variety` multiplies what repeats, `spread` is that of the sizes.

    With `accounts` the objects belong to so many accounts in turn.
    """

    name: str
    objects: int
    events: int
    variety: int = 1
    spread: float = 0.6
    days: int = 2
    accounts: int = 0

    def scaled(self, name: str, factor: float) -> Workload:
        """The same kind of objects, more or fewer of them."""
        return replace(self, name=name, objects=int(self.objects * factor), events=int(self.events * factor))

    def bodies(self) -> Iterator[tuple[str, bytes]]:
        """Key and content of each object."""
        trail = organisation(
            clean=True,
            objects=self.objects,
            events=self.events,
            variety=self.variety,
            spread=self.spread,
            days=self.days,
        )
        return map(_moved, cycle(range(self.accounts)), trail) if self.accounts else iter(trail)

    def folder(self) -> Path:
        """The folder that holds the objects under their keys; drawn if it is not there."""
        digest = blake2b(f"{_GENERATION} {asdict(self)}".encode(), digest_size=6).hexdigest()
        folder = CACHE / f"{self.name}-{digest}"
        if not folder.is_dir():
            unfinished = folder.with_suffix(".unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            for key, body in self.bodies():
                path = unfinished / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(body)
            unfinished.rename(folder)
        return folder


def _moved(number: int, delivered: tuple[str, bytes]) -> tuple[str, bytes]:
    """The object as that of another account."""
    key, body = delivered
    own = re.search(r"/(\d{12})_CloudTrail_", key)
    if own is None:
        raise ValueError(f"no account in {key}")
    other = f"{500_000_000_000 + number}"
    text = gzip.decompress(body).replace(own[1].encode(), other.encode())
    return key.replace(own[1], other), gzip.compress(text, 6)


LARGE = Workload("large", objects=400, events=400_000, spread=0)
TINY = Workload("tiny", objects=3_000, events=37_500)
LOW = Workload("low", objects=400, events=100_000, variety=50)
TENFOLD = LARGE.scaled("tenfold", 10)
WARM_UP = Workload("warm-up", objects=40, events=4_000)
