from __future__ import annotations

import gzip
import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec
import pytest

from pipeline.demo.organisation import organisation
from pipeline.demo.trail import Trail

Record = dict[str, Any]

KEY = re.compile(
    r"(AWSLogs/o-exampleorg|security-archive/AWSLogs)/(?P<account>\d{12})/CloudTrail/(?P<region>[a-z]+-[a-z]+-\d)"
    r"/(?P<day>\d{4}/\d\d/\d\d)/(?P=account)_CloudTrail_(?P=region)_(?P<stamp>\d{8}T\d{4}Z)_[A-Za-z0-9]{16}\.json\.gz"
)
DOCUMENTATION = [ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]


@dataclass(frozen=True)
class Parsed:
    """What an independent reader finds in the objects."""

    trail: Trail
    objects: dict[str, bytes]
    records: dict[str, list[Record]]
    broken: list[str]

    def events(self) -> Iterator[tuple[str, Record]]:
        for key, records in self.records.items():
            for record in records:
                if "eventTime" in record:
                    yield key, record

    def distinct(self) -> dict[str, Record]:
        return {record["eventID"]: record for _, record in self.events()}


def parse(trail: Trail) -> Parsed:
    objects = dict(trail)
    records: dict[str, list[Record]] = {}
    broken = []
    for key, body in objects.items():
        try:
            records[key] = json.loads(gzip.decompress(body)).get("Records", [])
        except (EOFError, gzip.BadGzipFile):
            broken.append(key)
    return Parsed(trail, objects, records, broken)


@pytest.fixture(scope="module")
def demo() -> Parsed:
    return parse(organisation())


def seconds(record: Record) -> float:
    return datetime.fromisoformat(record["eventTime"]).timestamp()


def delivered_until(key: str) -> float:
    match = KEY.fullmatch(key)
    assert match
    return datetime.strptime(match["stamp"], "%Y%m%dT%H%MZ").replace(tzinfo=UTC).timestamp() + 300


def test_the_demo_is_as_large_as_it_says(demo: Parsed) -> None:
    events = list(demo.events())
    assert len(demo.distinct()) == demo.trail.events == 20_000
    assert len(events) == demo.trail.delivered > 22_000
    assert len(demo.objects) == len(demo.trail) > 400
    assert len({event["recipientAccountId"] for _, event in events}) == 4
    assert len({event["awsRegion"] for _, event in events}) == 4
    assert {event["eventTime"][:10] for _, event in events} == {"2026-01-12", "2026-01-13"}


def test_the_same_seed_gives_the_same_bytes_in_the_same_order() -> None:
    small = {"objects": 60, "events": 1500}
    assert list(organisation(seed=5, **small)) == list(organisation(seed=5, **small))
    assert dict(organisation(seed=5, **small)) != dict(organisation(seed=6, **small))


def test_a_trail_can_be_read_twice(demo: Parsed) -> None:
    again = dict(itertools.islice(demo.trail, 20))
    assert again == {key: demo.objects[key] for key in again}


def test_keys_follow_the_layout_of_a_trail_and_agree_with_the_records(demo: Parsed) -> None:
    for key, record in demo.events():
        match = KEY.fullmatch(key)
        assert match
        assert (match["account"], match["region"]) == (record["recipientAccountId"], record["awsRegion"])
        assert match["stamp"][:8] == match["day"].replace("/", "")
    others = {key for key in demo.objects if not KEY.fullmatch(key)}
    assert others == set(demo.trail.keys_of("digest"))


def test_repeated_events_are_the_same_bytes(demo: Parsed) -> None:
    seen: dict[str, set[bytes]] = defaultdict(set)
    for key in demo.records:
        document = msgspec.json.decode(gzip.decompress(demo.objects[key]), type=dict[str, msgspec.Raw])
        for record in msgspec.json.decode(document.get("Records", b"[]"), type=list[msgspec.Raw]):
            seen[json.loads(bytes(record))["eventID"]].add(bytes(record))
    assert all(len(texts) == 1 for texts in seen.values())


def test_the_second_trail_repeats_one_account_until_it_is_stopped(demo: Parsed) -> None:
    attack = demo.trail.attack
    assert attack
    second = [(key, event) for key, event in demo.events() if key.startswith("security-archive/")]
    assert {event["recipientAccountId"] for _, event in second} == {attack.second_account}
    assert max(delivered_until(key) for key, _ in second) <= attack.trail_stopped + 300
    first = {event["eventID"] for key, event in demo.events() if key.startswith("AWSLogs/")}
    assert {event["eventID"] for _, event in second} < first
    assert len(second) > 4_000


def test_delivery_is_late_and_out_of_order(demo: Parsed) -> None:
    keys = [key for key in demo.objects if KEY.fullmatch(key)]
    backwards = sum(delivered_until(a) > delivered_until(b) for a, b in itertools.pairwise(keys))
    assert backwards > len(keys) // 3
    late = [delivered_until(key) - seconds(event) for key, event in demo.events()]
    assert min(late) > 0
    assert max(late) > 5 * 3600
    assert not all(
        list(map(seconds, records)) == sorted(map(seconds, records))
        for records in demo.records.values()
        if all("eventTime" in record for record in records)
    )


def test_the_bad_things_are_in_it_and_nothing_else_is_bad(demo: Parsed) -> None:
    assert demo.broken == demo.trail.keys_of("truncated")
    assert len(demo.broken) == 1
    (spoiled,) = demo.trail.keys_of("bad record")
    without_time = {key: [r for r in records if "eventTime" not in r] for key, records in demo.records.items()}
    assert {key: len(bad) for key, bad in without_time.items() if bad} == {spoiled: 1}
    assert len(demo.records[spoiled]) > 10
    assert len(demo.trail.keys_of("digest")) == 8


def test_records_look_like_those_of_cloudtrail(demo: Parsed) -> None:
    distinct = demo.distinct().values()
    sizes = [len(json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode()) for event in distinct]
    assert 1_200 < sum(sizes) / len(sizes) < 1_600
    assert {event["eventVersion"] for event in distinct} == {"1.08", "1.09", "1.10", "1.11"}
    assert {event["userIdentity"]["type"] for event in distinct} == {
        "IAMUser",
        "AssumedRole",
        "AWSService",
        "AWSAccount",
        "SAMLUser",
        "WebIdentityUser",
    }
    codes = Counter(event.get("errorCode") for event in distinct)
    assert {"AccessDenied", "ThrottlingException", "Client.UnauthorizedOperation", "Failure"} < codes.keys()
    assert codes[None] > 0.9 * len(distinct)
    assert {event["eventCategory"] for event in distinct} == {"Management", "Data"}
    assert len({event["eventSource"] for event in distinct}) >= 11


def test_addresses_are_documentation_addresses_or_names_of_services(demo: Parsed) -> None:
    addresses = {event["sourceIPAddress"] for event in demo.distinct().values()}
    numbers = {ip_address(text) for text in addresses if not text.endswith(".amazonaws.com")}
    assert all(any(number in net for net in DOCUMENTATION if net.version == number.version) for number in numbers)
    assert {number.version for number in numbers} == {4, 6}
    assert len(numbers) < len(addresses)


def test_a_cross_account_assume_role_is_logged_in_both_accounts(demo: Parsed) -> None:
    shared: dict[str, list[Record]] = defaultdict(list)
    for event in demo.distinct().values():
        if event["eventName"] == "AssumeRole" and "sharedEventID" in event:
            shared[event["sharedEventID"]].append(event)
    pairs = [events for events in shared.values() if len(events) > 1]
    assert len(pairs) > 10
    for pair in pairs:
        mine, theirs = sorted(pair, key=lambda event: event["userIdentity"]["type"] == "AWSAccount")
        assert theirs["userIdentity"]["type"] == "AWSAccount"
        assert theirs["userIdentity"]["accountId"] == mine["recipientAccountId"] != theirs["recipientAccountId"]
        assert theirs["userIdentity"]["principalId"] == mine["userIdentity"]["principalId"]
        assert theirs["responseElements"] == mine["responseElements"]


def test_every_role_session_is_used_after_it_was_issued(demo: Parsed) -> None:
    issued = {}
    for event in demo.distinct().values():
        credentials = (event.get("responseElements") or {}).get("credentials")
        if credentials:
            issued[credentials["accessKeyId"]] = event["eventTime"]
    unknown = set()
    for event in demo.distinct().values():
        identity = event["userIdentity"]
        if identity["type"] != "AssumedRole":
            continue
        created = identity["sessionContext"]["attributes"]["creationDate"]
        assert created <= event["eventTime"]
        if issued.get(identity["accessKeyId"]) != created:
            unknown.add(created)
    assert all(created < "2026-01-12" for created in unknown), "issued within the days, yet its issue is not there"


def test_the_attack_can_be_found(demo: Parsed) -> None:
    attack = demo.trail.attack
    assert attack
    events = sorted(demo.distinct().values(), key=seconds)
    stolen = [e for e in events if e["sourceIPAddress"] == "203.0.113.66"]
    assert all(attack.begin <= seconds(event) <= attack.end for event in stolen)

    thief = [e for e in stolen if e["userIdentity"].get("accessKeyId") == attack.leaked_key]
    elsewhere = [e for e in events if e["userIdentity"].get("accessKeyId") == attack.leaked_key and e not in thief]
    assert elsewhere
    assert {event["recipientAccountId"] for event in thief} == {attack.first_account}
    assert sum("errorCode" in event for event in thief) > 20

    steps = [e["eventName"] for e in stolen if e["recipientAccountId"] == attack.second_account]
    marks = [
        "AssumeRole",
        "CreateAccessKey",
        "ListSecrets",
        "GetSecretValue",
        "GetObject",
        "StopLogging",
        "DeleteTrail",
    ]
    assert sorted(marks, key=steps.index) == marks
    assert steps.count("GetObject") > 200

    staying = [e for e in events if e["userIdentity"].get("accessKeyId") == attack.created_key]
    assert {event["sourceIPAddress"] for event in staying} == {"2001:db8:bad::66"}


@pytest.mark.parametrize(("objects", "events"), [(40, 40_000), (300, 3_750)])
def test_a_clean_trail_holds_exactly_what_was_asked_for(objects: int, events: int) -> None:
    parsed = parse(organisation(clean=True, objects=objects, events=events))
    assert parsed.trail.attack is None
    assert not parsed.broken
    assert len(parsed.objects) == objects
    assert sum(map(len, parsed.records.values())) == len(parsed.distinct()) == events


def test_objects_can_be_of_even_size() -> None:
    trail = organisation(clean=True, accounts=1, regions=1, days=1, objects=10, events=10_000, spread=0)
    assert all(abs(len(records) - 1_000) < 30 for records in parse(trail).records.values())


def test_variety_means_less_repetition() -> None:
    usual, varied = (
        parse(organisation(clean=True, objects=32, events=8_000, variety=variety)).distinct().values()
        for variety in (1, 20)
    )
    for fields in (("userIdentity",), ("userAgent",), ("sourceIPAddress",), ("eventSource", "eventName")):
        before, after = (len({json.dumps([e[f] for f in fields]) for e in events}) for events in (usual, varied))
        assert after > 4 * before, fields


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"accounts": 2}, "accounts must be at least 3"),
        ({"regions": 9}, "regions must be 1 to 7, not 9"),
        ({"days": 0}, "days must be at least 1, not 0"),
        ({"objects": 15}, "objects must be at least accounts x regions = 16, not 15"),
        ({"events": 300}, "events must be at least .*, not 300"),
        ({"variety": 0}, "variety must be at least 1, not 0"),
        ({"spread": 1.5}, "spread must be 0 to 1, not 1.5"),
    ],
)
def test_numbers_that_give_no_trail_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        organisation(**wrong)
