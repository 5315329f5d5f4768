"""`trailweave compact` under kill -9, while writers commit to the same partitions and readers ask."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from support.killable import COMPACTING, SMALL_RUNS, Starter, die, was_killed
from support.reader import Reader, assert_no_void_files
from support.world import assert_one_to_one, event_rows

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
class Siege:
    """Compactors that are killed, by aim or at random, and begun anew, while writers and a reader work."""

    starter: Starter
    output: Path
    rng: random.Random
    fell: Counter[str] = field(default_factory=Counter)
    running: dict[BaseProcess, str] = field(default_factory=dict)

    def beside(self, writer: BaseProcess, reader: Reader) -> None:
        """Compactors that die by aim or at random, until the writer has come to its end."""
        while writer.is_alive():
            while len(self.running) < _COMPACTORS:
                place = self.rng.choice(COMPACTING)
                self.running[self._start(place, self.rng.randint(1, 4))] = place
            age(self.output, _TWO_DAYS_S, ranges=False)
            reader.ask()
            if self.rng.random() < 0.2:
                victim = self.rng.choice([*self.running])
                self.running[victim] = "anywhere"
                die(victim)
            self._bury([it for it in self.running if not it.is_alive()])
        for it in self.running:
            die(it)
        self._bury([*self.running])
        assert writer.exitcode == 0, self.starter.log_of_all()

    def at_each_place(self, reader: Reader) -> None:
        """A compactor after the other, each aimed at another place; an hour passes before parts are removed."""
        age(self.output, _TWO_DAYS_S, ranges=False)
        for place in COMPACTING:
            if place == "before a removal":
                self.pass_an_hour()
            compactor = self._start(place, 1)
            compactor.join()
            self._bury([compactor], place)
            reader.ask()
        self.pass_an_hour()

    def pass_an_hour(self) -> None:
        """An hour is over for what is published. Nothing that is at work has begun before it."""
        age(self.output, 2 * 3_600.0, ranges=True)

    def _start(self, place: str, nth: int) -> BaseProcess:
        return self.starter.start(["compact", "--output", str(self.output)], (place, nth))

    def _bury(self, gone: Sequence[BaseProcess], place: str = "") -> None:
        for it in gone:
            aimed = self.running.pop(it, place)
            self.fell[aimed] += was_killed(it)


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


@pytest.mark.parametrize(
    ("seed", "rounds", "objects", "events"),
    [
        pytest.param(1, 3, 40, 1_500, marks=pytest.mark.timeout(600)),
        pytest.param(2, 10, 160, 8_000, marks=[pytest.mark.soak, pytest.mark.timeout(1_800)]),
        pytest.param(3, 10, 160, 8_000, marks=[pytest.mark.soak, pytest.mark.timeout(1_800)]),
    ],
)
def test_a_compactor_killed_anywhere_beside_a_writer_and_a_reader_changes_nothing(
    tmp_path: Path, seed: int, rounds: int, objects: int, events: int
) -> None:
    trail = dict(organisation(seed=seed, accounts=3, regions=2, days=2, objects=objects, events=events))
    sources = _dealt(tmp_path, trail, rounds)
    (tmp_path / "logs").mkdir()
    output = tmp_path / "out"
    starter = Starter({**os.environ, SMALL_RUNS: "1"}, tmp_path / "logs")
    siege, reader = Siege(starter, output, random.Random(seed)), Reader(Output(str(output)))
    assert _ended(_replaying(starter, output, sources[0])) == 0, starter.log_of_all()
    siege.at_each_place(reader)
    assert siege.fell == dict.fromkeys(COMPACTING, 1)
    for source in sources[1:]:
        siege.beside(_replaying(starter, output, source), reader)
        siege.at_each_place(reader)
    print("fell", dict(siege.fell), "asked", reader.asked)

    for _ in range(3):
        age(output, _TWO_DAYS_S, ranges=False)
        assert _ended(starter.start(["compact", "--output", str(output)])) == 0, starter.log_of_all()
        siege.pass_an_hour()
    reader.ask()
    assert_no_void_files(output)

    whole = tmp_path / "whole"
    for source in sources:
        assert _ended(_replaying(starter, whole, source)) == 0, starter.log_of_all()
    for name in _DATASETS[:2]:
        assert event_rows(output, name) == event_rows(whole, name)
    assert_one_to_one(output, {it["event_id"] for it in event_rows(whole, "aws_s3_raw")})
