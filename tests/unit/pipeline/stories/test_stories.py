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
from support.credentials import ROLE_ID, assume, at, role, session, use, user
from support.memory import SYNC, MemoryStore
from support.records import ACCOUNT, DAY, NOW, OTHER, event_id, exploded, record

from pipeline import sql
from pipeline.commands import load
from pipeline.sql import query
from pipeline.stories import stories
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


PERSON = {
    "type": "IdentityCenterUser",
    "accountId": ACCOUNT,
    "onBehalfOf": {"userId": "u-1", "identityStoreArn": f"arn:aws:identitystore::{ACCOUNT}:identitystore/d-1"},
    "credentialId": "credential-1",
}


def portal_role(id_: str, second: int, permission_set: str, account: str = OTHER, **members: Any) -> Any:
    """A person takes a role in the access portal; the event names no key."""
    return use(
        id_,
        second,
        PERSON,
        eventSource="sso.amazonaws.com",
        eventName="GetRoleCredentials",
        eventType="AwsServiceEvent",
        serviceEventDetails={"role_name": permission_set, "account_id": account},
        **members,
    )


def test_a_role_taken_in_the_access_portal_leads_to_the_person() -> None:
    taken = role(101, session="ana@example.org", name="AWSReservedSSO_Ops_0123456789abcdef")
    named = portal_role("take", 100, "Ops", additionalEventData={"UserName": "ana@example.org"})
    name = session(101, "ana@example.org")
    records = [named, use("use", 130, taken)]
    assert linked(records) == [(event_id("take"), name, "identity_center", False)]
    assert root_of(records, name) == ("session", "USER", "IDENTITY_CENTER", "ana@example.org", 1, 0.7)

    # The person's id stands on the use instead of the name.
    told_by_id = {**taken, "onBehalfOf": PERSON["onBehalfOf"]}
    assert linked([portal_role("take", 100, "Ops"), use("use", 130, told_by_id)]) == [
        (event_id("take"), name, "identity_center", False)
    ]


@pytest.mark.parametrize(
    "taken",
    [
        pytest.param(role(101, session="bob@example.org", name="AWSReservedSSO_Ops_0123456789abcdef"), id="person"),
        pytest.param(role(101, session="ana@example.org", name="AWSReservedSSO_Ops_X_0123456789abcdef"), id="set"),
        pytest.param(role(200, session="ana@example.org", name="AWSReservedSSO_Ops_0123456789abcdef"), id="time"),
        pytest.param(
            role(101, session="ana@example.org", name="AWSReservedSSO_Ops_0123456789abcdef", account="777788889999"),
            id="account",
        ),
    ],
)
def test_a_role_of_the_portal_joins_no_other_person_set_time_or_account(taken: dict[str, Any]) -> None:
    named = portal_role("take", 100, "Ops", additionalEventData={"UserName": "ana@example.org"})
    assert linked([named, use("use", 230, taken)]) == []


@pytest.mark.parametrize(
    ("subject", "identity"), [("CN=build-7", "CN=build-7"), (None, "5e0a4b7c01")], ids=["subject", "serial"]
)
def test_a_certificate_of_roles_anywhere_is_the_workload_at_the_root(subject: str | None, identity: str) -> None:
    user_of_role = {"assumedRoleId": f"{ROLE_ID}:5e0a4b7c01", "arn": f"arn:aws:sts::{OTHER}:assumed-role/admin/5e0a"}
    issued = {"credentials": {"accessKeyId": "ASIAROLE"}, "assumedRoleUser": user_of_role, "sourceIdentity": subject}
    begin = use(
        "begin",
        100,
        {"type": "Unknown", "principalId": "", "arn": "", "accountId": OTHER, "accessKeyId": "", "userName": ""},
        eventSource="rolesanywhere.amazonaws.com",
        eventName="CreateSession",
        responseElements={"credentialSet": [issued]},
    )
    context = {"sourceIdentity": subject} if subject else {}
    records = [begin, use("use", 130, role(100, session="5e0a4b7c01", **context))]
    name = session(100, "5e0a4b7c01")
    assert linked(records) == [(event_id("begin"), name, "access_key", False)]
    assert root_of(records, name) == ("workload", "WORKLOAD", "ROLES_ANYWHERE", identity, 0, 1.0)


def test_sessions_that_other_services_create_issue_no_credential_of_aws() -> None:
    begin = use(
        "begin",
        100,
        user(),
        eventSource="s3express.amazonaws.com",
        eventName="CreateSession",
        responseElements={"credentials": {"accessKeyId": "ASIAROLE"}},
    )
    with asked([begin]) as ask:
        assert ask("FROM issues") == []


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


def console(since: int) -> dict[str, Any]:
    """Ana in the console, as she signed in at a second of the day."""
    return {**user(key=f"ASIA{since}"), "sessionContext": {"attributes": {"creationDate": f"{DAY}T{at(since)}Z"}}}


SWITCHED = role(100, "ASIASWITCHED", session="ana")
SWITCH = [
    use("before", 60, console(50), sessionCredentialFromConsole="true"),
    use(
        "switch",
        100,
        {name: value for name, value in SWITCHED.items() if name != "accessKeyId"},
        eventSource="signin.amazonaws.com",
        eventName="SwitchRole",
        eventType="AwsConsoleSignIn",
        responseElements={"SwitchRole": "Success"},
        additionalEventData={"SwitchFrom": user()["arn"]},
    ),
    use("after", 130, SWITCHED, sessionCredentialFromConsole="true"),
]


def test_a_role_that_was_switched_to_in_the_console_leads_back_less_surely() -> None:
    assert linked(SWITCH) == [(event_id("switch"), session(100, "ana"), "switch_role", False)]
    assert root_of(SWITCH, session(100, "ana")) == ("session", "USER", "IAM", "ana", 1, 0.5)


@pytest.mark.parametrize(
    "other",
    [
        use("by key", 70, user()),
        use("by token", 70, console(65)),
        use("signed in before", 20, console(10), sessionCredentialFromConsole="true"),
        use("signed in later", 150, console(140), sessionCredentialFromConsole="true"),
    ],
)
def test_a_switch_is_from_the_last_console_session_whatever_else_the_user_has(other: Any) -> None:
    with asked([*SWITCH, other]) as ask:
        issuer = f"{user()['arn']}@{DAY}T{at(50)}Z"
        assert ask("SELECT issuer_session_id, is_ambiguous FROM links") == [(issuer, False)]


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
