"""FetchObjects: references become slices of documents.

Objects are read side by side, in order of account and day, inflated, and packed into slices of about 48 MB of text;
a larger object gives several slices. A message's receipt rides on the last slice that it fills. Only this stage
defers an object: what is denied or unreachable stays in the queue, its message keeping no receipt here.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import apache_beam as beam
from apache_beam.metrics import Metrics

from schemas import counters
from schemas.values import LOCAL, Batch, DeadLetter, Document, Message, ObjectPart, ObjectRef, Receipt, Slice
from transforms import in_hand
from transforms.decoding.documents import Opened, open_documents
from transforms.decoding.inflate import Caps
from transforms.dofn import StageFn
from transforms.in_hand import Hand, reading_order
from transforms.stores.aws import Access
from transforms.stores.faults import CallFault
from transforms.stores.objects import Content, read_object, touch_object
from transforms.stores.side_by_side import SideBySide
from transforms.stores.sources import Source

log = logging.getLogger(__name__)

_EVIDENCE_S = 600.0
_GUESSED_BYTES = 256_000
# Files of a folder are read in turn unless one takes longer than it does to hand it to a thread.
_PATIENCE_S = 0.0003

# When an object of (source, bucket) was last read in this process, and which: a 403 beside it tells a missing one.
_readable: dict[tuple[str, str], tuple[float, ObjectRef]] = {}
# The object that was last refused to a source, in this process.
_refused: dict[str, ObjectRef] = {}


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Sizes in bytes: of a slice's text, of the compressed objects in flight; how many reads go on at once."""

    slice_bytes: int = 48_000_000
    caps: Caps = field(default_factory=Caps)
    reads: int = 32
    window_bytes: int = 16_000_000


class Readers(NamedTuple):
    """What reads the files of this machine, and what reads the objects of buckets."""

    near: SideBySide
    far: SideBySide

    @classmethod
    def of(cls, limits: FetchLimits) -> Readers:
        """Readers of as many objects at once as the limits allow."""
        return cls(SideBySide(limits.reads, "read", _PATIENCE_S), SideBySide(limits.reads, "fetch"))


def _group(ref: ObjectRef) -> tuple[str, str]:
    """Account and day of the key: what the object's events mostly belong to."""
    return reading_order(ref)[:2]


class Packer:
    """The slice that is being filled."""

    def __init__(self, slice_bytes: int) -> None:
        self._slice_bytes = slice_bytes
        self._clear()

    def _clear(self) -> None:
        self._bytes = 0
        self._group: tuple[str, str] | None = None
        self._parts: list[ObjectPart] = []
        self._documents: list[Document] = []
        self._letters: list[DeadLetter] = []
        self.receipts: list[Receipt] = []

    def has_room(self, opened: Opened) -> bool:
        """Whether the slice stays within its size with the document too; an empty slice takes anything.

        One that is half full takes no other account and day: fewer slices share a partition.
        """
        if not self._documents:
            return True
        another = _group(opened.ref) != self._group and self._bytes >= self._slice_bytes / 2
        return not another and self._bytes + opened.text_bytes <= self._slice_bytes

    def take(self, part: ObjectPart, opened: Opened | None = None) -> None:
        """Add a part of an object, with its document."""
        if opened is not None:
            self._documents.append(opened.document.but(object_index=len(self._parts)))
            self._bytes += opened.text_bytes
            self._group = _group(part.ref)
        self._parts.append(part)

    def settle(self, message: Message) -> None:
        """Add what a message holds that needs no reading."""
        self._letters += message.dead_letters
        for ref, outcome, reason in message.settled:
            self.take(ObjectPart(message.source, ref, message.receipt, outcome=outcome, reason=reason))
        for letter in message.dead_letters:
            part = ObjectPart(message.source, ObjectRef("", ""), message.receipt, outcome="dead_letter")
            self.take(part.but(reason=letter.reason, dead_letters=1))

    def bury(self, part: ObjectPart, reason: str) -> None:
        """Add an object that can never be read."""
        self._letters.append(DeadLetter("fetch_objects", "object", reason, part.ref))
        self.take(part.but(outcome="dead_letter", reason=reason, dead_letters=1))

    def flush(self, hand: Hand) -> Slice:
        """The slice, with the receipts that are still ours."""
        full = Slice(
            objects=tuple(self._parts),
            receipts=tuple(hand.renew(self.receipts)),
            dead_letters=tuple(self._letters),
            documents=_let_go(deque(self._documents)),
        )
        self._clear()
        return full


def _let_go(documents: deque[Document]) -> Iterator[Document]:
    """Each document once: its text need not outlive its records, while the slice is written."""
    while documents:
        yield documents.popleft()


def fetch_objects(
    messages: Sequence[Message],
    hand: Hand,
    sources: Mapping[str, Source],
    limits: FetchLimits,
    readers: Readers,
) -> Iterator[Slice]:
    """Slices of the messages' objects; the last one may hold receipts and settled objects alone.

    A missing object is a dead letter. A denied, throttled or unreachable one is deferred: a part with the reason,
    and no receipt for its messages. A 403 that may mean either is deferred too, until the queue would give the
    message up; then it is a dead letter, if the same access has read that bucket within ten minutes.
    """
    hand.renew()
    packer = Packer(limits.slice_bytes)
    for message in messages:
        packer.settle(message)
    packer.receipts += hand.complete()

    def watch() -> None:
        packer.receipts = hand.watch(packer.receipts)

    for ref, found in _read_all(hand, sources, limits, readers, watch):
        message_in_hand = hand.first(ref)
        if message_in_hand is None:
            continue
        part = ObjectPart(message_in_hand.source, ref, message_in_hand.receipt)
        deferred = False
        if isinstance(found, CallFault):
            deferred = _fail(packer, part, found, hand, message_in_hand)
        else:
            _readable[part.source, ref.bucket] = time.monotonic(), ref
            for number, opened in enumerate(open_documents(found, limits.slice_bytes, limits.caps)):
                if not packer.has_room(opened):
                    yield packer.flush(hand)
                packer.take(_part_of(part, opened, 0 if number else found.size), opened)
        packer.receipts += hand.finish(ref, deferred=deferred)
    yield packer.flush(hand)


def _part_of(part: ObjectPart, opened: Opened, compressed_bytes: int) -> ObjectPart:
    return part.but(
        ref=opened.ref,
        last=opened.last,
        compressed_bytes=compressed_bytes,
        decompressed_bytes=opened.text_bytes,
    )


def _fail(packer: Packer, part: ObjectPart, fault: CallFault, hand: Hand, message: Message) -> bool:
    """Write the object off or leave it in the queue; whether it was left."""
    if fault.kind == "missing":
        packer.bury(part, str(fault))
        return False
    seen = _readable.get((part.source, part.ref.bucket))
    readable = seen is not None and time.monotonic() - seen[0] < _EVIDENCE_S
    if fault.kind == "denied_or_missing" and readable and hand.near_last_receive(message):
        packer.bury(part, "access denied, while other objects of the bucket can be read: missing, or denied alone")
        return False
    if fault.kind != "transient":
        _refused[part.source] = part.ref
    log.error(
        "object_deferred: %s",
        fault,
        extra={
            "source": part.source,
            "bucket": part.ref.bucket,
            "key": part.ref.key,
            "error_type": fault.kind,
            "error_code": fault.code,
        },
    )
    packer.take(part.but(outcome="deferred", reason=f"{fault.kind}: {fault}"))
    return True


def reads_again(source: Source) -> bool:
    """Whether what was refused to the source can be read now, or what was read from that bucket before.

    Asks S3 alone: a message that is received to find out is used up by and by.
    """
    refused = _refused.get(source.name)
    if refused is None:
        return False
    _, known = _readable.get((source.name, refused.bucket), (0.0, refused))
    for ref in dict.fromkeys((known, refused)):
        try:
            touch_object(ref, source.access)
        except CallFault as fault:
            log.debug("probe_refused: %s", fault)
        else:
            return True
    return False


def _read_all(
    hand: Hand,
    sources: Mapping[str, Source],
    limits: FetchLimits,
    readers: Readers,
    watch: Callable[[], None],
) -> Iterator[tuple[ObjectRef, Content | CallFault]]:
    """Every object that is still wanted, in order; ahead within the limits of count and bytes where threads read.

    `watch` is called while one is waited for.
    """
    wanted = deque(hand.refs())
    running: deque[tuple[ObjectRef, Future[Content | CallFault]]] = deque()
    in_flight = 0
    while wanted or running:
        while wanted and len(running) < limits.reads:
            ref = wanted[0]
            reader = readers.near if ref.bucket == LOCAL else readers.far
            if running and (reader.in_turn or in_flight + _size(ref) > limits.window_bytes):
                break
            wanted.popleft()
            message = hand.first(ref)
            if message is None:
                continue
            access = sources[message.source].access
            if reader.in_turn:
                watch()
                yield ref, reader.here(_read, ref, access)
                continue
            running.append((ref, reader.submit(_read, ref, access)))
            in_flight += _size(ref)
        if running:
            ref, future = running.popleft()
            in_flight -= _size(ref)
            watch()
            while not wait([future], in_hand.LOOK_S).done:
                watch()
            yield ref, future.result()


def _read(ref: ObjectRef, access: Access) -> Content | CallFault:
    try:
        return read_object(ref, access)
    except CallFault as fault:
        return fault


def _size(ref: ObjectRef) -> int:
    return _GUESSED_BYTES if ref.size is None else ref.size


@dataclass(eq=False)
class FetchObjects(beam.PTransform[Any, Any]):
    """Batch in, Slices out, each holding at most `limits.slice_bytes` of text (or one larger record)."""

    sources: Mapping[str, Source]
    limits: FetchLimits = field(default_factory=FetchLimits)

    def expand(self, batches: Any) -> Any:
        """Read each batch."""
        return batches | beam.ParDo(_Fetch(dict(self.sources), self.limits)).with_output_types(Slice)


class _Fetch(StageFn):
    def __init__(self, sources: Mapping[str, Source], limits: FetchLimits) -> None:
        self._sources, self._limits = sources, limits
        self._expired = Metrics.counter(counters.NAMESPACE, counters.MESSAGES_EXPIRED)
        self._extensions = Metrics.counter(counters.NAMESPACE, counters.VISIBILITY_EXTENSIONS)
        self._denied = Metrics.counter(counters.NAMESPACE, counters.OBJECTS_DENIED)
        self._denied_of = {name: Metrics.counter(counters.DENIED, name) for name in sources}

    def setup(self) -> None:
        self._readers = Readers.of(self._limits)

    def teardown(self) -> None:
        for each in self._readers:
            each.shutdown()

    def process(self, batch: Batch) -> Iterator[Slice]:
        hand = Hand(batch.messages, self._sources)
        for filled in fetch_objects(batch.messages, hand, self._sources, self._limits, self._readers):
            for part in filled.objects:
                if _is_denial(part):
                    self._denied.inc()
                    self._denied_of[part.source].inc()
            yield filled
        self._expired.inc(hand.expired)
        self._extensions.inc(hand.extensions)


def _is_denial(part: ObjectPart) -> bool:
    return part.outcome == "deferred" and not str(part.reason).startswith("transient")
