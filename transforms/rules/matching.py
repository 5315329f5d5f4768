"""Rules against the rows of a slice: which rule holds for which rows.

Each kind of events (source and name) meets the rules once in a process: what a rule still asks beyond them is kept,
so that of hundreds of rules only those are looked at again that the kind concerns. Each distinct value of a field is
asked a question once for all rules that ask the same, a rule's cheapest questions come first, and only the rows that
are left read the record itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.values import Commit
from transforms.detections import by_commit, no_detections
from transforms.providers import Provider
from transforms.rules.columns import Mask, Rows
from transforms.rules.conditions import (
    Absent,
    All,
    Any_,
    Exists,
    Node,
    Not,
    SameAs,
    Test,
    all_of,
    any_of,
    fields_of,
    negated,
)
from transforms.rules.describing import Hits, described
from transforms.rules.entries import MISSING, Entry, entry_of
from transforms.rules.fields import DEAREST, Table, cost
from transforms.rules.matchers import AnyOf, Matcher, OneOf
from transforms.rules.sigma import Rule

# The first members of a key say what kind of event it is: of CloudTrail's, the source and the name.
_KIND_MEMBERS = 2
_MOST_KINDS = 100_000


@dataclass(frozen=True, slots=True)
class _Open:
    """What is left to ask of a kind of events: questions by number, and the fields that these read from records."""

    questions: tuple[int, ...]
    fields: tuple[str, ...]


class RuleMatcher:
    """Rules, ready for slices of one provider. It keeps what it learns of kinds of events for the next slice."""

    def __init__(self, rules: Iterable[Rule], provider: Provider) -> None:
        self._fields = provider.fields
        self._kind_members = provider.fields.key_members[:_KIND_MEMBERS]
        self._shared: dict[Node, Node] = {}
        own = [rule for rule in rules if rule.provider in (None, provider.name)]
        self._rules = [(rule, self._cheapest_first(rule.condition)) for rule in own]
        self._by_limit: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._always: list[int] = []
        for index, (_, condition) in enumerate(self._rules):
            limits = [(member, _limit(condition, member)) for member in self._kind_members[::-1]]
            member, texts = next((it for it in limits if it[1] is not None), ("", None))
            if texts is None:
                self._always.append(index)
            for text in texts or ():
                self._by_limit[member, text].append(index)
        self._open: dict[tuple[Any, ...], _Open] = {}
        # What is left to ask of a kind's rows, as places in `_asked`: a condition is hashed once, not once a slice.
        self._asked: list[tuple[int, Node]] = []
        self._numbers: dict[tuple[int, Node], int] = {}

    def hits(self, records: pa.Table, events: pa.Table | None) -> list[Hits]:
        """The rules that hold for some row, in the order of the rules."""
        return self._hits(Table(records, events, self._fields)) if self._rules and len(records) else []

    def _hits(self, table: Table) -> list[Hits]:
        asked: dict[int, list[Rows]] = defaultdict(list)
        for kind, rows in self._kinds(table):
            left = self._left(kind)
            if len(left.fields) > 1:
                table.together(rows, left.fields)
            for question in left.questions:
                asked[question].append(rows)
        found: dict[int, list[Rows]] = defaultdict(list)
        for question, parts in asked.items():
            index, condition = self._asked[question]
            rows = np.concatenate(parts) if len(parts) > 1 else parts[0]
            rows = rows[holds(condition, table, rows)]
            if len(rows):
                found[index].append(rows)
        return [Hits(self._rules[index][0], np.sort(np.concatenate(found[index]))) for index in sorted(found)]

    def _kinds(self, table: Table) -> Iterator[tuple[tuple[Any, ...], Rows]]:
        """Each kind of event, and its rows, ascending."""
        codes, keys = table.keys()
        kinds: dict[tuple[Any, ...], int] = {}
        of_key = [kinds.setdefault(key[: len(self._kind_members)], len(kinds)) for key in keys]
        of_row = np.asarray(of_key, np.min_scalar_type(len(kinds)))[codes]
        order = np.argsort(of_row, kind="stable")
        ends = np.cumsum(np.bincount(of_row, minlength=len(kinds)))
        for kind, start, end in zip(kinds, [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
            if end > start:
                yield kind, order[start:end]

    def detections(
        self, records: pa.Table, events: pa.Table | None, commits: Sequence[Commit]
    ) -> tuple[pa.Table, ...]:
        """A table of `detections` for each commit, by time, event and rule; perhaps without rows."""
        table = Table(records, events, self._fields)
        hits = self._hits(table) if self._rules and len(records) else []
        if not hits:
            return no_detections(commits)
        return by_commit(described(hits, records, events, table), np.concatenate([hit.rows for hit in hits]), commits)

    def _cheapest_first(self, node: Node) -> Node:
        match node:
            case All(parts):
                return All(tuple(sorted(map(self._cheapest_first, parts), key=self._cost)))
            case Any_(parts):
                return Any_(tuple(sorted(map(self._cheapest_first, parts), key=self._cost)))
            case Not(part):
                return Not(self._cheapest_first(part))
        return node

    def _cost(self, node: Node) -> int:
        match node:
            case All(parts) | Any_(parts):
                return max(map(self._cost, parts))
            case Not(part):
                return self._cost(part)
            case SameAs(field, other):
                return max(cost(field, self._fields), cost(other, self._fields))
            case Test(field) | Absent(field):
                return cost(field, self._fields)
            case Exists():
                # What is not among the decoded columns may be in the record as null.
                return DEAREST
        return 0

    def _left(self, kind: tuple[Any, ...]) -> _Open:
        known = self._open.get(kind)
        if known is None:
            if len(self._open) == _MOST_KINDS:
                self._open.clear()
            values = {
                name: MISSING if value is None else entry_of(value)
                for name, value in zip(self._kind_members, kind, strict=True)
            }
            limited = [
                index
                for name, entry in values.items()
                for text in entry.texts
                for index in self._by_limit.get((name, text.lower()), ())
            ]
            decided = [(index, decide(self._rules[index][1], values)) for index in sorted([*limited, *self._always])]
            left = [(index, self._one(node)) for index, node in decided if node is not False]
            fields = {field for _, node in left for field in fields_of(node) if cost(field, self._fields) == DEAREST}
            questions = tuple(self._number(index, node) for index, node in left)
            known = self._open[kind] = _Open(questions, tuple(sorted(fields)))
        return known

    def _one(self, node: Node) -> Node:
        """The node, with one object for all that ask the same: answers are kept by object."""
        match node:
            case All(parts):
                return All(tuple(map(self._one, parts)))
            case Any_(parts):
                return Any_(tuple(map(self._one, parts)))
            case Not(part):
                return Not(self._one(part))
        return self._shared.setdefault(node, node)

    def _number(self, index: int, left: Node) -> int:
        number = self._numbers.setdefault((index, left), len(self._asked))
        if number == len(self._asked):
            self._asked.append((index, left))
        return number


def decide(node: Node, known: dict[str, Entry]) -> Node:
    """What is left to ask once the values of some fields are known."""
    match node:
        case All(parts):
            return all_of([decide(part, known) for part in parts])
        case Any_(parts):
            return any_of([decide(part, known) for part in parts])
        case Not(part):
            return negated(decide(part, known))
        case Test(field, matcher) if field in known:
            texts = known[field].texts
            return bool(texts) and any(matcher.matching(texts))
        case Exists(field) if field in known and known[field].present:
            return True
        case Absent(field) if field in known:
            return not known[field].texts
    return node


def holds(node: Node, table: Table, rows: Rows) -> Mask:
    """Which of the rows, each given once, in any order, a condition holds for."""
    match node:
        case bool():
            return np.full(len(rows), node, np.bool_)
        case All(parts) | Any_(parts):
            # Each part is asked only of the rows that those before it have left open.
            wanted = isinstance(node, Any_)
            left = np.arange(len(rows))
            mask = np.full(len(rows), not wanted, np.bool_)
            for part in parts:
                if not len(left):
                    break
                settled = holds(part, table, rows[left]) == wanted
                mask[left[settled]] = wanted
                left = left[~settled]
            return mask
        case Not(part):
            return ~holds(part, table, rows)
        case Test(field, matcher):
            if field is None:
                return _any_text(matcher, table.texts(rows))
            return table.column(field, rows).flags(node, rows, lambda entries: _any_text(matcher, entries))
        case Exists(field):
            return _exist(node, table, rows)
        case Absent(field):
            return table.column(field, rows).flags(node, rows, lambda entries: [not entry.texts for entry in entries])
    return _same(node, table, rows)


def _any_text(matcher: Matcher, entries: Sequence[Entry]) -> Mask:
    """Which entries have a text that holds: each distinct text is asked once."""
    lengths = [len(entry.texts) for entry in entries]
    texts = [text for entry in entries for text in entry.texts]
    held = np.zeros(len(entries), np.bool_)
    if texts:
        held[np.repeat(np.arange(len(entries)), lengths)[np.asarray(matcher.matching(texts), np.bool_)]] = True
    return held


def _exist(node: Exists, table: Table, rows: Rows) -> Mask:
    def are_there(entries: Sequence[Entry]) -> list[bool]:
        return [entry.present for entry in entries]

    mask = table.column(node.field, rows).flags(node, rows, are_there)
    # Decoded columns do not tell null from absent: where one has nothing, the record itself is asked.
    unsure = np.flatnonzero(~mask)
    if len(unsure) and table.is_decoded(node.field):
        mask[unsure] = table.delivered(node.field, rows[unsure]).flags(node, rows[unsure], are_there)
    return mask


def _same(node: SameAs, table: Table, rows: Rows) -> Mask:
    ones, others = table.column(node.field, rows), table.column(node.other, rows)
    codes = np.stack([ones.codes(rows), others.codes(rows)])
    pairs, places = np.unique(codes, axis=1, return_inverse=True)

    def are_same(one: Entry, other: Entry) -> bool:
        theirs = [text.lower() for text in other.texts]
        mine = [text.lower() for text in one.texts]
        if node.open_start or node.open_end:
            return any(_reaches(node, text, it) for text in mine for it in theirs)
        return not set(mine).isdisjoint(theirs)

    flags = [are_same(ones.entries[one], others.entries[other]) for one, other in pairs.T.tolist()]
    return np.asarray(flags, np.bool_)[places.reshape(-1)]


def _reaches(node: SameAs, text: str, other: str) -> bool:
    if node.open_start and node.open_end:
        return other in text
    return text.endswith(other) if node.open_start else text.startswith(other)


def _limit(node: Node, member: str) -> frozenset[str] | None:
    """The only texts of a member, in lower case, for which a condition can hold; None: any."""
    match node:
        case Test(field, matcher) if field == member:
            return _only(matcher)
        case All(parts):
            limits = [texts for part in parts if (texts := _limit(part, member)) is not None]
            return frozenset.intersection(*limits) if limits else None
        case Any_(parts):
            all_limits = [_limit(part, member) for part in parts]
            known = [texts for texts in all_limits if texts is not None]
            return frozenset().union(*known) if len(known) == len(all_limits) else None
    return frozenset() if node is False else None


def _only(matcher: Matcher) -> frozenset[str] | None:
    if isinstance(matcher, OneOf):
        return frozenset(text.lower() for text in matcher.texts)
    if isinstance(matcher, AnyOf):
        limits = [_only(it) for it in matcher.matchers]
        known = [it for it in limits if it is not None]
        return frozenset().union(*known) if len(known) == len(limits) else None
    return None
