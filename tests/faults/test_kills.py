"""Laws 1 and 2 under kill -9: several processes on one queue, overlapping objects, and a replay beside them."""

from __future__ import annotations

import gzip
import json
import os
import random
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any

import pytest
from support.killable import PLACES, Starter, die, was_killed
from support.trails import s3_event
from support.world import World, assert_one_to_one

from pipeline.demo.organisation import organisation
from pipeline.demo.trail import Trail

PROCESSES = 4
VISIBILITY_S = 10


def events_of(trail: Trail) -> set[str]:
    """The ids of every readable record with a time, read with nothing of ours."""
    found: set[str] = set()
    for _, body in trail:
        try:
            document = json.loads(gzip.decompress(body))
        except (EOFError, zlib.error):
            continue
        found |= {it["eventID"] for it in document.get("Records", []) if "eventTime" in it}
    return found


@dataclass
class Siege:
    """Keeps processes at work on the queue, and kills them, by aim or at random, until `kills` have died."""

    starter: Starter
    ingest: list[str]
    rng: random.Random
    kills: int
    replay: list[str] = field(default_factory=list)
    beside: BaseProcess | None = None
    running: dict[BaseProcess, str] = field(default_factory=dict)
    fell: Counter[str] = field(default_factory=Counter)

    def run(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while self.fell.total() < self.kills:
            assert time.monotonic() < until, f"fell so far: {self.fell}"
            while len(self.running) < PROCESSES:
                place = self.rng.choice(PLACES)
                self.running[self.starter.start(self.ingest, (place, self.rng.randint(1, 3)))] = place
            self._keep_replaying()
            time.sleep(self.rng.uniform(0.0, 0.4))
            if self.rng.random() < 0.05:
                victim = self.rng.choice([*self.running])
                self.running[victim] = "anywhere"
                die(victim)
            gone = {it: place for it, place in self.running.items() if not it.is_alive()}
            self.fell.update(place for it, place in gone.items() if was_killed(it))
            self.running = {it: place for it, place in self.running.items() if it not in gone}
        for process in self.running:
            die(process)
        if self.beside:
            self.beside.join()

    def _keep_replaying(self) -> None:
        if self.replay and (self.beside is None or not self.beside.is_alive()):
            self.beside = self.starter.start(self.replay)


def _long(seed: int, replaying: bool) -> Any:
    trail = partial(organisation, seed=seed, accounts=4, regions=3, days=2, objects=240, events=9000)
    beside = "with a replay beside" if replaying else "alone"
    marks = [pytest.mark.soak, pytest.mark.timeout(1200)]
    return pytest.param(trail, seed, 30, replaying, 600, id=f"thirty, seed {seed}, {beside}", marks=marks)


SHORT = partial(organisation, seed=5, accounts=3, regions=2, days=2, objects=60, events=3000)


@pytest.mark.parametrize(
    ("drawn", "seed", "kills", "replaying", "timeout_s"),
    [
        pytest.param(SHORT, 1, 8, False, 120, id="eight"),
        *(_long(seed, replaying) for seed in (1, 2) for replaying in (False, True)),
    ],
)
def test_kills_lose_and_double_nothing(
    make_world: Callable[..., World],
    drawn: Callable[[], Trail],
    seed: int,
    kills: int,
    replaying: bool,
    timeout_s: float,
) -> None:
    aws = make_world(visibility_timeout_s=VISIBILITY_S, max_receives=1000)
    trail = drawn()
    logs = aws.output.parent / "logs"
    logs.mkdir()
    environment = aws.emulator.environment(os.environ) | {"TRAILWEAVE_MAX_MESSAGES": "8"}
    starter = Starter(environment, logs)
    output = ["--output", str(aws.output), "--quiet"]
    ingest = ["ingest", "--queue-url", aws.queue_url, "--max-wait", "0.3", *output]
    replay = ["replay", "--source", f"s3://{aws.bucket}", "--force", *output] if replaying else []
    objects = dict(trail)
    aws.put_all(objects)
    aws.send(*(s3_event(aws.bucket, key) for key in random.Random(seed).sample([*objects], len(objects) // 3)))

    siege = Siege(starter, ingest, random.Random(seed), kills, replay)
    siege.run(timeout_s)
    print("fell", dict(siege.fell))
    last = starter.start([*ingest, "--until-idle", str(VISIBILITY_S + 1)])
    last.join(timeout_s)

    told = starter.log_of_all()
    assert last.exitcode == 0, told
    assert aws.waiting() == (0, 0), told
    assert aws.redriven() == 0
    expected = events_of(trail)
    assert len(expected) == trail.events
    # How many of each is for the machine to say: once the queue is empty they fall by chance alone.
    assert siege.fell.total() > siege.fell["anywhere"]
    assert_one_to_one(aws.output, expected)
    assert sorted(it["scope"] for it in aws.letters()) == ["object", "record"]
