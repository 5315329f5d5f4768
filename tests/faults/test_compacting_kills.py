"""`trailweave compact` under kill -9, while writers commit to the same partitions and readers ask."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from support.killable import COMPACTING, SMALL_RUNS, Starter, die, was_killed
from support.world import assert_one_to_one, event_rows

from pipeline import query
from pipeline.demo.organisation import organisation
from transforms.stores.files import Output
from transforms.stores.tree import parse_name

_DATASETS = ("aws_s3_raw", "cloud_audit_logs", "sessions", "detections")
_TWO_DAYS_S = 48 * 3_600.0
_COMPACTORS = 2


def age(output: Path, seconds: float, *, ranges: bool) -> None:
    """Make the files of single commits, or those of ranges, older."""
    for name in _DATASETS:
        for path in (output / name).rglob("*.parquet"):
            numbers = parse_name(path.name)
            if numbers and numbers.is_range == ranges:
                try:
                    then = path.stat().st_mtime - seconds
                    os.utime(path, (then, then))
                except FileNotFoundError:
                    continue


@dataclass
class Reader:
    """Asks again and again, as a user does: never an event twice, and each that was there once is there always."""

    output: Path
    seen: dict[str, set[str]] = field(default_factory=dict)
    asked: int = 0

    def ask(self) -> None:
        connection = query.connect(Output(str(self.output)))
        for view in _DATASETS[:2]:
            ids = query.run(connection, f"SELECT event_id FROM {view}").read_all()["event_id"].to_pylist()
            before, now = self.seen.get(view, set()), set(ids)
            assert len(ids) == len(now), f"{view} has {len(ids) - len(now)} events twice"
            assert before <= now, f"{view} lacks {len(before - now)} events that were there"
            self.seen[view] = now
            self.asked += 1


@dataclass
class Siege:
    """Compactors that are killed, by aim or at random, and begun anew, while writers and a reader work."""

    starter: Starter
    output: Path
    rng: random.Random
    fell: Counter[str] = field(default_factory=Counter)
    running: dict[BaseProcess, str] = field(default_factory=dict)

    def beside(self, writer: BaseProcess, reader: Reader, kills: int, timeout_s: float) -> None:
        """Until the writer has come to its end and so many compactors have fallen, in all."""
        until = time.monotonic() + timeout_s
        while writer.is_alive() or self.fell.total() < kills:
            assert time.monotonic() < until, f"fell so far: {self.fell}; {self.starter.log_of_all()}"
            while len(self.running) < _COMPACTORS:
                self._start()
            age(self.output, _TWO_DAYS_S, ranges=False)
            reader.ask()
            if self.rng.random() < 0.2:
                victim = self.rng.choice([*self.running])
                self.running[victim] = "anywhere"
                die(victim)
            gone = {it: place for it, place in self.running.items() if not it.is_alive()}
            self.fell.update(place for it, place in gone.items() if was_killed(it))
            self.running = {it: place for it, place in self.running.items() if it not in gone}
        for it in self.running:
            die(it)
        self.running.clear()
        assert writer.exitcode == 0, self.starter.log_of_all()

    def _start(self) -> None:
        place = self.rng.choice(COMPACTING)
        aim = place, self.rng.randint(1, 4)
        self.running[self.starter.start(["compact", "--output", str(self.output)], aim)] = place


def besiege(folder: Path, *, seed: int, rounds: int, kills: int, objects: int, events: int) -> None:
    trail = dict(organisation(seed=seed, accounts=3, regions=2, days=2, objects=objects, events=events))
    sources = _dealt(folder, trail, rounds)
    (folder / "logs").mkdir()
    output = folder / "out"
    starter = Starter({**os.environ, SMALL_RUNS: "1"}, folder / "logs")
    siege, reader = Siege(starter, output, random.Random(seed)), Reader(output)
    for number, source in enumerate(sources, 1):
        writer = _replaying(starter, output, source)
        if number == 1:
            writer.join()
        siege.beside(writer, reader, kills * number // rounds, timeout_s=600)
        # An hour is over for what is published; no writer, and no query, has begun before it.
        age(output, 2 * 3_600.0, ranges=True)
    print("fell", dict(siege.fell), "asked", reader.asked)

    for _ in range(3):
        age(output, _TWO_DAYS_S, ranges=False)
        assert _ended(starter.start(["compact", "--output", str(output)])) == 0, starter.log_of_all()
        age(output, 2 * 3_600.0, ranges=True)
    reader.ask()
    for name in _DATASETS:
        for partition in (output / name).glob("*/*"):
            files = [it for it in (parse_name(path.name) for path in partition.iterdir()) if it]
            assert not [it for it in files if any(wide.covers(it) for wide in files)], f"{partition} holds void files"
            # A late file waits until it is a quarter of the range before it.
            assert len(files) <= 3, f"{partition} holds {files}"

    whole = folder / "whole"
    for source in sources:
        assert _ended(_replaying(starter, whole, source)) == 0, starter.log_of_all()
    for name in _DATASETS[:2]:
        assert event_rows(output, name) == event_rows(whole, name)
    assert_one_to_one(output, {it["event_id"] for it in event_rows(whole, "aws_s3_raw")})


def _dealt(folder: Path, trail: dict[str, bytes], rounds: int) -> Sequence[Path]:
    """The objects in deliveries, each with some of the one before."""
    keys = [*trail]
    size = len(keys) // rounds + 1
    folders = []
    for number in range(rounds):
        source = folder / f"in{number}"
        for key in keys[max(0, number * size - 3) : (number + 1) * size]:
            (source / key).parent.mkdir(parents=True, exist_ok=True)
            (source / key).write_bytes(trail[key])
        folders.append(source)
    return folders


def _replaying(starter: Starter, output: Path, source: Path) -> BaseProcess:
    return starter.start(["replay", "--source", str(source), "--output", str(output), "--force", "--quiet"])


def _ended(process: BaseProcess) -> int | None:
    process.join()
    return process.exitcode


def test_a_compactor_killed_anywhere_beside_a_writer_and_a_reader_changes_nothing(tmp_path: Path) -> None:
    besiege(tmp_path, seed=1, rounds=3, kills=8, objects=40, events=1_500)


@pytest.mark.soak
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", [2, 3])
def test_a_hundred_kills_of_compactors_change_nothing(tmp_path: Path, seed: int) -> None:
    besiege(tmp_path, seed=seed, rounds=8, kills=100, objects=160, events=8_000)
