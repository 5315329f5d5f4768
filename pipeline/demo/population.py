"""Who is at work in the organisation at any hour: standing users and services, and sessions that come and go."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from pipeline.demo import sessions
from pipeline.demo.records import Actor, Kind, Planted, Scene, encoded, hexadecimal, key_id

HOUR_S = 3600
PEOPLE = ("alice", "bruno", "chidi", "dana", "emeka", "farah", "goro", "hana", "ines", "jonas")
_BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
_AGENTS: dict[Kind, tuple[str, ...]] = {
    "person": (
        "aws-cli/2.22.12 md/awscrt#0.23.4 ua/2.0 os/linux#6.8.0 md/arch#x86_64 lang/python#3.12.6",
        "APN/1.0 HashiCorp/1.0 Terraform/1.9.8 terraform-provider-aws/5.76.0 aws-sdk-go-v2/1.32.5",
        f"[{_BROWSER}]",
    ),
    "pipeline": (
        "APN/1.0 HashiCorp/1.0 Terraform/1.9.8 aws-sdk-go-v2/1.32.5 os/linux lang/go#1.23.3",
        "aws-cdk/2.170.0 aws-sdk-js/3.699.0 ua/2.1 os/linux#6.8.0 lang/js md/nodejs#20.18.0",
    ),
    "workload": (
        "Boto3/1.35.70 md/Botocore#1.35.70 ua/2.0 os/linux#5.10.227 md/arch#aarch64 lang/python#3.12.6",
        "aws-sdk-java/2.29.20 md/io#sync md/http#Apache ua/2.1 os/Linux lang/java#21.0.5 exec-env/AWS_ECS_FARGATE",
    ),
}


@dataclass(frozen=True)
class Population:
    """Actors by account, hour since the start and kind, none of them empty; and the records of their coming."""

    standing: dict[str, dict[Kind, tuple[Actor, ...]]]
    visiting: dict[tuple[str, int, Kind], list[Actor]]
    planted: tuple[Planted, ...]

    def present(self, account: str, hour: int, kind: Kind) -> Sequence[Actor]:
        """Those who may call at any time within the hour."""
        return self.visiting.get((account, hour, kind)) or self.standing[account][kind]


def populate(
    rng: Random, accounts: Sequence[str], regions: Sequence[str], start: int, hours: int, variety: int
) -> Population:
    """The people and machines of some days; `variety` times as many sessions, addresses and agents as usual."""
    visiting: dict[tuple[str, int, Kind], list[Actor]] = defaultdict(list)
    records: list[Planted] = []
    for account in accounts:
        for begin, length, actor, issued in _sessions(rng, accounts, account, regions, start, hours, variety):
            first = (begin - start) // HOUR_S + 1  # whole hours only, so that no use comes before the issue
            for hour in range(max(first, 0), min(first + length, hours)):
                visiting[actor.account, hour, actor.kind].append(actor)
            records += [record for record in issued if start <= record.at]
    standing = {account: _standing(rng, account) for account in accounts}
    return Population(standing, dict(visiting), tuple(records))


def _standing(rng: Random, account: str) -> dict[Kind, tuple[Actor, ...]]:
    def user(name: str, kind: Kind, address: str) -> Actor:
        agent = rng.choice(_AGENTS[kind])
        return sessions.user(account, name, key=key_id(rng, "AKIA"), kind=kind, address=address, agent=agent)

    return {
        "person": (user("oncall", "person", "198.51.100.7"), user("auditor", "person", "2001:db8:10::25")),
        "pipeline": (user("ci-deploy", "pipeline", "192.0.2.20"),),
        "workload": (user("legacy-batch", "workload", "192.0.2.77"),),
        "service": tuple(sessions.service(account, name) for name in ("cloudtrail", "delivery.logs", "config")),
    }


Session = tuple[int, int, Actor, tuple[Planted, ...]]


def _sessions(
    rng: Random, accounts: Sequence[str], account: str, regions: Sequence[str], start: int, hours: int, variety: int
) -> Iterator[Session]:
    """Sessions of an account as (begin, hours of use, actor, records that issued it)."""
    for day in range(start, start + hours * HOUR_S, 24 * HOUR_S):
        for _ in range(variety):
            yield from _people(rng, account, regions[0], day, variety)
            yield from _pipelines(rng, accounts, account, regions[0], day, variety)
            yield from _workloads(rng, account, rng.choice(regions), day, variety)


def _people(rng: Random, account: str, region: str, day: int, variety: int) -> Iterator[Session]:
    for person in rng.sample(PEOPLE, 3):
        at = day + rng.randrange(7 * HOUR_S, 13 * HOUR_S)
        scene = Scene(rng, _nobody(rng, "person", account, variety), account, region, at)
        permissions = rng.choice(("AdministratorAccess", "ReadOnlyAccess", "PowerUserAccess"))
        name = person if variety == 1 else f"{person}{rng.randrange(10 * variety)}"
        yield at, 8, *sessions.from_single_sign_on(scene, permissions, f"{name}@example.com")
    at = day + rng.randrange(8 * HOUR_S, 17 * HOUR_S)
    scene = Scene(rng, _nobody(rng, "person", account, variety), account, region, at)
    yield at, 4, *sessions.from_console(scene, rng.choice(PEOPLE))


def _pipelines(
    rng: Random, accounts: Sequence[str], account: str, region: str, day: int, variety: int
) -> Iterator[Session]:
    """Deployments from GitHub, each going on into another account: a chain of two roles."""
    for _ in range(2):
        at = day + rng.randrange(22 * HOUR_S)
        scene = Scene(rng, _nobody(rng, "pipeline", account, variety), account, region, at)
        repository = f"exampleorg/{rng.choice(('infrastructure', 'orders', 'web'))}"
        actor, issued = sessions.from_github(scene, sessions.Role(account, "github-deploy"), repository)
        yield at, 1, actor, issued
        others = [other for other in accounts if other != account]
        if others:
            target = sessions.Role(rng.choice(others), "cross-account-deploy")
            onward = Scene(rng, actor, account, region, at + 45)
            yield at + 45, 1, *sessions.assume(onward, target, f"deploy-{hexadecimal(rng, 7)}", durationSeconds=3600)


def _workloads(rng: Random, account: str, region: str, day: int, variety: int) -> Iterator[Session]:
    """Roles of instances and functions, renewed by the service every six hours."""
    for launcher, role in (("ec2", "orders-instance"), ("lambda", "orders-api-role"), ("ecs-tasks", "lake-loader")):
        name = f"i-0{hexadecimal(rng, 16)}" if launcher == "ec2" else f"{role}-{hexadecimal(rng, 6)}"
        workload = _nobody(rng, "workload", account, variety)
        for quarter in range(4):
            at = day + (6 * quarter - 1) * HOUR_S + rng.randrange(HOUR_S - 60)
            scene = Scene(rng, sessions.service(account, launcher), account, region, at)
            actor, issued = sessions.assume(scene, sessions.Role(account, role), name, durationSeconds=21600)
            yield (
                at,
                6,
                Actor("workload", account, actor.arn, actor.identity, workload.address, workload.agent),
                issued,
            )


def _nobody(rng: Random, kind: Kind, account: str, variety: int) -> Actor:
    """An address and an agent, before it is known who calls from there."""
    agent = rng.choice(_AGENTS[kind])
    if variety > 1:
        agent = f"{agent} md/build#{hexadecimal(rng, 6)}"
    if rng.random() < (0.15 if variety == 1 else 0.9):
        address = f"2001:db8:{rng.randrange(1, 0xFFFF):x}::{rng.randrange(1, 0xFFFF):x}"
    else:
        network = {"person": "198.51.100", "pipeline": "192.0.2", "workload": "192.0.2"}[kind]
        address = f"{network}.{rng.randrange(1, 255)}"
    return Actor(kind, account, "", encoded({}), address, agent)
