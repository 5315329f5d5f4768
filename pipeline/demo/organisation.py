"""Plan a seeded organisation's CloudTrail bucket: the demo's trail, and the benchmarks' workloads.

The plan is small and made at once: account, region, window of time, number of records and key of each object, and
the order of delivery. The records of an object are drawn when it is yielded, by a chance of its own: a trail of any
size streams, and two trails deliver the same event in the same bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from random import Random

from pipeline.demo.calls import ORDINARY, more
from pipeline.demo.everyday import Everyday
from pipeline.demo.layout import ARCHIVE, ORGANISATION, digest_key, digest_object, trail_key
from pipeline.demo.population import HOUR_S, populate
from pipeline.demo.records import Planted
from pipeline.demo.story import Attack, attack
from pipeline.demo.trail import Delivery, Piece, Slot, Trail

ACCOUNTS = ("111122223333", "444455556666", "777788889999", "012345678901", "123456789012", "555566667777")
REGIONS = ("us-east-1", "eu-central-1", "eu-west-1", "ap-southeast-2", "us-west-2", "sa-east-1", "ap-northeast-1")
BUCKET = "exampleorg-trail"
START = int(datetime(2026, 1, 12, tzinfo=UTC).timestamp())
_DAY_S = 24 * HOUR_S
_ATTACK_HOUR = 20


@dataclass(frozen=True)
class _Extent:
    """Where and how long. The first region is home to the services that are not regional."""

    accounts: tuple[str, ...]
    regions: tuple[str, ...]
    days: int

    @property
    def places(self) -> list[tuple[str, str]]:
        return [(account, region) for account in self.accounts for region in self.regions]

    @property
    def end(self) -> int:
        """When the last object is delivered: so early that its key still carries the last day."""
        return START + self.days * _DAY_S - 300


def organisation(
    *,
    seed: int = 1,
    accounts: int = 4,
    regions: int = 4,
    days: int = 2,
    objects: int = 400,
    events: int = 20_000,
    variety: int = 1,
    spread: float = 0.6,
    clean: bool = False,
) -> Trail:
    """The trail of an organisation: `events` distinct events in `objects` objects, and what a bucket holds besides.

    Besides: a second trail that delivers one account's events again, a truncated object, a bad record in another,
    digests, and an attack (its records are among `events`). `clean` leaves all of that out.
    `variety` multiplies sessions, addresses and agents, and beyond 1 adds further operations. An object holds
    `1 - spread` to `1 + spread` times the mean number of records, before sessions and attack come in.
    Raises ValueError for numbers that give no trail.
    """
    _check(accounts, regions, days, objects, variety, spread, fewest_accounts=1 if clean else 3)
    rng = Random(seed)  # noqa: S311
    extent = _Extent(_accounts(accounts), REGIONS[:regions], days)
    population = populate(rng, extent.accounts, extent.regions, START, 24 * days, variety)
    everyday = Everyday(population, START, extent.regions[0], ORDINARY + (more(20 * variety) if variety > 1 else ()))
    story = None if clean else _attack(rng, extent, everyday)

    planted = population.planted + (story.records if story else ())
    if len(planted) > events:
        raise ValueError(f"events must be at least {len(planted)}, the sessions and the attack alone, not {events}")
    counts = _shares(rng, events - len(planted), objects, spread)
    slots = list(_slots(extent, counts, planted))

    deliveries = [_delivery(rng, slot) for slot in slots]
    if story:
        deliveries = [*_with_faults(rng, deliveries), *_second_trail(rng, slots, story), *_digests(extent)]
    rng.shuffle(deliveries)
    return Trail(tuple(deliveries), events, story, everyday, seed)


def _check(
    accounts: int, regions: int, days: int, objects: int, variety: int, spread: float, *, fewest_accounts: int
) -> None:
    if accounts < fewest_accounts:
        raise ValueError(
            f"accounts must be at least {fewest_accounts} for the trail that was asked for, not {accounts}"
        )
    if not 1 <= regions <= len(REGIONS):
        raise ValueError(f"regions must be 1 to {len(REGIONS)}, not {regions}")
    if days < 1:
        raise ValueError(f"days must be at least 1, not {days}")
    if objects < accounts * regions:
        raise ValueError(f"objects must be at least accounts x regions = {accounts * regions}, not {objects}")
    if variety < 1:
        raise ValueError(f"variety must be at least 1, not {variety}")
    if not 0 <= spread <= 1:
        raise ValueError(f"spread must be 0 to 1, not {spread}")


def _accounts(count: int) -> tuple[str, ...]:
    return (ACCOUNTS + tuple(f"{100_000_000_000 + n}" for n in range(count)))[:count]


def _attack(rng: Random, extent: _Extent, everyday: Everyday) -> Attack:
    _, first, second, *_ = extent.accounts
    victim = everyday.population.standing[first]["pipeline"][0]
    begin = START + (extent.days - 1) * _DAY_S + _ATTACK_HOUR * HOUR_S
    return attack(rng, victim, second, extent.regions, begin)


def _shares(rng: Random, total: int, parts: int, spread: float) -> list[int]:
    """`parts` whole numbers around their mean that add up to `total`."""
    sums = [0.0, *accumulate(rng.uniform(1 - spread, 1 + spread) for _ in range(parts))]
    return [high - low for low, high in pairwise(round(total * part / sums[-1]) for part in sums)]


def _slots(extent: _Extent, counts: Sequence[int], planted: Iterable[Planted]) -> Iterator[Slot]:
    """Divide the days of each account and region into windows; each planted record goes where its time lies."""
    here: dict[tuple[str, str], list[Planted]] = defaultdict(list)
    for record in planted:
        here[record.account, record.region].append(record)
    places, first = extent.places, 0
    for number, place in enumerate(places):
        windows = len(counts) // len(places) + (number < len(counts) % len(places))
        edges = [START + (extent.end - START) * n // windows for n in range(windows + 1)]
        within: dict[int, list[Planted]] = defaultdict(list)
        for record in here[place]:
            within[min(bisect_left(edges, record.at, lo=1), windows) - 1].append(record)
        for n, (begin, end) in enumerate(pairwise(edges)):
            yield Slot(first + n, *place, begin, end, counts[first + n], tuple(within[n]))
        first += windows


def _delivery(rng: Random, slot: Slot) -> Delivery:
    key = trail_key(rng, ORGANISATION, slot.account, slot.region, slot.end)
    return Delivery(key, (Piece(slot, 0, slot.events),))


def _with_faults(rng: Random, deliveries: Sequence[Delivery]) -> Iterator[Delivery]:
    """One object gets a bad record among the good ones; another comes once more, cut short on its way."""
    spoiled, again = rng.sample(deliveries, 2)
    for delivery in deliveries:
        yield replace(delivery, kind="bad record") if delivery is spoiled else delivery
    yield replace(_delivery(rng, again.pieces[0].slot), kind="truncated")


def _second_trail(rng: Random, slots: Iterable[Slot], story: Attack) -> Iterator[Delivery]:
    """The second account's own trail: the same records cut at other places, until the intruder stops it."""
    by_region: dict[str, list[Slot]] = defaultdict(list)
    for slot in slots:
        if slot.account == story.second_account and slot.end <= story.trail_stopped:
            by_region[slot.region].append(slot)
    for along in by_region.values():
        for before, after in pairwise(along):
            key = trail_key(rng, ARCHIVE, after.account, after.region, after.end)
            halves = Piece(before, before.events // 2, before.events), Piece(after, 0, after.events // 2)
            yield Delivery(key, halves)


def _digests(extent: _Extent) -> Iterator[Delivery]:
    region = extent.regions[0]
    for account in extent.accounts:
        for noon in range(START + _DAY_S // 2, extent.end, _DAY_S):
            document = digest_object(BUCKET, account, noon - HOUR_S, noon)
            yield Delivery(digest_key(account, region, noon), kind="digest", document=document)
