"""Every interleaving of processes that share a store, with a fault after any step.

A process is a plain function over a store, deterministic but for what the store answers. It is run with the answers
that it has had so far; at the first operation beyond them it stops and tells the operation. So a process is a
function from its history to its next operation, and the explorer walks the graph of all states: the files, the
history of each process, and the hour. Equal states are walked once, which keeps an exhaustive walk small.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
from support.memory import folders_in, names_in

from schemas.errors import AccessError
from transforms.stores.listed import Listed

MAX_STEPS = 120
HOUR_S = 3_600.0
# Files that are there from the start are so many hours old.
_OLD = -48
# What compaction removes; all other files stay as they are.
_PART = re.compile(r"/\d{8}\.parquet$")
ENDED = -1


class Op(NamedTuple):
    """One operation on the world. `content` is of no matter to whether two operations are the same."""

    kind: str
    path: str
    after: str = ""


class Paused(BaseException):
    """The process needs an answer that it has not had yet."""

    def __init__(self, op: Op, content: bytes) -> None:
        super().__init__(op)
        self.op, self.content = op, content


class Violation(AssertionError):
    """A law is broken; the text ends with the steps that led there."""


class World:
    """What a process sees: a store that answers from its history, and the queue."""

    def __init__(self, answers: list[tuple[Op, Any]]) -> None:
        self._answers, self._next = answers, 0

    def _ask(self, op: Op, content: bytes = b"") -> Any:
        if self._next == len(self._answers):
            raise Paused(op, content)
        asked, answer = self._answers[self._next]
        assert asked == op, f"the process is not a function of its history: {asked} then, {op} now"
        self._next += 1
        if answer == "fault":
            raise AccessError(f"no answer to {op}")
        return answer

    def create(self, path: str, content: bytes) -> bool:
        dataset = path.partition("/")[0]
        # The ledger's names are random and nothing reads them.
        return bool(self._ask(Op("create", dataset if dataset == "ingest_log" else path), content))

    def create_from(self, path: str, source: Path) -> bool:
        return self.create(path, source.read_bytes())

    def remove(self, path: str) -> None:
        self._ask(Op("remove", path))

    def listed(self, folder: str) -> list[Listed]:
        return list(self._ask(Op("listed", folder)))

    def clock(self) -> float:
        """Seconds by a clock that moves by whole hours."""
        return float(self._ask(Op("clock", "")))

    def open(self, path: str) -> pa.NativeFile:
        content = self._ask(Op("open", path))
        if content is None:
            raise FileNotFoundError(path)
        return pa.BufferReader(content)

    def read(self, path: str) -> bytes | None:
        found: bytes | None = self._ask(Op("open", path))
        return found

    def exists(self, path: str) -> bool:
        return bool(self._ask(Op("exists", path)))

    def names(self, folder: str, after: str = "") -> list[str]:
        return list(self._ask(Op("names", folder, after)))

    def folders(self, folder: str) -> list[str]:
        return list(self._ask(Op("folders", folder)))

    def describe(self, path: str) -> str:
        return path

    def delete(self, message: str) -> None:
        """Delete a message from the queue."""
        self._ask(Op("delete", message))


Program = Callable[[World, tuple[str, ...]], None]
"""A process from its start, given the messages that it is to receive."""


@dataclass(frozen=True)
class Process:
    """Where a process is: what it was started with, its history (a node), and how many faults may still come."""

    name: str
    messages: tuple[str, ...]
    node: int = 0
    faults: int = 0


Files = frozenset[tuple[str, int, int]]


@dataclass(frozen=True)
class State:
    """The whole world at one moment. A file is its path, its content, and the hour of its creation."""

    files: Files
    deleted: frozenset[str]
    processes: tuple[Process, ...]
    hour: int = 0


@dataclass
class Explorer:
    """Walks every state. `check_end` and `check_delete` raise `Violation` (or return) given the files by path.

    So does `check_state` wherever the files have changed. `hours` may pass, each at any moment; where files are
    removed (`removes`) an operation on a file that is there is not blind to what others do.
    """

    programs: dict[str, Program]
    check_end: Callable[[dict[str, bytes], frozenset[str]], None]
    check_delete: Callable[[str, dict[str, bytes]], None]
    overwrites: bool = False
    reads_fail: bool = False
    check_state: Callable[[dict[str, bytes]], None] | None = None
    hours: int = 0
    removes: bool = False
    states: int = 0
    ends: int = 0
    _contents: list[bytes] = field(default_factory=list)
    _ids: dict[bytes, int] = field(default_factory=dict)
    _nodes: list[tuple[int, Op, Any]] = field(default_factory=lambda: [(-1, Op("", ""), None)])
    _children: dict[tuple[int, Op, Any], int] = field(default_factory=dict)
    _next: dict[tuple[str, tuple[str, ...], int], tuple[Op, bytes] | None] = field(default_factory=dict)

    @property
    def histories(self) -> int:
        """How many different histories of a process were run."""
        return len(self._next)

    def walk(self, processes: tuple[Process, ...], files: dict[str, bytes] | None = None) -> None:
        """Visit every state from the first one on."""
        there = frozenset((path, self._id(content), _OLD) for path, content in (files or {}).items())
        first = State(there, frozenset(), processes)
        seen: set[Files] = set()
        parents: dict[State, tuple[State, str] | None] = {first: None}
        stack = [first]
        while stack:
            state = stack.pop()
            self.states += 1
            try:
                if self.check_state and state.files not in seen:
                    seen.add(state.files)
                    self.check_state(self.content_of(state))
                following = [*self._following(state)]
                if not following:
                    self.ends += 1
                    self.check_end(self.content_of(state), state.deleted)
            except AssertionError as broken:
                raise Violation(f"{broken}\n" + "\n".join(_trace(parents, state))) from broken
            for label, after in following:
                if after not in parents:
                    parents[after] = state, label
                    stack.append(after)

    def content_of(self, state: State) -> dict[str, bytes]:
        """The files of a state by path."""
        return {path: self._contents[content] for path, content, _ in state.files}

    def _id(self, content: bytes) -> int:
        if content not in self._ids:
            self._ids[content] = len(self._contents)
            self._contents.append(content)
        return self._ids[content]

    def _following(self, state: State) -> Iterator[tuple[str, State]]:
        """Every next state; where an operation is blind to the others and they to it, its outcomes alone."""
        running = [(place, step) for place, it in enumerate(state.processes) if (step := self._step(it))]
        alone = [it for it in running if self._commutes(state, it[1][0])][:1]
        if state.hour < self.hours and not alone:
            yield "an hour passes", replace(state, hour=state.hour + 1)
        for place, (op, content) in alone or running:
            process = state.processes[place]
            for what, answer, files, deleted in self._outcomes(state, process, op, content):
                if answer == "crash":
                    left = tuple(it for it in process.messages if it not in deleted)
                    moved = Process(process.name, left, 0, process.faults - 1)
                else:
                    faults = process.faults - (what != "")
                    moved = replace(process, node=self._child(process.node, op, answer), faults=faults)
                moved = moved if self._step(moved) else Process(process.name, (), ENDED)
                others = (*state.processes[:place], moved, *state.processes[place + 1 :])
                label = f"{process.name} {op.kind} {op.path} {op.after} {what}: {_told(answer)}"
                yield label, State(files, deleted, others, state.hour)

    def _outcomes(
        self, state: State, process: Process, op: Op, content: bytes
    ) -> Iterator[tuple[str, Any, Files, frozenset[str]]]:
        """(fault or "", answer, files and deleted messages after it) of all that may happen to an operation."""
        answer, files, deleted = self._apply(state, op, content)
        yield "", answer, files, deleted
        if not process.faults:
            return
        yield "and is killed", "crash", files, deleted
        if op.kind == "create" or (self.reads_fail and op.kind != "delete"):
            yield "fails", "fault", state.files, state.deleted
        if op.kind == "create" and answer:
            yield "answer lost, tried again", False, files, deleted
            yield "answer lost", "fault", files, deleted

    def _apply(self, state: State, op: Op, content: bytes) -> tuple[Any, Files, frozenset[str]]:
        files, deleted = state.files, state.deleted
        if op.kind == "delete":
            self.check_delete(op.path, self.content_of(state))
            return True, files, deleted | {op.path}
        if op.kind == "create":
            if op.path == "ingest_log":
                return True, files, deleted
            there = [it for it in files if it[0] == op.path]
            if there and not self.overwrites:
                return False, files, deleted
            return True, files.difference(there) | {(op.path, self._id(content), state.hour)}, deleted
        if op.kind == "remove":
            return True, frozenset(it for it in files if it[0] != op.path), deleted
        if op.kind == "clock":
            return state.hour * HOUR_S, files, deleted
        paths = {path: content for path, content, _ in files}
        if op.kind == "listed":
            return self._listed(state, op.path), files, deleted
        if op.kind == "open":
            return (self._contents[paths[op.path]] if op.path in paths else None), files, deleted
        if op.kind == "exists":
            return op.path in paths, files, deleted
        list_ = names_in(paths, op.path, op.after) if op.kind == "names" else folders_in(paths, op.path)
        return tuple(list_), files, deleted

    def _listed(self, state: State, folder: str) -> tuple[Listed, ...]:
        found = {path: (content, hour) for path, content, hour in state.files}
        names = names_in(found, folder)
        return tuple(
            Listed(name, len(self._contents[content]), (state.hour - hour) * HOUR_S)
            for name in names
            for content, hour in [found[f"{folder}/{name}"]]
        )

    def _commutes(self, state: State, op: Op) -> bool:
        """Whether nothing that others do, before or after, changes or sees this operation."""
        if op.kind == "delete" or op.path == "ingest_log":
            return True
        if op.kind == "clock":
            return state.hour == self.hours
        if self.removes and _PART.search(op.path) and not self._stays(state, op.path):
            return False
        return op.kind in ("create", "open", "exists") and any(it[0] == op.path for it in state.files)

    def _stays(self, state: State, path: str) -> bool:
        """Whether nobody will remove a part: no hour is left, and no range of its folder is an hour old."""
        folder = path.rpartition("/")[0] + "/"
        return state.hour == self.hours and not any(
            other.startswith(folder) and created < state.hour and not _PART.search(other)
            for other, _, created in state.files
        )

    def _child(self, node: int, op: Op, answer: Any) -> int:
        key = node, op, answer
        if key not in self._children:
            self._children[key] = len(self._nodes)
            self._nodes.append(key)
        return self._children[key]

    def _step(self, process: Process) -> tuple[Op, bytes] | None:
        """The process's next operation; None once it has ended."""
        if process.node == ENDED:
            return None
        key = process.name, process.messages, process.node
        if key not in self._next:
            self._next[key] = self._run(process)
        return self._next[key]

    def _run(self, process: Process) -> tuple[Op, bytes] | None:
        answers = []
        node = process.node
        while node:
            node, op, answer = self._nodes[node]
            answers.append((op, answer))
        assert len(answers) <= MAX_STEPS, f"{process.name} does not come to an end"
        try:
            self.programs[process.name](World(answers[::-1]), process.messages)
        except Paused as pause:
            return pause.op, pause.content
        return None


def _told(answer: Any) -> str:
    return f"{len(answer)} bytes" if isinstance(answer, bytes) else repr(answer)


def _trace(parents: dict[State, tuple[State, str] | None], state: State) -> list[str]:
    steps = []
    while (parent := parents[state]) is not None:
        state, label = parent
        steps.append(label)
    return steps[::-1]
