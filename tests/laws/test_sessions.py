"""Law 4: what depends on other records is a merge of small fragments, in any order, grouping and repetition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import sql
from schemas.datasets import EVENTS, SESSIONS
from schemas.values import Commit, Partition, Slice
from transforms.stitch_sessions import MOST_VALUES, stitch_sessions

Row = dict[str, Any]

BEGIN = datetime(2026, 1, 12, 9, tzinfo=UTC)
ACCOUNTS = ("111122223333", "444455556666")
SMALLEST = [
    *("identity_type", "identity_name", "identity_arn", "principal_id", "role_name", "source_identity"),
    *("session_created_time", "invoked_by"),
]
LISTED = {
    "access_key_ids": "access_key_id",
    "caller_ips": "caller_ip",
    "user_agents": "user_agent",
    "regions": "region",
    "services": "resource_type_orig",
}
few = st.sampled_from([None, "", "a", "b", "é", "B"])
rows = st.fixed_dictionaries(
    {
        "event_id": st.integers(0, 30).map("event-{}".format),
        "recipient_account_id": st.sampled_from(ACCOUNTS),
        "event_time": st.integers(0, 4).map(lambda second: BEGIN + timedelta(seconds=second)),
        "session_id": st.sampled_from([None, "s1", "s2", "s3"]),
        "session_created_time": st.sampled_from([None, BEGIN, BEGIN - timedelta(seconds=1)]),
        "operation_status": st.sampled_from([None, "SUCCESS", "FAILURE"]),
        "error_class": st.sampled_from([None, "DENIED", "ERROR"]),
        "mfa_authenticated": st.sampled_from([None, True, False]),
        "session_credential_from_console": st.sampled_from([None, True, False]),
        "issued_access_key_id": st.sampled_from([None, None, None, "ASIA1"]),
        "issued_session_tags": st.sampled_from([None, ["k=v", "k=w"]]),
        **{name: few for name in (*SMALLEST, *LISTED.values()) if name != "session_created_time"},
    }
)
events = st.lists(rows, max_size=30, unique_by=lambda row: (row["recipient_account_id"], row["event_id"]))


def fragments(commits: Iterable[Sequence[Row]]) -> pa.Table:
    """The session rows of commits, each with the rows of one account, as the tree holds them."""
    commits = [it for it in commits if it]
    found: list[Row] = []
    places = []
    for number, commit in enumerate(commits, 1):
        partition = Partition(commit[0]["recipient_account_id"], "2026-01-12")
        places.append(Commit(partition, number, len(found), len(commit)))
        found += sorted(commit, key=lambda row: row["event_time"])
    numbers = [it.number for it in places for _ in range(it.length)]
    filled = [
        {**row, "ingestion_time": BEGIN, "commit_number": number} for row, number in zip(found, numbers, strict=True)
    ]
    stitched = stitch_sessions(
        Slice(commits=tuple(places), events=pa.Table.from_pylist(filled, schema=EVENTS.arrow)),
    )
    assert len(stitched.sessions) == len(places)
    for table, place in zip(stitched.sessions, places, strict=True):
        assert set(table["commit_number"].to_pylist()) <= {place.number}
        assert set(table["recipient_account_id"].to_pylist()) <= {place.partition.account}
    empty = SESSIONS.arrow.empty_table()
    return pa.concat_tables([empty, *(it.cast(SESSIONS.arrow) for it in stitched.sessions)])


def merged(rows: pa.Table) -> list[Row]:
    """The shipped view over them."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE SCHEMA tree")
        connection.register("session_rows", rows)
        connection.execute(
            "CREATE VIEW tree.sessions AS SELECT *, recipient_account_id AS account_id FROM session_rows"
        )
        connection.execute(sql.text("views/sessions"))
        return connection.sql("FROM sessions ORDER BY session_id").to_arrow_table().to_pylist()


def summed_up(of: Sequence[Row]) -> list[Row]:
    """What a session's events say, without fragments."""
    by_session = defaultdict(list)
    for row in of:
        if row["session_id"] is not None:
            by_session[row["session_id"]].append(row)
    return [_summed_up(name, mine) for name, mine in sorted(by_session.items())]


def _summed_up(name: str, mine: Sequence[Row]) -> Row:
    def values(column: str) -> list[Any]:
        return [row[column] for row in mine if row[column] is not None]

    in_order = sorted(mine, key=lambda row: (row["event_time"], row["event_id"]))
    failures = [row for row in mine if row["operation_status"] == "FAILURE"]
    return {
        "session_id": name,
        "first_seen": in_order[0]["event_time"],
        "last_seen": in_order[-1]["event_time"],
        "first_event_id": in_order[0]["event_id"],
        "last_event_id": in_order[-1]["event_id"],
        "events": len(mine),
        "failures": len(failures),
        "denials": sum(row["error_class"] == "DENIED" for row in mine),
        "mfa_authenticated": any(values("mfa_authenticated")) if values("mfa_authenticated") else None,
        "accounts": sorted(set(values("recipient_account_id"))),
        "is_cut": False,
        **{column: min(values(column), key=_bytes, default=None) for column in SMALLEST},
        **{column: sorted(set(values(other)), key=_bytes) for column, other in LISTED.items()},
    }


def _bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


@settings(max_examples=60)
@given(events, st.randoms(use_true_random=False))
def test_sessions_are_what_their_events_say_however_these_were_cut(of: list[Row], random: Any) -> None:
    wanted = summed_up(of)
    for parts in (1, 2, 5):
        commits: dict[tuple[str, int], list[Row]] = defaultdict(list)
        random.shuffle(of)
        for row in of:
            commits[row["recipient_account_id"], random.randrange(parts)].append(row)
        found = merged(fragments(commits.values()))
        assert [{column: row[column] for column in wanted[0]} for row in found] == wanted if wanted else not found


@settings(max_examples=40)
@given(events, events)
def test_fragments_that_come_late_or_in_another_order_merge_to_the_same_sessions(
    of: list[Row], late: list[Row]
) -> None:
    rows = fragments(_by_account(of))
    more = fragments(_by_account(late))
    assert merged(pa.concat_tables([rows, more])) == merged(pa.concat_tables([more, rows]))


@settings(max_examples=40)
@given(events)
def test_links_are_the_events_that_issued_something(of: list[Row]) -> None:
    rows = fragments(_by_account(of)).to_pylist()
    links = {row["first_event_id"]: row for row in rows if row["kind"] == "link"}
    issuing = {row["event_id"]: row for row in of if row["issued_access_key_id"]}
    assert len([row for row in rows if row["kind"] == "link"]) == len([r for r in of if r["issued_access_key_id"]])
    for id_, row in links.items():
        same = ("session_id", "issued_access_key_id", "issued_session_tags", "identity_name", "principal_id")
        if len([other for other in of if other["event_id"] == id_]) == 1:
            assert [row[name] for name in same] == [issuing[id_][name] for name in same]


def test_a_fragment_is_bounded_and_what_is_cut_from_parts_is_what_is_cut_from_the_whole() -> None:
    of = [
        {
            "event_id": f"e{number:03}",
            "recipient_account_id": ACCOUNTS[0],
            "event_time": BEGIN + timedelta(seconds=number),
            "session_id": "s",
            "caller_ip": f"198.51.100.{number}",
        }
        for number in range(200)
    ]
    whole = merged(fragments([of]))
    parts = merged(fragments([of[start::7] for start in range(7)]))
    assert parts == whole
    assert len(whole[0]["caller_ips"]) == MOST_VALUES
    assert whole[0]["caller_ips"] == sorted(row["caller_ip"] for row in of)[:MOST_VALUES]
    assert whole[0]["is_cut"]
    (few_of_them,) = merged(fragments([of[:MOST_VALUES]]))
    assert not few_of_them["is_cut"]


def _by_account(of: Iterable[Row]) -> list[list[Row]]:
    found = defaultdict(list)
    for row in of:
        found[row["recipient_account_id"]].append(row)
    return list(found.values())
