"""Seeded workloads: folders of trail objects, drawn once into a cache."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path

from pipeline.demo.organisation import organisation

CACHE = Path(".cache/bench")
# Raised with every change of the generator that changes its bytes.
_GENERATION = 1


@dataclass(frozen=True)
class Workload:
    """`events` records in `objects` objects; `variety` multiplies what repeats, `spread` is that of the sizes."""

    name: str
    objects: int
    events: int
    variety: int = 1
    spread: float = 0.6
    days: int = 2

    def scaled(self, name: str, factor: float) -> Workload:
        """The same kind of objects, more or fewer of them."""
        return Workload(
            name, int(self.objects * factor), int(self.events * factor), self.variety, self.spread, self.days
        )

    def bodies(self) -> Iterator[tuple[str, bytes]]:
        """Key and content of each object."""
        return iter(
            organisation(
                clean=True,
                objects=self.objects,
                events=self.events,
                variety=self.variety,
                spread=self.spread,
                days=self.days,
            )
        )

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


LARGE = Workload("large", objects=400, events=400_000, spread=0)
TINY = Workload("tiny", objects=3_000, events=37_500)
LOW = Workload("low", objects=400, events=100_000, variety=50)
TENFOLD = LARGE.scaled("tenfold", 10)
WARM_UP = Workload("warm-up", objects=40, events=4_000)
