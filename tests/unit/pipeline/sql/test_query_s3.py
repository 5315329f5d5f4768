"""The same views over an output root on S3, against the demo's emulated AWS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.trees import ACCOUNT, DAY, OTHER, Tree

from pipeline.alerting import profiles
from pipeline.demo.emulator import Emulator, upload
from pipeline.sql import query
from pipeline.status.status import status
from schemas.datasets import EVENTS
from schemas.errors import AccessError, ConfigError, StoreError
from transforms.stores.aws import Access, client
from transforms.stores.files import Output, open_store

BUCKET = "tree-on-s3"


@pytest.fixture(scope="module")
def access(running_emulator: Emulator) -> Iterator[Access]:
    with running_emulator.applied():
        found = Access(endpoint_url=running_emulator.endpoint_url)
        client("s3", found).create_bucket(Bucket=BUCKET)
        yield found


def stored(tree: Tree, access: Access, prefix: str) -> Output:
    """The tree's files, dot files too, under a prefix of the bucket."""
    files = (path for path in tree.root.rglob("*") if path.is_file())
    upload(
        client("s3", access),
        BUCKET,
        ((f"{prefix}/{path.relative_to(tree.root)}", path.read_bytes()) for path in files),
    )
    return Output(f"s3://{BUCKET}/{prefix}", access)


def ask(output: Output, sql: str) -> list[tuple[Any, ...]]:
    with query.connect(output) as connection:
        return [tuple(row.values()) for row in query.run(connection, sql).read_all().to_pylist()]


def story(root: Path) -> Tree:
    """Everything that a tree can hold at one time."""
    tree = Tree(root)
    tree.commit([{"event_id": "a", "session_id": "s", "raw_json": "{}"}], 1)
    tree.commit([{"event_id": "a", "raw_json": "{}"}, {"event_id": "b"}], "00000001-00000002.parquet")
    tree.commit([{"event_id": "c", "referenced_resources": ["x"]}], 3, lacking="provider")
    tree.commit([], 4, datasets=[EVENTS])
    tree.commit([{"event_id": "z"}], account=OTHER)
    tree.write(f"aws_s3_raw/account_id={ACCOUNT}/day={DAY}/.00000005.parquet", b"not whole")
    tree.ledger({"object_bucket": "b", "object_key": "k", "outcome": "done", "records": 4, "written": 4})
    tree.dead_letters({"object_bucket": "b", "object_key": "k", "input": b"{"}, {"scope": "message"})
    return tree


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, access: Access) -> tuple[Output, Output]:
    tree = story(tmp_path_factory.mktemp("tree"))
    return Output(str(tree.root)), stored(tree, access, "an account_id=1/pre fix")


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE cloud_audit_logs_with_raw",
        "FROM cloud_audit_logs_with_raw ORDER BY event_id",
        f"SELECT event_id, referenced_resources FROM cloud_audit_logs WHERE account_id = '{ACCOUNT}' ORDER BY ALL",
        f"SELECT sum(commit_number), max(_time) FROM cloud_audit_logs WHERE day BETWEEN '{DAY}' AND '9999-12-31'",
        "SELECT account_id, day, count(*) FROM aws_s3_raw GROUP BY ALL ORDER BY ALL",
        "FROM objects",
        "FROM dead_letters ORDER BY ALL",
        "FROM open_dead_letters ORDER BY ALL",
        "SELECT dataset, account_id, day, first_number, last_number, void FROM tree.files ORDER BY ALL",
    ],
)
def test_s3_and_a_local_folder_give_the_same_rows(both: tuple[Output, Output], sql: str) -> None:
    local, remote = both
    assert ask(remote, sql) == ask(local, sql) != []


def anything(named: query.NamedQuery) -> dict[str, str]:
    """A value for each parameter that must be given, all of which are patterns: of everything."""
    return {it.name: "%" for it in named.parameters if it.default is None}


def test_every_named_query_runs(both: tuple[Output, Output]) -> None:
    local, remote = both
    with query.connect(local) as here, query.connect(remote) as there:
        for found in query.library():
            answers = [query.run(side, found, anything(found)).read_all().to_pylist() for side in (here, there)]
            assert answers[0] == answers[1], found.name


def test_the_status_is_the_same(both: tuple[Output, Output]) -> None:
    local, remote = map(status, both)
    for field in ("objects", "records", "files", "dead_letters", "incomplete", "partitions"):
        assert getattr(local, field) == getattr(remote, field), field


def test_profiles_made_on_s3_are_those_of_a_local_folder(tmp_path: Path, access: Access) -> None:
    tree = story(tmp_path)
    tree.commit([{"event_id": "d", "session_id": "s"}, {"event_id": "e", "session_id": "s"}], 5)
    answers = []
    for output in (Output(str(tree.root)), stored(tree, access, "to profile")):
        with query.connect(output) as connection:
            assert profiles.complete(open_store(output), connection) == 5
        answers.append(ask(output, "FROM profiles ORDER BY ALL"))
    assert answers[0] == answers[1] != []


def test_datasets_without_files_are_empty(tmp_path: Path, access: Access) -> None:
    output = stored(Tree(tmp_path), access, "empty")
    for found in query.library():
        with query.connect(output) as connection:
            assert query.run(connection, found, anything(found)).read_all().num_rows == 0


def test_a_broken_file_and_one_that_was_removed_are_errors(tmp_path: Path, access: Access) -> None:
    tree = Tree(tmp_path)
    tree.commit([{}])
    output = stored(tree, access, "removed")
    with query.connect(output) as connection:
        key = f"removed/aws_s3_raw/account_id={ACCOUNT}/day={DAY}/00000001.parquet"
        client("s3", access).put_object(Bucket=BUCKET, Key=key, Body=b"broken")
        with pytest.raises(StoreError, match="could not read the tree"):
            query.run(connection, "FROM aws_s3_raw").read_all()
        client("s3", access).delete_object(Bucket=BUCKET, Key=key)
        with pytest.raises(StoreError, match="could not read the tree"):
            query.run(connection, "FROM aws_s3_raw").read_all()


def test_a_prefix_without_our_data_and_a_bucket_that_is_not_there_are_told_apart(access: Access) -> None:
    with pytest.raises(ConfigError, match=r"'s3://tree-on-s3/nothing' holds no trailweave data"):
        query.connect(Output(f"s3://{BUCKET}/nothing", access))
    with pytest.raises(AccessError, match="no-such-bucket"):
        query.connect(Output("s3://no-such-bucket/x", access))
