"""The messages in hand: which objects they wait for, and until when the queue leaves them to us.

For FetchObjects. What is in hand is extended while the work on it goes on; what is no longer ours is dropped, and the
queue delivers it again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence

from schemas.values import Message, ObjectRef, Receipt
from transforms.stores import queue
from transforms.stores.faults import CallFault
from transforms.stores.keys import facts
from transforms.stores.sources import Source

log = logging.getLogger(__name__)

LOOK_S = 2.0
"""How long a wait goes on before it is looked whether what is in hand must be extended."""
_MARGIN_S = 2.0


class Hand:
    """The messages in hand: which objects they wait for, and until when they are ours."""

    def __init__(self, messages: Sequence[Message], sources: Mapping[str, Source]) -> None:
        self._sources = sources
        self._messages = dict(enumerate(messages))
        self._receipts = {number: it.receipt for number, it in self._messages.items() if it.receipt}
        self._missing = {number: len(it.objects) for number, it in self._messages.items()}
        self._deferred: set[int] = set()
        self._waiting: dict[ObjectRef, list[int]] = {}
        self.expired = self.extensions = 0
        self._looked = 0.0
        for number, message in self._messages.items():
            for ref in message.objects:
                self._waiting.setdefault(ref, []).append(number)

    def refs(self) -> list[ObjectRef]:
        """Every object once, in order of account and day, then key."""
        return sorted(self._waiting, key=reading_order)

    def first(self, ref: ObjectRef) -> Message | None:
        """The first message still ours that waits for the object; None if none does."""
        return next((self._messages[n] for n in self._waiting[ref] if n in self._messages), None)

    def near_last_receive(self, message: Message) -> bool:
        """Whether the queue would redrive the message after this or the next receive."""
        if message.receipt is None:
            return False
        return message.receipt.receive_count >= self._trait(message).max_receives - 1

    def finish(self, ref: ObjectRef, *, deferred: bool) -> list[Receipt]:
        """The object is through (or deferred): the receipts of messages that have now nothing left to wait for."""
        for number in self._waiting[ref]:
            self._missing[number] -= 1
            if deferred:
                self._deferred.add(number)
        return self.complete(self._waiting[ref])

    def complete(self, numbers: Sequence[int] | None = None) -> list[Receipt]:
        """Receipts, each given once, of messages (of `numbers`) whose objects are all through, none deferred."""
        ready = [
            number
            for number in (self._messages if numbers is None else numbers)
            if not self._missing[number] and number in self._receipts and number not in self._deferred
        ]
        return [self._receipts.pop(number) for number in dict.fromkeys(ready)]

    def watch(self, held: Sequence[Receipt]) -> list[Receipt]:
        """`renew` every two seconds, for while a read is waited for; else `held` as it is."""
        return self.renew(held) if time.time() - self._looked > LOOK_S else [*held]

    def renew(self, held: Sequence[Receipt] = ()) -> list[Receipt]:
        """Drop what is no longer ours, extend what would end soon: of `held` (complete already), what still is ours.

        A message is extended when less than two thirds of its visibility are left; a troubled one is hidden for
        twice the timeout before the work on it begins. Should it end this worker, it comes back after the messages
        that were received with it, which so get through without it, however few receives they have left.
        """
        is_first = not self._looked
        now = self._looked = time.time()
        numbered: dict[int, Receipt] = {**self._receipts, **{-1 - i: it for i, it in enumerate(held)}}
        for number in [n for n, it in numbered.items() if it.deadline - _MARGIN_S < now]:
            del numbered[number]
        self._extend(numbered, now, is_first=is_first)
        for number in [n for n in self._receipts if n not in numbered]:
            self.expired += 1
            del self._receipts[number], self._messages[number]
        self._receipts = {n: it for n, it in numbered.items() if n >= 0}
        kept = [it for n, it in numbered.items() if n < 0]
        self.expired += len(held) - len(kept)
        return kept

    def _extend(self, numbered: dict[int, Receipt], now: float, *, is_first: bool) -> None:
        for source in self._sources.values():
            if source.queue_url is None:
                continue
            mine = {n: it for n, it in numbered.items() if it.queue_url == source.queue_url}
            if not mine:
                continue
            visibility_s = queue.traits(source).visibility_s
            troubled = {n: it for n, it in mine.items() if is_first and it.is_troubled}
            soon = {n: it for n, it in mine.items() if it.deadline - now < visibility_s * 2 / 3}
            self._hide(numbered, troubled, source, min(2 * visibility_s, queue.LONGEST_VISIBILITY_S))
            self._hide(numbered, {n: it for n, it in soon.items() if n not in troubled}, source, visibility_s)

    def _hide(self, numbered: dict[int, Receipt], those: Mapping[int, Receipt], source: Source, seconds: int) -> None:
        if not those:
            return
        try:
            extended = queue.extend([*those.values()], source.access, seconds)
        except CallFault as fault:
            # What could not be extended is still ours until its deadline.
            log.error("extension_failed: %s", fault, extra={"source": source.name, "error_code": fault.code})
            return
        self.extensions += len(extended)
        for number, receipt in those.items():
            if receipt.handle in extended:
                numbered[number] = extended[receipt.handle]
            else:
                del numbered[number]

    def _trait(self, message: Message) -> queue.QueueTraits:
        return queue.traits(self._sources[message.source])


def reading_order(ref: ObjectRef) -> tuple[str, str, str, str]:
    """Account, day, key and bucket: objects in this order share partitions with their neighbours."""
    found = facts(ref.key)
    return found.account or "", found.day or "", ref.key, ref.bucket
