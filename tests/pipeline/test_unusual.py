"""Analytics over one invented organisation: for each question somebody of whom it tells, and others who come near."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet
from support.credentials import role, use, user
from support.records import ACCOUNT, OTHER, event_id
from support.replaying import replay_records

from pipeline.alerting import alerts
from pipeline.commands import load
from pipeline.config import Config
from transforms.rules.sigma import RuleSet

NO_RULES = RuleSet((), (), (), ())
USUAL, ODD = (0, 6, 12, 18), 20
THIRD, FOURTH = "555566667777", "888899990000"
HOME, NEIGHBOUR, FAR, CLOUD, TUNNEL = "81.2.69.1", "84.112.1.1", "175.45.176.1", "3.5.1.1", "23.129.64.1"
WAY_OUT, NEW_WAY = "62.96.10.1", "62.96.99.1"
COUNTRIES = {HOME: "DE", NEIGHBOUR: "AT", FAR: "KP", CLOUD: "US", TUNNEL: "US", WAY_OUT: "DE", NEW_WAY: "DE"}
SYSTEMS = {HOME: 3320, NEIGHBOUR: 3320, FAR: 131279, CLOUD: 16509, TUNNEL: 3320, WAY_OUT: 3320, NEW_WAY: 3320}
LISTED = """
DescribeInstances DescribeVpcs DescribeSubnets DescribeSnapshots DescribeVolumes DescribeImages DescribeKeyPairs
DescribeSecurityGroups DescribeRouteTables DescribeRegions DescribeAddresses DescribeTags DescribeNatGateways
DescribeNetworkAcls DescribeInternetGateways DescribeFlowLogs DescribeHosts DescribeVpcEndpoints DescribeInstanceTypes
DescribeVpcPeeringConnections DescribeLaunchTemplates DescribePlacementGroups DescribeVpnConnections
DescribeCustomerGateways
"""
CREATED = """
User Role Policy AccessKey LoginProfile InstanceProfile PolicyVersion SAMLProvider OpenIDConnectProvider
ServiceLinkedRole VirtualMFADevice AccountAlias
"""
MANY = 25

Records = list[Any]


def person(name: str, account: str = ACCOUNT) -> dict[str, Any]:
    return user(name, f"AKIA{name.upper()}", account)


def instance(number: int, account: str = OTHER) -> dict[str, Any]:
    session, key = f"i-{number:08x}", f"ASIA{account}{number}"
    return role(0, key, name="app", session=session, account=account, role_id=f"AROA{account}", ec2RoleDelivery="2.0")


def call(who: dict[str, Any], day: int, time: str = "01:00", tag: object = "", **members: Any) -> Any:
    moment = f"{date(2024, 1, 1) + timedelta(days=day)}T{time}:00Z"
    service, operation = members.pop("what", "iam:ListRoles").split(":")
    defaults = {
        "eventTime": moment,
        "eventSource": f"{service}.amazonaws.com",
        "eventName": operation,
        "sourceIPAddress": HOME,
        "userAgent": "aws-cli/2.15.0",
    }
    return use(f"{who['arn']} {moment} {tag}", 0, who, **defaults | members)


def usual(who: dict[str, Any], **members: Any) -> Records:
    return [call(who, day, **members) for day in USUAL]


def many(who: dict[str, Any], days: Iterable[int], count: int, what: str) -> Records:
    return [
        call(who, day, "02:00", n, what=what, resources=[{"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::b/{n}"}])
        for day in days
        for n in range(count)
    ]


def listing(who: dict[str, Any], days: Iterable[int], count: int) -> Records:
    return [call(who, day, "02:00", it, what=f"ec2:{it}") for day in days for it in LISTED.split()[:count]]


def organisation() -> Records:
    records: Records = []
    # The first time of an operation: Olga's; Otto only reads; Rita does new things often; Petra's peers do it.
    for name in ("olga", "otto", "rita"):
        records += usual(person(name))
    records.append(call(person("olga"), ODD, what="iam:CreateUser"))
    records.append(call(person("otto"), ODD, what="iam:GetUser"))
    records += [call(person("rita"), 12, "03:00", it, what=f"ec2:{it}") for it in LISTED.split()[:10]]
    records += [call(person("rita"), 12, "04:00", n, what=f"iam:Create{it}") for n, it in enumerate(CREATED.split())]
    records.append(call(person("rita"), ODD, what="iam:CreateGroup"))
    for name in ("pia", "paul", "pim", "petra"):
        records += usual(person(name, THIRD))
    records += [call(person(name, THIRD), 6, "03:00", what="ec2:RunInstances") for name in ("pia", "paul")]
    records.append(call(person("petra", THIRD), ODD, what="ec2:RunInstances"))
    # Places and tools.
    for name in ("carla", "cora", "tom", "vera", "vito", "wanda", "walt"):
        records += usual(person(name))
    records.append(call(person("carla"), ODD, "06:00", sourceIPAddress=FAR))
    records.append(call(person("cora"), ODD, "06:00", sourceIPAddress=CLOUD))
    records.append(call(person("tom"), ODD, userAgent="APN/1.0 HashiCorp/1.0 Terraform/1.6.0"))
    for name, address, time in (
        *(("vera", FAR, "01:20"), ("vito", TUNNEL, "01:20"), ("wanda", NEIGHBOUR, "01:20")),
        ("walt", NEIGHBOUR, "03:20"),
    ):
        records += [call(person(name), ODD), call(person(name), ODD, time, sourceIPAddress=address)]
    records += [call(person("wanda"), day, "01:20", sourceIPAddress=NEIGHBOUR) for day in (6, 12)]
    # Instances: the first is taken from; the second moves to the first's way out and to AWS.
    records += usual(instance(1), sourceIPAddress=WAY_OUT) + usual(instance(2), sourceIPAddress=NEW_WAY)
    records.append(call(instance(1), ODD, "02:00", sourceIPAddress=FAR))
    records.append(call(instance(2), ODD, "02:00", sourceIPAddress=WAY_OUT))
    records.append(call(instance(2), ODD, "03:00", sourceIPAddress=CLOUD))
    # In another account all instances have a new way out.
    for number in range(3):
        records += usual(instance(number, FOURTH), sourceIPAddress=WAY_OUT)
        records.append(call(instance(number, FOURTH), ODD, sourceIPAddress=NEW_WAY))
    # Volumes: somebody of whom it is unusual, somebody who does it always, somebody who does too little of it.
    for name in ("emil", "emma", "enno", "dora", "dirk", "kurt", "karl", "dana", "dave"):
        records += usual(person(name))
    records += listing(person("emil"), [ODD], 24)
    records += listing(person("emma"), [*USUAL, ODD], 24)
    records += listing(person("enno"), [ODD], 18)
    records += many(person("dora"), [ODD], MANY, "s3:DeleteObject")
    records += many(person("dirk"), [*USUAL, ODD], MANY, "s3:DeleteObject")
    records += many(person("kurt"), [ODD], MANY, "s3:CopyObject")
    key = [{"type": "AWS::KMS::Key", "ARN": f"arn:aws:kms:eu-west-1:{THIRD}:key/1"}]
    records += usual(person("kim"))
    records += [call(person("kim"), ODD, "02:00", n, what="kms:GenerateDataKey", resources=key) for n in range(MANY)]
    records += many(person("karl"), [*USUAL, ODD], MANY, "s3:CopyObject")
    records += many(person("dana"), [ODD], 210, "s3:GetObject")
    records += many(person("dave"), USUAL, 50, "s3:GetObject") + many(person("dave"), [ODD], 210, "s3:GetObject")
    # Where peers delete as much, it is nobody's.
    for name in ("ada", "abe", "amy"):
        records += usual(person(name, FOURTH))
    records += [it for name in ("ada", "abe") for it in many(person(name, FOURTH), USUAL, MANY, "s3:DeleteObject")]
    records += many(person("amy", FOURTH), [ODD], MANY, "s3:DeleteObject")
    return records


@pytest.fixture(scope="module")
def enrichment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("enrichment")
    told: dict[str, dict[str, dict[str, Any]]] = {
        "country": {address: {"country": {"iso_code": code}} for address, code in COUNTRIES.items()},
        "asn": {
            address: {"autonomous_system_number": number, "autonomous_system_organization": f"Net {number}"}
            for address, number in SYSTEMS.items()
        },
    }
    for name, networks in told.items():
        writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type=f"Test-{name}")
        for address, value in networks.items():
            writer.insert_network(IPSet([f"{address}/32"]), value)
        writer.to_db_file(str(folder / f"{name}.mmdb"))
    (folder / "aws.json").write_text('{"prefixes": [{"ip_prefix": "3.5.0.0/16", "region": "eu", "service": "EC2"}]}')
    (folder / "vpn.txt").write_text(f"{TUNNEL}\n")
    return {
        "country": str(folder / "country.mmdb"),
        "asn": str(folder / "asn.mmdb"),
        "aws": [str(folder / "aws.json")],
        "vpn": [str(folder / "vpn.txt")],
    }


def keep(output: Path, enrichment: dict[str, Any], *objects: Sequence[Any]) -> Config:
    return replay_records(load(output=str(output), enrichment=enrichment), *objects)


def evaluated(config: Config) -> list[dict[str, Any]]:
    alerts.evaluate(config.root(), NO_RULES)
    with alerts.connect(config.root()) as connection:
        asked = "SELECT * EXCLUDE (evaluated_time) FROM alerts ORDER BY alert_id"
        rows: list[dict[str, Any]] = connection.sql(asked).to_arrow_table().to_pylist()
    return rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, enrichment: dict[str, Any]) -> list[dict[str, Any]]:
    return evaluated(keep(tmp_path_factory.mktemp("one") / "out", enrichment, organisation()))


@pytest.mark.parametrize(
    ("rule", "who"),
    [
        ("first-operation", {"olga", "dora", "kurt", "kim"}),
        ("first-country", {"carla", "vera", "vito", "walt", "i-00000001"}),
        ("first-network", {"carla", "vera", "i-00000001"}),
        ("first-tool", {"tom"}),
        ("impossible-travel", {"vera"}),
        ("instance-outside", {"i-00000001"}),
        ("enumeration", {"emil"}),
        ("mass-deletion", {"dora"}),
        ("mass-encryption", {"kurt", "kim"}),
        ("data-reads", {"dana"}),
    ],
)
def test_each_question_tells_of_whom_it_is_unusual_and_of_nobody_else(
    rows: list[dict[str, Any]], rule: str, who: set[str]
) -> None:
    assert {row["root_identity"] for row in rows if row["rule_id"] == rule} == who


def one(rows: list[dict[str, Any]], rule: str, who: str) -> dict[str, Any]:
    (row,) = [row for row in rows if (row["rule_id"], row["root_identity"]) == (rule, who)]
    return row


def test_a_first_time_is_told_with_the_value_and_how_new_it_is_to_others(rows: list[dict[str, Any]]) -> None:
    row = one(rows, "first-operation", "olga")
    assert row["seen"] == ["operation=iam:CreateUser", "peers_before=1 of 19", "others_before=1", "score=0.66"]
    assert row["evidence"] == [event_id(f"{person('olga')['arn']} 2024-01-21T01:00:00Z ")]
    assert row["explanation"].startswith("First time that an operation is called: olga, 1 event in account 1111")


def test_travel_is_told_with_both_ends_and_the_time_between(rows: list[dict[str, Any]]) -> None:
    row = one(rows, "impossible-travel", "vera")
    assert row["seen"] == [f"from=DE ({HOME}) to=KP ({FAR}) in 20 minutes", "score=0.83"]
    both = [event_id(f"{person('vera')['arn']} 2024-01-21T{time}:00Z ") for time in ("01:00", "01:20")]
    assert row["evidence"] == sorted(both)


def test_a_stolen_credential_is_told_with_the_instance_and_whose_address_it_is(rows: list[dict[str, Any]]) -> None:
    row = one(rows, "instance-outside", "i-00000001")
    assert row["seen"] == [
        *(f"address={FAR} (PUBLIC, KP, Net 131279)", "instances=i-00000001", "roles=app"),
        *("new_addresses_before=0", "score=1.00"),
    ]
    assert len(row["evidence"]) == 1


def test_a_volume_is_told_with_what_is_usual_for_the_identity_and_its_peers(rows: list[dict[str, Any]]) -> None:
    row = one(rows, "mass-deletion", "dora")
    assert row["seen"] == [
        *(f"deletions={MANY}", "usual=0.0", "peers_usual=0.0", "resources=25", "operations=DeleteObject"),
        "score=0.96",
    ]
    assert row["events"] == len(row["evidence"]) == MANY


def test_keys_of_another_account_are_told(rows: list[dict[str, Any]]) -> None:
    assert f"of_other_accounts={THIRD}" in one(rows, "mass-encryption", "kim")["seen"]
    assert not any("of_other_accounts" in it for it in one(rows, "mass-encryption", "kurt")["seen"])


def test_answers_do_not_depend_on_how_events_came(
    rows: list[dict[str, Any]], tmp_path: Path, enrichment: dict[str, Any]
) -> None:
    records = organisation()
    cut = keep(tmp_path / "out", enrichment, records[700:], records[::-3], records[:900], records[1::2])
    assert evaluated(cut) == rows


LOCATED = {HOME: (52.5, 13.4), NEIGHBOUR: (48.2, 16.4), FAR: (48.9, 2.4), TUNNEL: (39.0, 125.8)}


@pytest.fixture(scope="module")
def located(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("located")
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-City", float_type="f64")
    for address, (latitude, longitude) in LOCATED.items():
        place = {"latitude": latitude, "longitude": longitude}
        writer.insert_network(IPSet([f"{address}/32"]), {"country": {"iso_code": "XX"}, "location": place})
    writer.to_db_file(str(folder / "city.mmdb"))
    return {"country": str(folder / "city.mmdb")}


@pytest.mark.parametrize(
    ("address", "time", "minutes", "told"),
    [
        # Berlin to Paris, Vienna and Pyongyang.
        *((FAR, "01:50", 50, True), (FAR, "01:55", 55, False)),
        *((NEIGHBOUR, "01:20", 20, True), (NEIGHBOUR, "01:40", 40, False)),
        *((TUNNEL, "08:00", 420, True), (TUNNEL, "10:00", 540, False)),
    ],
)
def test_where_locations_are_known_travel_is_judged_by_its_speed(
    tmp_path: Path, located: dict[str, Any], address: str, time: str, minutes: int, told: bool
) -> None:
    vera = person("vera")
    records = [*usual(vera), call(vera, ODD), call(vera, ODD, time, sourceIPAddress=address)]
    found = evaluated(keep(tmp_path / "out", located, records))
    rows = [row for row in found if row["rule_id"] == "impossible-travel"]
    assert len(rows) == told
    for row in rows:
        way, kilometres = row["seen"][0].removesuffix(" km").rsplit(", ", 1)
        assert way == f"from=XX ({HOME}) to=XX ({address}) in {minutes} minutes"
        assert int(kilometres) == pytest.approx(great_circle(LOCATED[HOME], LOCATED[address]), abs=5)


def great_circle(one: tuple[float, float], other: tuple[float, float]) -> float:
    (a, b), (c, d) = [[math.radians(it) for it in place] for place in (one, other)]
    return 6371 * math.acos(math.sin(a) * math.sin(c) + math.cos(a) * math.cos(c) * math.cos(b - d))


def test_a_late_event_moves_a_first_time_and_supersedes_its_alert(tmp_path: Path, enrichment: dict[str, Any]) -> None:
    olga = person("olga")
    made = [*usual(olga), call(olga, ODD, what="iam:CreateUser")]
    (before,) = evaluated(keep(tmp_path / "out", enrichment, made))
    late = call(olga, 17, what="iam:CreateUser")
    after = {row["alert_id"]: row for row in evaluated(keep(tmp_path / "out", enrichment, [late]))}
    assert len(after) == 2
    assert after.pop(before["alert_id"])["status"] == "superseded"
    (row,) = after.values()
    assert (row["status"], row["first_seen"].day) == ("open", 18)
