"""Links and stories: who issued which session, and who is not joined."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from support.credentials import assume, at, role, session, use, user
from support.memory import SYNC, MemoryStore
from support.records import ACCOUNT, DAY, NOW, OTHER, event_id, exploded, record

from pipeline import query, sql, stories
from pipeline.commands import load
from schemas.datasets import EVENTS, SESSIONS
from schemas.errors import ConfigError
from transforms.commit_raw import commit_raw
from transforms.normalize_records import normalize_records
from transforms.stitch_sessions import stitch_sessions
from transforms.stores.commit_log import CommitLog

VIEWS = ("sessions", "issues", "links", "session_stories", "stories")


@contextmanager
def asked(records: Sequence[Any]) -> Iterator[Callable[[str], list[tuple[Any, ...]]]]:
    """The views over the records, each committed by itself, last first."""
    store, tables = MemoryStore(), []
    log = CommitLog(store, EVENTS)
    for one in reversed(records):
        committed, _ = commit_raw(exploded([one]), log, SYNC, NOW)
        tables += stitch_sessions(normalize_records(committed)).sessions
    rows = pa.concat_tables(it.cast(SESSIONS.arrow) for it in tables)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE SCHEMA tree")
        connection.register("session_rows", rows)
        connection.execute(
            f"CREATE VIEW tree.sessions AS SELECT *, recipient_account_id AS account_id, DATE '{DAY}' AS day"
            " FROM session_rows"
        )
        for view in VIEWS:
            connection.execute(sql.text(f"views/{view}"))
        yield lambda text: connection.sql(text).fetchall()


LINKS = "SELECT issuing_event_id, issued_session_id, method, is_ambiguous FROM links ORDER BY ALL"


def linked(records: Sequence[Any]) -> list[tuple[Any, ...]]:
    with asked(records) as ask:
        return ask(LINKS)


def root_of(records: Sequence[Any], session_id: str) -> tuple[Any, ...]:
    with asked(records) as ask:
        (found,) = ask(
            f"""SELECT root_method, root_type, root_sub_type, root_identity, chain_depth, confidence
                FROM session_stories WHERE session_id = '{session_id}'"""
        )
    return found


def test_a_role_session_is_joined_to_the_call_that_issued_its_key() -> None:
    records = [assume("issue", 100, user()), use("use", 130, role(101))]
    assert linked(records) == [(event_id("issue"), session(101), "access_key", False)]
    assert root_of(records, session(101)) == ("session", "USER", "IAM", "ana", 1, 1.0)


def test_a_key_that_is_given_out_again_joins_nobody_of_before() -> None:
    records = [assume("issue", 100, user()), use("use", 7_300, role(7_200)), use("own", 90, user())]
    assert linked(records) == []
    assert root_of(records, session(7_200))[0] == "none"
    assert root_of(records, session(7_200))[-1] == 0


def test_sessions_of_one_name_and_second_are_joined_by_their_keys_alone() -> None:
    """Two strangers begin a session of the same role and name in the same second: they are not told apart."""
    records = [
        assume("one", 100, user("ana"), "ASIAONE"),
        assume("two", 100, user("bob", "AKIABOB"), "ASIATWO"),
        use("use one", 130, role(100, "ASIAONE")),
        use("use two", 131, role(100, "ASIATWO")),
    ]
    found = linked(records)
    assert {(event, ambiguous) for event, _, _, ambiguous in found} == {
        (event_id("one"), True),
        (event_id("two"), True),
    }
    assert root_of(records, session(100))[0] == "none"

    other_key = [assume("one", 100, user(), "ASIAONE"), use("use", 130, role(100, "ASIAOTHER"))]
    assert linked(other_key) == []


def test_a_console_session_is_joined_by_principal_and_time_for_its_keys_are_minted_anew() -> None:
    records = [
        assume("issue", 100, user()),
        use("use", 130, role(100, "ASIAMINTED"), sessionCredentialFromConsole="true"),
    ]
    assert linked(records) == [(event_id("issue"), session(100), "principal", False)]


def test_a_call_across_accounts_is_told_by_the_callers_record() -> None:
    stranger = {"type": "AWSAccount", "principalId": "AIDAana", "accountId": ACCOUNT}
    records = [
        assume("callers", 100, user(), sharedEventID="shared"),
        assume("targets", 100, stranger, logged_in=OTHER, sharedEventID="shared"),
        use("use", 130, role(100)),
    ]
    assert linked(records) == [(event_id("callers"), session(100), "access_key", False)]
    assert linked(records[1:]) == [(event_id("targets"), session(100), "access_key", False)]
    assert root_of(records[1:], session(100))[:2] == ("session", "ACCOUNT")


def test_a_chain_of_roles_leads_to_its_first_user_at_any_depth() -> None:
    depth = 12
    records: list[Any] = [assume("issue 0", 100, user(), "ASIA0", session="s0", role_id="AROA0")]
    for number in range(1, depth):
        before = role(100 + number - 1, f"ASIA{number - 1}", session=f"s{number - 1}", role_id=f"AROA{number - 1}")
        records.append(
            assume(
                f"issue {number}",
                100 + number,
                before,
                f"ASIA{number}",
                session=f"s{number}",
                role_id=f"AROA{number}",
            )
        )
    last = role(100 + depth - 1, f"ASIA{depth - 1}", session=f"s{depth - 1}", role_id=f"AROA{depth - 1}")
    records.append(use("use", 300, last))
    name = session(100 + depth - 1, f"s{depth - 1}", f"AROA{depth - 1}")
    assert root_of(records, name) == ("session", "USER", "IAM", "ana", depth, 1.0)
    with asked(records) as ask:
        assert ask("SELECT count(*), max(sessions), max(depth) FROM stories") == [(1, depth + 1, depth)]


def test_a_circle_of_issuers_ends_and_is_one_story() -> None:
    one, two = role(100, "ASIA1", session="a", role_id="AROA1"), role(101, "ASIA2", session="b", role_id="AROA2")
    records = [
        assume("a issues b", 101, one, "ASIA2", session="b", role_id="AROA2"),
        assume("b issues a", 100, two, "ASIA1", session="a", role_id="AROA1"),
    ]
    with asked(records) as ask:
        (story,) = ask("SELECT story_id, root_session_id, sessions FROM stories")
    assert story[1:] == (session(100, "a", "AROA1"), 2)


def test_a_made_key_belongs_to_whoever_made_it_if_its_user_first_used_it_afterwards() -> None:
    answer = {"accessKey": {"accessKeyId": "AKIANEW", "userName": "spare", "status": "Active"}}
    made = use(
        "make", 100, user(), eventSource="iam.amazonaws.com", eventName="CreateAccessKey", responseElements=answer
    )
    spare = use("use", 200, user("spare", "AKIANEW"))
    assert linked([made, spare]) == [(event_id("make"), "AKIANEW", "long_term_key", False)]
    assert root_of([made, spare], "AKIANEW") == ("session", "USER", "IAM", "ana", 1, 1.0)
    assert linked([made, use("before", 50, user("spare", "AKIANEW")), spare]) == []
    assert linked([made, use("else", 200, user("other", "AKIANEW"))]) == []


def test_a_sign_in_begins_the_console_session_of_its_user() -> None:
    login = record(
        "login",
        time=at(100),
        userIdentity=user(key=None),
        eventSource="signin.amazonaws.com",
        eventName="ConsoleLogin",
        eventType="AwsConsoleSignIn",
        responseElements={"ConsoleLogin": "Success"},
    )
    attributes = {"attributes": {"creationDate": f"{DAY}T{at(102)}Z", "mfaAuthenticated": "true"}}
    inside = {**user(key="ASIACONSOLE"), "sessionContext": attributes}
    records = [login, use("use", 130, inside, sessionCredentialFromConsole="true")]
    name = f"{inside['arn']}@{DAY}T{at(102)}Z"
    assert linked(records) == [(event_id("login"), name, "console_login", False)]
    assert root_of(records, name) == ("session", "USER", "IAM", "ana", 0, 1.0)


def test_a_source_identity_names_the_root_even_where_no_issuer_is_known() -> None:
    chained = role(100, sourceIdentity="ana@example.org")
    assert root_of([use("use", 130, chained)], session(100)) == (
        "source_identity",
        "USER",
        "SOURCE_IDENTITY",
        "ana@example.org",
        0,
        1.0,
    )


@pytest.mark.parametrize(
    ("service", "name", "tags", "sub_type", "identity"),
    [
        ("ec2.amazonaws.com", "i-0123456789abcdef0", None, "EC2_INSTANCE", "i-0123456789abcdef0"),
        ("lambda.amazonaws.com", "resize-images", None, "LAMBDA_FUNCTION", "resize-images"),
        ("ecs-tasks.amazonaws.com", "0123456789abcdef0123456789abcdef", None, "ECS_TASK", None),
        (
            "pods.eks.amazonaws.com",
            "eks-prod-web-1",
            [
                {"key": "kubernetes-namespace", "value": "shop"},
                {"key": "kubernetes-service-account", "value": "web"},
            ],
            "EKS_POD",
            "shop/web",
        ),
    ],
)
def test_the_workload_for_which_a_service_assumes_a_role_is_the_root(
    service: str, name: str, tags: Any, sub_type: str, identity: str | None
) -> None:
    caller = {"type": "AWSService", "invokedBy": service}
    asks = {
        "roleArn": "arn:aws:iam::444455556666:role/admin",
        "roleSessionName": name,
        **({"tags": tags} if tags else {}),
    }
    records = [
        assume("issue", 100, caller, session=name, logged_in=OTHER, requestParameters=asks),
        use("use", 130, role(100, session=name)),
        assume("other", 100, caller, "ASIAX", session="x", role_id="AROAX", logged_in=OTHER),
        use("use other", 130, role(100, "ASIAX", session="x", role_id="AROAX")),
    ]
    found = root_of(records, session(100, name))
    assert found == ("workload", "WORKLOAD", sub_type, identity or name, 0, 1.0)
    with asked(records) as ask:
        # One service is not one story.
        assert ask("SELECT count(*) FROM stories WHERE root_type = 'WORKLOAD' AND sessions = 1") == [(2,)]


def test_a_role_that_was_switched_to_in_the_console_leads_back_less_surely() -> None:
    attributes = {"attributes": {"creationDate": f"{DAY}T{at(50)}Z"}}
    inside = {**user(key="ASIACONSOLE"), "sessionContext": attributes}
    switched = role(100, "ASIASWITCHED", session="ana")
    switch = use(
        "switch",
        100,
        {name: value for name, value in switched.items() if name != "accessKeyId"},
        eventSource="signin.amazonaws.com",
        eventName="SwitchRole",
        eventType="AwsConsoleSignIn",
        responseElements={"SwitchRole": "Success"},
        additionalEventData={"SwitchFrom": inside["arn"]},
    )
    records = [
        use("before", 60, inside, sessionCredentialFromConsole="true"),
        switch,
        use("after", 130, switched, sessionCredentialFromConsole="true"),
    ]
    assert linked(records) == [(event_id("switch"), session(100, "ana"), "switch_role", False)]
    assert root_of(records, session(100, "ana")) == ("session", "USER", "IAM", "ana", 1, 0.5)


@pytest.fixture
def no_sessions(tmp_path: Path) -> str:
    """A root of the version before sessions."""
    (tmp_path / ".trailweave").mkdir()
    (tmp_path / ".trailweave/settings.json").write_text(json.dumps({"normalize": True}))
    return str(tmp_path)


def test_a_root_of_an_older_version_is_refused_with_the_way_to_upgrade_it(no_sessions: str) -> None:
    with pytest.raises(ConfigError, match=r"replay its raw records.*--source .*aws_s3_raw --output NEW"):
        stories.connect(load(output=no_sessions).root())
    with query.connect(load(output=no_sessions).root()) as connection:
        assert query.run(connection, "FROM stories").read_all().num_rows == 0
