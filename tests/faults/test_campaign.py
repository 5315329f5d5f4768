"""A campaign of faults, drawn by a seed, against processes that ingest: the end is that of the undisturbed run.

Everything the product calls goes through the fault proxy: source bucket, queue, and the output, which is on S3 too.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest
from support.fault_proxy import (
    cut,
    delayed,
    denied,
    expired_token,
    internal_error,
    lost,
    partly_failing,
    s3_error,
    slow_down,
    sqs_error,
    unreached,
)
from support.killable import GRACE_S, HASTY, IMPATIENT, Starter, die, was_killed
from support.proxy import Action, Rule
from support.reader import Reader, assert_no_void_files
from support.replaying import replay_from
from support.trails import s3_event
from support.world import World, assert_one_to_one, event_rows, read_letters, read_rows

from pipeline.config import load
from pipeline.demo.organisation import organisation
from pipeline.sql.query import connect, run
from schemas.errors import TrailweaveError
from transforms.stores.aws import Access
from transforms.stores.files import Output

PROCESSES = 2
VISIBILITY_S = 3
_PATIENCE_S = 0.5


@dataclass
class Campaign:
    """Draws faults and makes them, while objects come and processes work; one of a rule is counted when it hits."""

    world: World
    starter: Starter
    arguments: list[str]
    objects: dict[str, bytes]
    rng: random.Random
    stored: list[str] = field(default_factory=list)
    running: list[BaseProcess] = field(default_factory=list)
    rules: list[tuple[str, Rule]] = field(default_factory=list)
    ending: list[tuple[float, Rule]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    codes: Counter[int | None] = field(default_factory=Counter)
    kinds: Mapping[str, Callable[[Campaign], None]] = field(default_factory=lambda: FAULTS)
    reader: Reader | None = None

    def wage(self, faults: int, timeout_s: float) -> None:
        """So many faults, one after another, and overlapping where they last."""
        until = time.monotonic() + timeout_s
        plan = [*self.kinds] * (faults // len(self.kinds) + 1)
        self.rng.shuffle(plan)
        coming = iter(self.objects.items())
        self._keep_up()
        while not self.world.proxy.calls("ReceiveMessage"):
            assert time.monotonic() < until
            time.sleep(0.05)
        for number, name in enumerate(plan[:faults]):
            assert time.monotonic() < until, self.hits()
            self._put(islice(coming, -(-len(self.objects) // faults)))
            self._keep_up()
            before = self.hits().total()
            self.kinds[name](self)
            # Faults may overlap, but one that nobody has met yet gets some time.
            patience = time.monotonic() + _PATIENCE_S
            while self.hits().total() == before and time.monotonic() < patience:
                time.sleep(0.05)
            time.sleep(self.rng.uniform(0.0, 0.2))
            if self.reader and not number % 10:
                # Nothing is written yet, or the answer takes longer than parts stay.
                with suppress(TrailweaveError):
                    self.reader.ask()
        self._put(coming)
        self._keep_up()
        self.world.proxy.heal()

    def _put(self, some: Iterable[tuple[str, bytes]]) -> None:
        objects = dict(some)
        self.world.put_all(objects)
        self.stored += objects

    def peace(self) -> None:
        """No more faults, and no process."""
        for process in self.running:
            die(process)
        self.world.proxy.heal()

    def hits(self) -> Counter[str]:
        """How often each kind of fault was met."""
        return self.done + Counter({name: 0 for name, _ in self.rules}) + self._met()

    def _met(self) -> Counter[str]:
        met: Counter[str] = Counter()
        for name, rule in self.rules:
            met[name] += rule.used
        return met

    def _keep_up(self) -> None:
        now = time.monotonic()
        for at, rule in self.ending:
            if at <= now:
                rule.stop()
        for process in [it for it in self.running if not it.is_alive()]:
            self.codes[process.exitcode] += 1
            self.running.remove(process)
        while len(self.running) < PROCESSES:
            self.running.append(self.starter.start(self.arguments))

    def often(self, name: str, operation: str, action: Action, *, bucket: str = "*") -> None:
        """The next few calls of an operation."""
        rule = self.world.proxy.when(operation, bucket=bucket).do(action).times(self.rng.randint(1, 6))
        self.rules.append((name, rule))

    def a_while(self, name: str, operation: str, action: Action, *, bucket: str = "*") -> None:
        """Each call of an operation, for up to a second."""
        rule = self.world.proxy.when(operation, bucket=bucket).do(action)
        self.rules.append((name, rule))
        self.ending.append((time.monotonic() + self.rng.uniform(0.3, 1.0), rule))

    def kill(self) -> None:
        victim = self.rng.choice(self.running)
        die(victim)
        self.done["kill -9"] += was_killed(victim)

    def announce_again(self) -> None:
        """Duplicate, late and out of order."""
        for key in self.rng.sample(self.stored, min(5, len(self.stored))):
            body = s3_event(self.world.bucket, key)
            delay_s = self.rng.choice([0, 0, 1, 2])
            self.world.sqs.send_message(QueueUrl=self.world.queue_url, MessageBody=body, DelaySeconds=delay_s)
            self.done["announced again"] += 1


def _out(it: Campaign) -> str:
    return f"{it.world.bucket}-out"


READ_ONLY = s3_error(403, "AccessDenied", "Access Denied")
THROTTLED = sqs_error(400, "RequestThrottled", "slower, please")
UNAVAILABLE = sqs_error(503, "ServiceUnavailable", "not now")
QUEUE_CALLS = ("ReceiveMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")

FAULTS: dict[str, Callable[[Campaign], None]] = {
    "reads are throttled": lambda it: it.often("reads are throttled", "GetObject", slow_down()),
    "a burst of 5xx": lambda it: it.a_while("a burst of 5xx", "*Object*", internal_error()),
    "a body is cut": lambda it: it.often(
        "a body is cut", "GetObject", cut(it.rng.randint(1, 400)), bucket=it.world.bucket
    ),
    "reads are slow": lambda it: it.often("reads are slow", "GetObject", delayed(0.4)),
    "an answer of S3 is lost": lambda it: it.often("an answer of S3 is lost", "PutObject", lost()),
    "a connection breaks": lambda it: it.often("a connection breaks", "*", unreached()),
    "an answer of SQS is lost": lambda it: it.often("an answer of SQS is lost", it.rng.choice(QUEUE_CALLS), lost()),
    "SQS throttles": lambda it: it.often("SQS throttles", it.rng.choice(QUEUE_CALLS), THROTTLED),
    "SQS is unavailable": lambda it: it.a_while("SQS is unavailable", "*Message*", UNAVAILABLE),
    "deletes fail in part": lambda it: it.often(
        "deletes fail in part", "DeleteMessageBatch", partly_failing(lambda place: place % 2 == 0)
    ),
    "receipts expire": lambda it: it.often(
        "receipts expire",
        "DeleteMessageBatch",
        partly_failing(lambda place: place % 3 == 0, "ReceiptHandleIsInvalid", senders_fault=True),
    ),
    "extensions fail in part": lambda it: it.often(
        "extensions fail in part",
        "ChangeMessageVisibilityBatch",
        partly_failing(lambda place: place % 2 == 0, "MessageNotInflight", senders_fault=True),
    ),
    "credentials expire": lambda it: it.often(
        "credentials expire", "GetObject", expired_token(), bucket=it.world.bucket
    ),
    "reads are denied": lambda it: it.a_while("reads are denied", "GetObject", denied(), bucket=it.world.bucket),
    "the output fails": lambda it: it.a_while("the output fails", "PutObject", internal_error(), bucket=_out(it)),
    "the output is read-only": lambda it: it.a_while(
        "the output is read-only", "PutObject", READ_ONLY, bucket=_out(it)
    ),
    "AWS is away": lambda it: it.a_while("AWS is away", "*", unreached()),
    "kill -9": Campaign.kill,
    "announced again": Campaign.announce_again,
}

OF_COMPACTION: dict[str, Callable[[Campaign], None]] = {
    "removals fail": lambda it: it.often("removals fail", "DeleteObject", internal_error()),
    "an answer to a removal is lost": lambda it: it.often("an answer to a removal is lost", "DeleteObject", lost()),
    "listings fail": lambda it: it.often("listings fail", "ListObjectsV2", internal_error(), bucket=_out(it)),
    "the output is slow": lambda it: it.often("the output is slow", "*Object*", delayed(0.4), bucket=_out(it)),
}


def downloaded(world: World, folder: Path) -> Path:
    """The output, fetched by a plain listing."""
    bucket = f"{world.bucket}-out"
    for page in world.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            path = folder / str(entry["Key"]).removeprefix("tree/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(world.s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read())
    return folder


def undisturbed(world: World, output: Path) -> Path:
    """The same bucket, replayed past the proxy."""
    replay_from(load({"output": str(output)}), f"s3://{world.bucket}/")
    return output


def letters(output: Path) -> list[tuple[Any, ...]]:
    names = ("stage", "scope", "reason", "object_key", "record_index", "input")
    return sorted(repr([it[name] for name in names]) for it in read_letters(output))  # type: ignore[return-value]


def evaluated(output: Path, view: str) -> list[dict[str, Any]]:
    """A view's rows, in an order of their own."""
    with connect(Output(str(output))) as connection:
        found = run(connection, f"SELECT * FROM {view} ORDER BY ALL").read_all().to_pylist()
    return [dict(it) for it in found]


def compact_wholly(world: World, starter: Starter, reader: Reader) -> None:
    """Until no part is left; each pass removes what the one before has covered."""
    for _ in range(3):
        process = starter.start(["compact", "--output", f"s3://{world.bucket}-out/tree"])
        process.join()
        assert process.exitcode == 0, starter.log_of_all()
        reader.ask()
        time.sleep(GRACE_S + 2)


SHORT, LONG = pytest.mark.timeout(600), [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("seed", "objects", "events", "faults", "timeout_s", "compacting"),
    [
        pytest.param(8, 60, 2_000, 60, 200, True, id="short, with compaction beside", marks=SHORT),
        pytest.param(7, 40, 1_500, len(FAULTS), 120, False, id="short, of every fault"),
        *(
            pytest.param(seed, 2_000, 40_000, 400, 1200, False, id=f"long, seed {seed}", marks=LONG)
            for seed in (1, 2, 3)
        ),
        *(
            pytest.param(seed, 2_000, 40_000, 400, 1200, True, id=f"long, with compaction, seed {seed}", marks=LONG)
            for seed in (4, 5)
        ),
    ],
)
def test_a_campaign_ends_as_the_undisturbed_run(
    make_world: Callable[..., World],
    seed: int,
    objects: int,
    events: int,
    faults: int,
    timeout_s: float,
    compacting: bool,
) -> None:
    world = make_world(proxied=True, visibility_timeout_s=VISIBILITY_S, max_receives=1000)
    trail = organisation(seed=seed, accounts=3, regions=2, days=2, objects=objects, events=events)
    bodies = dict(trail)
    world.s3.create_bucket(Bucket=f"{world.bucket}-out")
    logs = world.output.parent / "logs"
    logs.mkdir()
    calm = world.emulator.environment(os.environ) | {"AWS_ENDPOINT_URL": world.endpoint_url, IMPATIENT: "yes"}
    if compacting:
        calm[HASTY] = "yes"
    starter = Starter(calm | {"TRAILWEAVE_MAX_MESSAGES": "5"}, logs)
    arguments = ["ingest", "--queue-url", world.queue_url, "--output", f"s3://{world.bucket}-out/tree"]
    arguments += ["--max-wait", "0.3", "--quiet"]
    campaign = Campaign(world, starter, arguments, bodies, random.Random(seed))
    if compacting:
        arguments += ["--compact"]
        tree = Output(f"s3://{world.bucket}-out/tree", Access(endpoint_url=world.emulator.endpoint_url))
        campaign.kinds, campaign.reader = FAULTS | OF_COMPACTION, Reader(tree)
    campaign.wage(faults, timeout_s)
    campaign.peace()
    # On a slow machine a larger batch takes longer than its messages are hidden, and most of it comes again.
    last = Starter(calm | {"TRAILWEAVE_MAX_MESSAGES": "20"}, logs).start(
        [*arguments, "--until-idle", str(VISIBILITY_S + 0.5)]
    )
    last.join(timeout_s)

    told = starter.log_of_all()
    print(f"seed {seed}: met {dict(campaign.hits())}, ends {dict(campaign.codes)}")
    assert last.exitcode == 0, told
    if campaign.reader:
        compact_wholly(world, Starter(calm, logs), campaign.reader)
    assert sum(world.waiting()) == 0
    assert world.redriven() == 0
    # Killed, denied, or too many failures in a row; never a usage error, which a supervisor would not restart.
    assert set(campaign.codes) <= {-9, 0, 1, 3}, told
    assert campaign.hits().total() >= faults
    output = downloaded(world, world.output.parent / "downloaded")
    assert bool(assert_no_void_files(output)) == compacting
    expected = undisturbed(world, world.output.parent / "undisturbed")
    for dataset in ("aws_s3_raw", "cloud_audit_logs"):
        assert event_rows(output, dataset) == event_rows(expected, dataset)
    assert_one_to_one(output, read_rows(expected, "aws_s3_raw")["event_id"].to_pylist())
    assert letters(output) == letters(expected)
    assert evaluated(output, "sessions") == evaluated(expected, "sessions")
    assert evaluated(output, "links") == evaluated(expected, "links")
