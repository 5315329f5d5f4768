"""StitchSessions: what each session did, and which credentials were issued, as one raw file tells it.

A fragment sums up a session's events of one commit; a link is an event that issued a credential. Both are functions
of one raw file. Fragments of a session merge by minimum, maximum, sum and union: in whatever order, grouping or
repetition raw files came, the merged session is the same. Who issued which session is decided over all of them, by
the views in `pipeline/sql/views`, never here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.datasets import SESSIONS
from schemas.values import Commit, Slice
from transforms.dofn import StageFn
from transforms.stores.parquet import conform, flat

FRAGMENT, LINK = "fragment", "link"
MOST_VALUES = 64
"""A list of a fragment holds so many values at most, the smallest: so unions of lists cut thus are cut thus."""

# Columns of `cloud_audit_logs` that a fragment has one text of, where events differ the smallest.
_SMALLEST = (
    *("identity_type", "identity_sub_type", "identity_type_orig", "identity_name", "identity_arn", "principal_id"),
    *("caller_project", "role_name", "role_session_name", "session_issuer_arn", "source_identity"),
    *("federated_provider", "on_behalf_of_user_id", "on_behalf_of_store_arn", "credential_id"),
    *("sign_in_session_arn", "invoked_by", "ec2_role_delivery"),
)
# Columns of a fragment by the columns of `cloud_audit_logs` that they list.
_LISTED = {
    "access_key_ids": "access_key_id",
    "caller_ips": "caller_ip",
    "user_agents": "user_agent",
    "regions": "region",
    "services": "resource_type_orig",
}
_EVER_TRUE = {"mfa_authenticated": "mfa_authenticated", "from_console": "session_credential_from_console"}
_OF_LINKS = (
    *("shared_event_id", "issued_access_key_id", "issued_principal_id", "issued_arn", "issued_session_id"),
    *("issued_user_name", "issued_expiration_time", "issued_source_identity", "issued_session_tags"),
    *("issued_account_id", "issued_role_name", "switched_from_arn"),
)
_ISSUES = ("issued_access_key_id", "issued_principal_id", "issued_session_id", "issued_role_name")

Codes = NDArray[np.int64]


def stitch_sessions(normalized: Slice) -> Slice:
    """The slice with `sessions`, a table of fragments and links for each of its commits, perhaps without rows."""
    events = normalized.events
    if events is None:
        return normalized
    commits = normalized.commits
    owners = np.repeat(np.arange(len(commits)), [it.length for it in commits])
    fragments, fragment_owners = _fragments(events, owners)
    links, link_owners = _links(events, owners)
    owners = np.concatenate([fragment_owners, link_owners])
    order = np.argsort(owners, kind="stable")
    table = conform(_owned(pa.concat_tables([fragments, links]), owners, commits), SESSIONS).take(order)
    bounds = np.searchsorted(owners[order], np.arange(len(commits) + 1)).tolist()
    tables = [table.slice(start, stop - start) for start, stop in pairwise(bounds)]
    return replace(normalized, sessions=tuple(tables))


def _owned(rows: pa.Table, owners: Codes, commits: Sequence[Commit]) -> dict[str, Any]:
    """The columns, with those that tell the commit of each row."""
    accounts: Any = pa.array([it.partition.account for it in commits], pa.string())
    numbers: Any = pa.array([it.number for it in commits], pa.int32())
    columns: dict[str, Any] = dict(zip(rows.column_names, rows.columns, strict=True))
    places: Any = pa.array(owners)
    return columns | {"recipient_account_id": accounts.take(places), "commit_number": numbers.take(places)}


@dataclass(frozen=True)
class _Ranked:
    """A text column as each row's rank among its sorted distinct values; null has the last rank."""

    codes: Codes
    values: Any

    @classmethod
    def of(cls, column: Any) -> _Ranked:
        one = _one(column)
        if not pa.types.is_dictionary(one.type):
            one = one.dictionary_encode()
        # A dictionary may hold a value that no row has, or hold one twice.
        distinct = one.dictionary.dictionary_encode()
        order = pc.array_sort_indices(distinct.dictionary).to_numpy()
        rank = np.empty(len(order) + 1, np.int64)
        rank[order], rank[-1] = np.arange(len(order)), len(order)
        by_index = np.append(rank[distinct.indices.fill_null(-1).to_numpy()], len(order))
        return cls(by_index[one.indices.fill_null(-1).to_numpy()], distinct.dictionary.take(pa.array(order)))

    @property
    def null(self) -> int:
        return len(self.values)

    def texts(self, codes: Codes) -> Any:
        """The values of some ranks."""
        return self.values.take(pa.array(codes, mask=codes == self.null))


@dataclass(frozen=True)
class _Groups:
    """Rows grouped: `rows` in order of their groups, those of a group in order of time; where each group starts."""

    rows: Codes
    starts: Codes

    def __len__(self) -> int:
        return len(self.starts)

    def edge(self, times: Any, ids: Any, *, last: bool) -> tuple[Any, Any]:
        """Time and id of each group's first or last row, by time and then by the text of the id."""
        lengths = np.diff(self.starts, append=len(self.rows))
        ends = self.rows[self.starts + (lengths - 1 if last else 0)]
        micros = times.cast(pa.int64()).to_numpy()
        rivals = np.flatnonzero(micros[self.rows] == np.repeat(micros[ends], lengths))
        groups = np.repeat(np.arange(len(self)), lengths)[rivals]
        tied = np.flatnonzero(np.bincount(groups, minlength=len(self))[groups] > 1)
        among = pa.table({"group": groups[tied], "id": ids.take(pa.array(self.rows[rivals[tied]]))})
        order = pc.sort_indices(among, [("group", "ascending"), ("id", "descending" if last else "ascending")])
        ranked = order.to_numpy()
        winners = ranked[np.flatnonzero(np.diff(groups[tied][ranked], prepend=-1))]
        ends[groups[tied][winners]] = self.rows[rivals[tied][winners]]
        return times.take(pa.array(ends)), ids.take(pa.array(ends))

    def count(self, flags: Any) -> Any:
        """How many rows of each group the flag is true for."""
        return self.added(flags.fill_null(False).to_numpy(zero_copy_only=False).astype(np.int64))

    def added(self, numbers: NDArray[np.int64]) -> Any:
        return pa.array(np.add.reduceat(numbers[self.rows], self.starts))

    def smallest(self, column: _Ranked) -> Any:
        """The smallest text of each group; null where it has none."""
        return column.texts(np.minimum.reduceat(column.codes[self.rows], self.starts))

    def earliest(self, times: Any) -> Any:
        never = np.iinfo(np.int64).max
        micros = times.cast(pa.int64()).fill_null(never).to_numpy()
        found = np.minimum.reduceat(micros[self.rows], self.starts)
        return pa.array(found, mask=found == never).cast(times.type)

    def ever_true(self, flags: Any) -> Any:
        """Whether the flag is true for any row; null where it is null for all."""
        said = flags.cast(pa.int8()).fill_null(-1).to_numpy()
        found = np.maximum.reduceat(said[self.rows], self.starts)
        return pa.array(found == 1, mask=found < 0)

    def listed(self, column: _Ranked) -> tuple[Any, NDArray[np.bool_]]:
        """The distinct texts of each group, sorted, at most `MOST_VALUES`; and whether there were more."""
        groups = np.repeat(np.arange(len(self)), np.diff(self.starts, append=len(self.rows)))
        codes = column.codes[self.rows]
        pairs = np.unique((groups * (column.null + 1) + codes)[codes < column.null])
        groups, codes = np.divmod(pairs, column.null + 1)
        begins = np.searchsorted(groups, np.arange(len(self) + 1))
        kept = np.arange(len(pairs)) - begins[groups] < MOST_VALUES
        lengths = np.diff(begins)
        offsets = np.append(0, np.cumsum(np.minimum(lengths, MOST_VALUES))).astype(np.int32)
        return _lists(offsets, column.texts(codes[kept])), lengths > MOST_VALUES


def _groups(events: pa.Table, owners: Codes) -> tuple[_Groups, _Ranked]:
    sessions = _Ranked.of(events["session_id"])
    rows = np.flatnonzero(sessions.codes < sessions.null)
    keys = owners[rows] * (sessions.null + 1) + sessions.codes[rows]
    order = np.argsort(keys, kind="stable")
    return _Groups(rows[order], np.flatnonzero(np.diff(keys[order], prepend=-1))), sessions


def _fragments(events: pa.Table, owners: Codes) -> tuple[pa.Table, Codes]:
    """One row a session and commit, in order of the commit and the session's id, and the commit of each."""
    groups, sessions = _groups(events, owners)
    if not len(groups):
        return _table({}, 0, FRAGMENT), owners[:0]
    times, ids = _one(events["event_time"]), _one(events["event_id"])
    outcomes = flat(events.select(["operation_status", "error_class"]))
    failed = pc.equal(_one(outcomes["operation_status"]), pa.scalar("FAILURE"))
    denied = pc.equal(_one(outcomes["error_class"]), pa.scalar("DENIED"))
    first_seen, first_event_id = groups.edge(times, ids, last=False)
    last_seen, last_event_id = groups.edge(times, ids, last=True)
    columns = {
        "session_id": sessions.texts(sessions.codes[groups.rows[groups.starts]]),
        "first_seen": first_seen,
        "last_seen": last_seen,
        "first_event_id": first_event_id,
        "last_event_id": last_event_id,
        "events": groups.added(np.ones(len(events), np.int64)),
        "failures": groups.count(failed),
        "denials": groups.count(denied),
        "session_created_time": groups.earliest(_one(events["session_created_time"])),
        **{name: groups.smallest(_Ranked.of(events[name])) for name in _SMALLEST},
        **{name: groups.ever_true(_one(events[other])) for name, other in _EVER_TRUE.items()},
    }
    is_cut = np.zeros(len(groups), np.bool_)
    for name, other in _LISTED.items():
        columns[name], are_more = groups.listed(_Ranked.of(events[other]))
        is_cut |= are_more
    columns["is_cut"] = pa.array(is_cut)
    return _table(columns, len(groups), FRAGMENT), owners[groups.rows[groups.starts]]


def _links(events: pa.Table, owners: Codes) -> tuple[pa.Table, Codes]:
    """The events that issued a credential, in their order, and the commit of each."""
    issues: Any = pc.is_valid(events[_ISSUES[0]])
    for name in _ISSUES[1:]:
        issues = pc.or_(issues, pc.is_valid(events[name]))
    rows = np.flatnonzero(_one(issues).to_numpy(zero_copy_only=False))
    places: Any = pa.array(rows)
    chosen = flat(events.take(places))
    columns = {
        **{name: chosen[name] for name in ("session_id", "session_created_time", *_SMALLEST, *_OF_LINKS)},
        **{name: chosen[other] for name, other in _EVER_TRUE.items()},
        **{name: _each_alone(_one(chosen[other])) for name, other in _LISTED.items()},
        "first_seen": chosen["event_time"],
        "last_seen": chosen["event_time"],
        "first_event_id": chosen["event_id"],
        "last_event_id": chosen["event_id"],
        "events": pa.array(np.ones(len(rows), np.int64)),
        "failures": pa.array(np.zeros(len(rows), np.int64)),
        "denials": pa.array(np.zeros(len(rows), np.int64)),
        "operation": chosen["operation_name_orig"],
    }
    return _table(columns, len(rows), LINK), owners[rows]


def _each_alone(texts: Any) -> Any:
    """Each text as a list of its own; null as an empty list."""
    offsets = np.append(0, np.cumsum(texts.is_valid().to_numpy(zero_copy_only=False))).astype(np.int32)
    return _lists(offsets, texts.drop_null())


def _lists(offsets: NDArray[np.int32], texts: Any) -> Any:
    starts: Any = pa.array(offsets)
    kind: Any = pa.list_(pa.field("element", pa.string(), nullable=False))
    lists: Any = pa.ListArray
    return lists.from_arrays(starts, texts, type=kind)


def _table(columns: dict[str, Any], length: int, kind: str) -> pa.Table:
    """The columns of `sessions` but for the commit's, in its order; those that this kind lacks are null."""
    fields = [it for it in SESSIONS.arrow if it.name not in ("recipient_account_id", "commit_number")]
    columns = {**columns, "kind": pa.repeat(kind, length)}
    nothing: Any = pa.nulls
    return pa.table(
        [columns[it.name] if it.name in columns else nothing(length, it.type) for it in fields],
        names=[it.name for it in fields],
    )


def _one(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


@dataclass(eq=False)
class StitchSessions(beam.PTransform[Any, Any]):
    """Slice of events in, the same slice with its session fragments and links out."""

    def expand(self, slices: Any) -> Any:
        """Stitch each slice."""
        return slices | beam.ParDo(_Stitch()).with_output_types(Slice)


class _Stitch(StageFn):
    def process(self, normalized: Slice) -> Iterator[Slice]:
        yield stitch_sessions(normalized)
