"""Links between issuing events and uses in real trails, against an independent join over the raw records."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.published import DATA, published
from support.replaying import replay_from
from support.trails import trail_object

from pipeline.commands import load
from pipeline.sql import query
from schemas.errors import ConfigError

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"no data of others at {DATA} (TRAILWEAVE_DATA)")

TOLERANCE = timedelta(seconds=5)
ISSUES_TEMPORARY = {
    *("AssumeRole", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "AssumeRoot"),
    *("GetSessionToken", "GetFederationToken"),
}

Pair = tuple[str, str]


def replayed(objects: list[list[Any]], folder: Path, **flags: Any) -> Path:
    source, output = folder / "in", folder / "out"
    source.mkdir(parents=True)
    for number, of in enumerate(objects):
        (source / f"{number:05}.json.gz").write_bytes(trail_object(of))
    replayed_from(str(source), output, **flags)
    return output


def replayed_from(source: str, output: Path, **flags: Any) -> None:
    replay_from(load(output=str(output), **flags), source)


@pytest.fixture(scope="module")
def corpus() -> list[Any]:
    """Records with an id; where others publish several under one id, the first."""
    found: dict[str, Any] = {}
    for _, text in published():
        record = json.loads(text)
        if isinstance(record.get("eventID"), str):
            found.setdefault(record["eventID"], record)
    return list(found.values())


@pytest.fixture(scope="module")
def whole(corpus: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return replayed([corpus], tmp_path_factory.mktemp("whole"))


def asked(output: Path, sql: str) -> list[tuple[Any, ...]]:
    with query.connect(load(output=str(output)).root()) as connection:
        return [tuple(row.values()) for row in query.run(connection, sql).read_all().to_pylist()]


def kept(output: Path) -> Iterator[dict[str, Any]]:
    """What the raw dataset holds."""
    for (text,) in asked(output, "SELECT raw_json FROM aws_s3_raw"):
        yield json.loads(text)


def part(record: Any, *names: str) -> Any:
    for name in names:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def time_of(text: str) -> datetime:
    """A time in either ISO form; some that others anonymized lack their zone."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).replace(tzinfo=UTC)


def joined(records: list[dict[str, Any]]) -> set[Pair]:
    """(issuing event, event that used the key), by hand: the key, and a creation date within seconds of the issue."""
    uses = defaultdict(list)
    for record in records:
        key = part(record, "userIdentity", "accessKeyId")
        if key:
            uses[key].append(record)
    pairs: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    for issue in records:
        if issue.get("errorCode"):
            continue
        if issue.get("eventName") in ISSUES_TEMPORARY:
            key = part(issue, "responseElements", "credentials", "accessKeyId")
            for use in uses.get(key, ()) if key else ():
                created = part(use, "userIdentity", "sessionContext", "attributes", "creationDate")
                if created and abs(time_of(created) - time_of(issue["eventTime"])) <= TOLERANCE:
                    pairs[key][use["eventID"]].append(issue)
        elif issue.get("eventName") == "CreateAccessKey":
            key = part(issue, "responseElements", "accessKey", "accessKeyId")
            for use in uses.get(key, ()) if key else ():
                if time_of(use["eventTime"]) >= time_of(issue["eventTime"]) - TOLERANCE:
                    pairs[key][use["eventID"]].append(issue)
    return {
        (issue["eventID"], use)
        for by_use in pairs.values()
        for use, issues in by_use.items()
        for issue in issues
        # Of the two records of a call across accounts the caller's.
        if part(issue, "userIdentity", "type") != "AWSAccount"
        or all(part(other, "userIdentity", "type") == "AWSAccount" for other in issues)
    }


LINKED = """
    SELECT issuing_event_id, event_id
    FROM links JOIN cloud_audit_logs AS uses ON uses.session_id = links.issued_session_id
        AND uses.access_key_id = links.issued_access_key_id
    WHERE method IN ('access_key', 'long_term_key')"""


def test_links_by_key_are_those_of_an_independent_join(whole: Path) -> None:
    wanted = joined(list(kept(whole)))
    assert len(wanted) > 20
    assert set(asked(whole, LINKED)) == wanted


def test_links_and_stories_do_not_depend_on_order_and_batching(
    corpus: list[Any], whole: Path, tmp_path: Path
) -> None:
    shuffled = [*corpus, *corpus[::3]]
    random.Random(5).shuffle(shuffled)
    cut = replayed([shuffled[start::17] for start in range(17)], tmp_path, max_slice_bytes=1_000_000)
    for view in ("sessions", "links", "session_stories", "stories"):
        rows = [repr(row) for row in asked(whole, f"FROM {view} ORDER BY ALL")]
        assert rows == [repr(row) for row in asked(cut, f"FROM {view} ORDER BY ALL")], view


def test_each_session_has_one_story_and_each_chain_its_evidence(whole: Path) -> None:
    (counts,) = asked(
        whole,
        """SELECT count(*), count(DISTINCT session_id), (SELECT count(*) FROM sessions),
                  count(*) FILTER (chain_depth > 0), count(*) FILTER (chain_depth > 0 AND issuing_event_id IS NULL),
                  count(*) FILTER (path[1] <> root_session_id OR path[-1] <> session_id)
           FROM session_stories""",
    )
    stories, distinct, sessions, chained, unexplained, astray = counts
    assert stories == distinct == sessions
    assert chained >= 5
    assert unexplained == astray == 0


def test_each_root_identity_stands_in_a_record_of_its_root_or_of_the_event_that_issued_it(whole: Path) -> None:
    records: dict[str, list[str]] = defaultdict(list)
    for session, text in asked(whole, "SELECT session_id, raw_log FROM cloud_audit_logs_with_raw"):
        records[session].append(text)
    issuing = dict(
        asked(
            whole,
            """SELECT issued_session_id, string_agg(raw_json, ' ')
               FROM links JOIN aws_s3_raw ON event_id = issuing_event_id GROUP BY ALL""",
        )
    )
    told = asked(whole, "SELECT session_id, root_session_id, root_method, root_identity FROM session_stories")
    assert len({method for _, _, method, _ in told}) >= 4
    for session, root, method, identity in told:
        evidence = [*records[root], *records[session], issuing.get(root, "")]
        names = identity.split("/") if method == "workload" else [identity]
        assert all(any(name in text for text in evidence) for name in names), (session, method, identity)


def test_each_step_of_a_chain_is_a_link_whose_event_the_issuer_made(whole: Path) -> None:
    steps = asked(
        whole,
        """WITH pairs AS (
               SELECT DISTINCT path[place] AS issuer, path[place + 1] AS issued
               FROM session_stories, unnest(range(1, len(path))) AS places(place)
           )
           SELECT issuer, issued, operation, count(issuing_event_id), bool_or(event.session_id = issuer)
           FROM pairs
           LEFT JOIN links ON issuer_session_id = issuer AND issued_session_id = issued
           LEFT JOIN cloud_audit_logs AS event ON event.event_id = issuing_event_id
           GROUP BY ALL""",
    )
    assert len(steps) >= 5
    for issuer, issued, operation, events, made_by_issuer in steps:
        # A switched role's event names the identity that it was switched from, not its session.
        assert events, (issuer, issued)
        assert made_by_issuer or operation == "SwitchRole", (issuer, issued)


def test_an_output_root_of_the_version_before_is_upgraded_by_replaying_its_raw_records(
    corpus: list[Any], whole: Path, tmp_path: Path
) -> None:
    old, new = replayed([corpus], tmp_path, sessions=False), tmp_path / "new"
    settings = old / ".trailweave/settings.json"
    settings.write_text(json.dumps({"normalize": True}))
    assert not (old / "sessions").exists()
    with pytest.raises(ConfigError, match=r"replay its raw records .* --source .*aws_s3_raw --output NEW"):
        replayed_from(str(old / "aws_s3_raw"), old)

    replayed_from(str(old / "aws_s3_raw"), new)

    for view in ("sessions", "links", "session_stories"):
        rows = [repr(row) for row in asked(whole, f"FROM {view} ORDER BY ALL")]
        assert rows == [repr(row) for row in asked(new, f"FROM {view} ORDER BY ALL")], view
