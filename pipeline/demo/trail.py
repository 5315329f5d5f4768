"""A planned trail: its objects in order of delivery, each drawn when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal

from pipeline.demo.everyday import Everyday
from pipeline.demo.layout import trail_object
from pipeline.demo.records import Planted
from pipeline.demo.story import Attack

DeliveryKind = Literal["good", "truncated", "bad record", "digest"]
BAD_RECORD = b'{"eventVersion":"1.11","eventName":"GetObject","eventID":"no time was given","awsRegion":"us-east-1"}'


@dataclass(frozen=True, slots=True)
class Slot:
    """What happened in an account and region, as delivered between `begin` and `end` (seconds of the epoch)."""

    index: int
    account: str
    region: str
    begin: int
    end: int
    drawn: int
    planted: tuple[Planted, ...] = ()

    @property
    def events(self) -> int:
        """How many events it holds."""
        return self.drawn + len(self.planted)


@dataclass(frozen=True, slots=True)
class Piece:
    """The records `start` to `stop` of a slot."""

    slot: Slot
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """One object: a key, and the records in it, or a `document` that is no records at all."""

    key: str
    pieces: tuple[Piece, ...] = ()
    kind: DeliveryKind = "good"
    document: bytes = b""

    @property
    def events(self) -> int:
        """Events that can be read from it."""
        return 0 if self.kind == "truncated" else sum(piece.stop - piece.start for piece in self.pieces)


@dataclass(frozen=True)
class Trail:
    """The objects in order of delivery, and what is known of them.

    `events` counts distinct events. Each has an `eventID` of its own and can be read from at least one object.
    """

    deliveries: tuple[Delivery, ...]
    events: int
    attack: Attack | None
    everyday: Everyday
    seed: int

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield `(key, body)` of each object, drawn on demand; the same at every turn."""
        return ((delivery.key, self.body(delivery)) for delivery in self.deliveries)

    def __len__(self) -> int:
        return len(self.deliveries)

    @property
    def delivered(self) -> int:
        """Good records in readable objects, repeats included."""
        return sum(delivery.events for delivery in self.deliveries)

    def keys_of(self, kind: DeliveryKind) -> list[str]:
        """The keys of the objects of a kind."""
        return [delivery.key for delivery in self.deliveries if delivery.kind == kind]

    def body(self, delivery: Delivery) -> bytes:
        """The bytes of one object."""
        if delivery.document:
            return delivery.document
        records = [
            record for piece in delivery.pieces for record in self._records(piece.slot)[piece.start : piece.stop]
        ]
        if delivery.kind == "bad record":
            records.insert(len(records) // 2, BAD_RECORD)
        body = trail_object(records)
        return body[: len(body) // 2] if delivery.kind == "truncated" else body

    def _records(self, slot: Slot) -> list[bytes]:
        rng = Random(f"{self.seed}/{slot.index}")  # noqa: S311
        records = list(self.everyday.draw(rng, slot.account, slot.region, slot.begin, slot.end, slot.drawn))
        records += [planted.body for planted in slot.planted]
        rng.shuffle(records)
        return records
