"""Rules against the rows of a slice: which rule holds for which rows, and the rows of `detections` for them.

Each distinct key of events (source, name, error code and so on) meets the rules once in a process: what a rule still
asks beyond the key is kept, so that of hundreds of rules only those are looked at again whose key fits, and only the
rows that are left read the record itself. A rule's cheapest questions come first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.values import Commit
from transforms.providers import Provider
from transforms.rules.commits import by_commit, no_detections
from transforms.rules.conditions import Absent, All, Any_, Exists, Node, Not, SameAs, Test, all_of, any_of, negated
from transforms.rules.fields import MISSING, Entry, Rows, Table, cost, entry_of
from transforms.rules.matchers import AnyOf, Matcher, OneOf
from transforms.rules.sigma import Rule

MOST_EVIDENCE, LONGEST_EVIDENCE = 32, 256
_MOST_KEYS = 100_000

Mask = NDArray[np.bool_]
_key = msgspec.json.Decoder(list[Any]).decode


@dataclass(frozen=True, slots=True)
class Hits:
    """Rows of the slice, ascending, for which a rule holds."""

    rule: Rule
    rows: Rows


class RuleMatcher:
    """Rules, ready for slices of one provider. It keeps what it learns of events' keys for the next slice."""

    def __init__(self, rules: Iterable[Rule], provider: Provider) -> None:
        self._fields = provider.fields
        own = [rule for rule in rules if rule.provider in (None, provider.name)]
        self._rules = [(rule, self._cheapest_first(rule.condition)) for rule in own]
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._always: list[int] = []
        for index, (_, condition) in enumerate(self._rules):
            names = _names(condition, self._fields.key_members)
            if names is None:
                self._always.append(index)
            for name in names or ():
                self._by_name[name].append(index)
        # What is left to ask of a key's rows, as places in `_asked`: a condition is hashed once, not once a slice.
        self._open: dict[str, tuple[int, ...]] = {}
        self._asked: list[tuple[int, Node]] = []
        self._numbers: dict[tuple[int, Node], int] = {}

    def hits(self, records: pa.Table, events: pa.Table | None) -> list[Hits]:
        """The rules that hold for some row, in the order of the rules."""
        return self._hits(Table(records, events, self._fields)) if self._rules and len(records) else []

    def _hits(self, table: Table) -> list[Hits]:
        codes, keys = table.keys()
        order = np.argsort(codes, kind="stable")
        present, starts = np.unique(codes[order], return_index=True)
        ends = np.append(starts[1:], len(order))
        asked: dict[int, list[Rows]] = defaultdict(list)
        for code, start, end in zip(present.tolist(), starts.tolist(), ends.tolist(), strict=True):
            for question in self._questions(keys[code]):
                asked[question].append(order[start:end])
        found: dict[int, list[Rows]] = defaultdict(list)
        for question, parts in asked.items():
            index, condition = self._asked[question]
            rows = np.sort(np.concatenate(parts))
            rows = rows[holds(condition, table, rows)]
            if len(rows):
                found[index].append(rows)
        return [Hits(self._rules[index][0], np.sort(np.concatenate(found[index]))) for index in sorted(found)]

    def detections(
        self, records: pa.Table, events: pa.Table | None, commits: Sequence[Commit]
    ) -> tuple[pa.Table, ...]:
        """A table of `detections` for each commit, by time, event and rule; perhaps without rows."""
        table = Table(records, events, self._fields)
        hits = self._hits(table) if self._rules and len(records) else []
        if not hits:
            return no_detections(commits)
        rows = pa.concat_tables([_described(hit, records, events, table) for hit in hits])
        return by_commit(rows, np.concatenate([hit.rows for hit in hits]), commits)

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
            case Test(field):
                return cost(field, self._fields)
            case Exists(field) | Absent(field):
                return cost(field, self._fields)
        return 0

    def _questions(self, key: str) -> tuple[int, ...]:
        known = self._open.get(key)
        if known is None:
            if len(self._open) == _MOST_KEYS:
                self._open.clear()
            values = {
                name: MISSING if value is None else entry_of(value)
                for name, value in zip(self._fields.key_members, _key(key), strict=True)
            }
            names = values.get("eventName", MISSING).texts
            named = self._by_name.get(names[0].lower(), []) if names else []
            decided = ((index, decide(self._rules[index][1], values)) for index in sorted([*named, *self._always]))
            known = self._open[key] = tuple(self._number(index, left) for index, left in decided if left is not False)
        return known

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
    """Which of the rows a condition holds for."""
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
            return table.values(field, rows).flags(lambda entries: _any_text(matcher, entries))
        case Exists(field):
            return _exist(field, table, rows)
        case Absent(field):
            return table.values(field, rows).flags(lambda entries: [not entry.texts for entry in entries])
    return _same(node, table, rows)


def _any_text(matcher: Matcher, entries: Sequence[Entry]) -> Mask:
    """Which entries have a text that holds: each distinct text is asked once."""
    lengths = [len(entry.texts) for entry in entries]
    texts = [text for entry in entries for text in entry.texts]
    held = np.zeros(len(entries), np.bool_)
    if texts:
        held[np.repeat(np.arange(len(entries)), lengths)[np.asarray(matcher.matching(texts), np.bool_)]] = True
    return held


def _exist(field: str, table: Table, rows: Rows) -> Mask:
    mask = table.values(field, rows).flags(lambda entries: [entry.present for entry in entries])
    # Decoded columns do not tell null from absent: where one has nothing, the record itself is asked.
    unsure = np.flatnonzero(~mask)
    if len(unsure) and table.is_decoded(field):
        mask[unsure] = table.delivered(field, rows[unsure]).flags(lambda entries: [it.present for it in entries])
    return mask


def _same(node: SameAs, table: Table, rows: Rows) -> Mask:
    ones, others = table.values(node.field, rows), table.values(node.other, rows)
    pairs, places = np.unique(np.stack([ones.codes, others.codes]), axis=1, return_inverse=True)

    def are_same(one: Entry, other: Entry) -> bool:
        theirs = [text.lower() for text in other.texts]
        mine = [text.lower() for text in one.texts]
        if node.starts_with or node.ends_with:
            return any(
                (not node.starts_with or text.startswith(it)) and (not node.ends_with or text.endswith(it))
                for text in mine
                for it in theirs
            )
        return not set(mine).isdisjoint(theirs)

    flags = [are_same(ones.entries[one], others.entries[other]) for one, other in pairs.T.tolist()]
    return np.asarray(flags, np.bool_)[places.reshape(-1)]


def _names(node: Node, key_members: Sequence[str]) -> frozenset[str] | None:
    """The only event names, in lower case, for which a condition can hold; None: any."""
    if "eventName" not in key_members:
        return None
    match node:
        case Test("eventName", matcher):
            return _only(matcher)
        case All(parts):
            limits = [names for part in parts if (names := _names(part, key_members)) is not None]
            return frozenset.intersection(*limits) if limits else None
        case Any_(parts):
            all_limits = [_names(part, key_members) for part in parts]
            known = [names for names in all_limits if names is not None]
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


def _described(hits: Hits, records: pa.Table, events: pa.Table | None, table: Table) -> pa.Table:
    rule, rows = hits.rule, hits.rows
    places: Any = pa.array(rows)
    count = len(rows)

    def texts(rows_of: list[list[str]]) -> Any:
        return pa.array(rows_of, pa.list_(pa.field("element", pa.string(), nullable=False)))

    groups: list[list[str]] = [[] for _ in range(count)]
    values: list[list[str]] = [[] for _ in range(count)]
    for field in rule.group_fields:
        for row, entry in enumerate(_entries(table, field, rows)):
            if entry.texts:
                groups[row].append(field)
                values[row].append(entry.texts[0])
    evidence: list[list[str]] = [[] for _ in range(count)]
    for field in rule.fields[:MOST_EVIDENCE]:
        for row, entry in enumerate(_entries(table, field, rows)):
            if entry.texts:
                evidence[row].append(f"{field}={', '.join(entry.texts)}"[:LONGEST_EVIDENCE])
    nothing: Any = pa.nulls
    return pa.table(
        {
            "rule_id": pa.repeat(rule.id, count),
            "rule_version": pa.repeat(rule.version, count),
            "rule_title": pa.repeat(rule.title, count),
            "kind": pa.repeat("sigma", count),
            "level": pa.repeat(rule.level, count),
            "tags": texts([list(rule.tags)] * count),
            "alerts": pa.array(np.full(count, rule.alerts)),
            "event_id": records["event_id"].take(places),
            "event_time": records["event_time"].take(places),
            "session_id": _flat(events["session_id"].take(places)) if events else nothing(count, pa.string()),
            "group_fields": texts(groups),
            "group_values": texts(values),
            "evidence": texts(evidence),
        }
    )


def _entries(table: Table, field: str, rows: Rows) -> list[Entry]:
    values = table.values(field, rows)
    return [values.entries[code] for code in values.codes.tolist()]


def _flat(column: Any) -> Any:
    return column.cast(pa.string())
