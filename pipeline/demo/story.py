"""The attack inside the trail: a build user's leaked key, and where it leads.

1. The long-term key of `ci-deploy` is used from an address that nobody used before.
2. Whoever holds it looks around in every region and is mostly denied.
3. It assumes a role of a second account, logged in both.
4. There it makes an access key for another user, to stay, and tries it from yet another address.
5. It reads secrets, then hundreds of objects of one bucket.
6. It stops the trail of that account, and fails to delete the organisation's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

import msgspec

from pipeline.demo import calls, sessions
from pipeline.demo.records import Actor, Call, Planted, Scene, denied, iso, key_id, planted

ADDRESS = "203.0.113.66"
SECOND_ADDRESS = "2001:db8:bad::66"
AGENT = "Boto3/1.34.11 md/Botocore#1.34.11 ua/2.0 os/linux#6.6.9-kali md/arch#x86_64 lang/python#3.11.8"
BUCKET = "exampleorg-customer-exports"
ROLE = "data-platform-admin"
BACKUP_USER = "backup-operator"
LOCAL_TRAIL = "security-audit"
ORGANISATION_TRAIL = "organisation"
OBJECTS_READ = 260

_LOOKING_AROUND = (
    calls.LIST_USERS,
    calls.LIST_ROLES,
    calls.LIST_SECRETS,
    calls.DESCRIBE_INSTANCES,
    calls.LIST_FUNCTIONS,
    calls.DESCRIBE_TRAILS,
    Call("iam", "GetAccountAuthorizationDetails", calls.asking(maxItems=1000), everywhere=False),
    Call("iam", "ListAccessKeys", calls.asking(), everywhere=False),
    Call("rds", "DescribeDBSnapshots", calls.asking(includeShared=True)),
    Call("ec2", "DescribeSnapshots", calls.asking(snapshotSet={}, ownersSet={"items": [{"owner": "self"}]})),
    Call("organizations", "ListAccounts", calls.asking(), everywhere=False),
)


@dataclass(frozen=True)
class Attack:
    """The story's records, and the answers that an investigator should arrive at (times: seconds of the epoch)."""

    records: tuple[Planted, ...]
    begin: int
    end: int
    leaked_key: str
    first_account: str
    second_account: str
    created_key: str
    trail_stopped: int


class _Tape:
    """Records one after the other, with pauses between them."""

    def __init__(self, rng: Random, at: int) -> None:
        self.rng, self.at = rng, at
        self.records: list[Planted] = []

    def scene(self, actor: Actor, account: str, region: str, pause_s: int = 6) -> Scene:
        self.at += 1 + self.rng.randrange(pause_s)
        return Scene(self.rng, actor, account, region, self.at)

    def play(self, scene: Scene, call: Call, *, refused: bool = False, **fields: Any) -> None:
        if refused:
            body = msgspec.json.encode(denied(scene, call))
            self.records.append(Planted(scene.account, scene.region, scene.at, body))
        else:
            self.records.append(planted(scene, call, **fields))


def attack(rng: Random, victim: Actor, second_account: str, regions: tuple[str, ...], begin: int) -> Attack:
    """The story, from `begin` on for about an hour; `victim` is the build user as it calls on other days."""
    tape = _Tape(rng, begin)
    home, first_account = regions[0], victim.account
    thief = replace(victim, address=ADDRESS, agent=AGENT)
    _look_around(tape, thief, first_account, regions)

    tape.at += 420
    role = sessions.Role(second_account, ROLE)
    intruder, issued = sessions.assume(tape.scene(thief, first_account, home), role, "ci-maintenance")
    tape.records += issued

    created_key = _stay(tape, intruder, second_account, home)
    _take(tape, intruder, second_account, home)
    tape.at += 240
    trail_stopped = _cover_tracks(tape, intruder, second_account, home)
    return Attack(
        records=tuple(tape.records),
        begin=begin,
        end=tape.at,
        leaked_key=msgspec.json.decode(victim.identity)["accessKeyId"],
        first_account=first_account,
        second_account=second_account,
        created_key=created_key,
        trail_stopped=trail_stopped,
    )


def _look_around(tape: _Tape, thief: Actor, account: str, regions: tuple[str, ...]) -> None:
    tape.play(tape.scene(thief, account, regions[0]), calls.CALLER)
    tape.play(tape.scene(thief, account, regions[0], pause_s=40), calls.LIST_BUCKETS)
    for region in regions:
        for call in _LOOKING_AROUND:
            if call.everywhere or region == regions[0]:
                tape.play(tape.scene(thief, account, region), call, refused=call is not calls.DESCRIBE_TRAILS)


def _stay(tape: _Tape, intruder: Actor, account: str, region: str) -> str:
    """An access key for another user, and its first use; returns the key's id."""
    tape.play(tape.scene(intruder, account, region), calls.CALLER)
    tape.play(tape.scene(intruder, account, region), calls.LIST_USERS)
    key = key_id(tape.rng, "AKIA")
    scene = tape.scene(intruder, account, region, pause_s=60)
    answer = {"accessKeyId": key, "status": "Active", "userName": BACKUP_USER, "createDate": iso(scene.at)}
    create = Call("iam", "CreateAccessKey", calls.asking(userName=BACKUP_USER), read_only=False)
    tape.play(scene, create, responseElements={"accessKey": answer})
    second = sessions.user(account, BACKUP_USER, key=key, kind="person", address=SECOND_ADDRESS, agent=AGENT)
    for call in (calls.CALLER, calls.LIST_BUCKETS):
        tape.play(tape.scene(second, account, region, pause_s=90), call)
    return key


def _take(tape: _Tape, intruder: Actor, account: str, region: str) -> None:
    tape.play(tape.scene(intruder, account, region), calls.LIST_SECRETS)
    for name in calls.SECRETS:
        arn = f"arn:aws:secretsmanager:{region}:{account}:secret:{name}-a1B2c3"
        tape.play(tape.scene(intruder, account, region), calls.GET_SECRET, requestParameters={"secretId": arn})
    tape.play(tape.scene(intruder, account, region), calls.LIST_BUCKETS)
    get = replace(calls.GET_OBJECT, details=calls.s3(calls.object_in(BUCKET), sent=80_000_000))
    for _ in range(OBJECTS_READ):
        tape.play(tape.scene(intruder, account, region, pause_s=3), get)


def _cover_tracks(tape: _Tape, intruder: Actor, account: str, region: str) -> int:
    """Stop one trail, fail to delete the other; returns when the first stopped."""
    tape.play(tape.scene(intruder, account, region), calls.DESCRIBE_TRAILS)
    local = f"arn:aws:cloudtrail:{region}:{account}:trail/{LOCAL_TRAIL}"
    stop = Call("cloudtrail", "StopLogging", calls.asking(name=local), read_only=False)
    tape.play(tape.scene(intruder, account, region), stop)
    stopped = tape.at
    shared = f"arn:aws:cloudtrail:{region}:{account}:trail/{ORGANISATION_TRAIL}"
    for name in ("StopLogging", "DeleteTrail"):
        call = Call("cloudtrail", name, calls.asking(name=shared), read_only=False)
        tape.play(tape.scene(intruder, account, region), call, refused=True)
    return stopped
