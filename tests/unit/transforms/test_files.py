"""Create if absent, on a folder and on S3: exactly one wins, a file is there whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from support.gcs import Gcs, gcs
from support.memory import MemoryStore
from support.world import forget_clients

from pipeline.demo.emulator import emulator
from schemas.errors import AccessError, ConfigError, StoreError
from transforms.stores.aws import Access, faults_since
from transforms.stores.files import Output, Store, open_store, prove
from transforms.stores.gcs import GcsStore
from transforms.stores.local import LocalStore
from transforms.stores.s3 import S3Store


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[Any, str]]:
    """(a client, the endpoint) of an emulated S3 with the bucket `out`."""
    forget_clients()
    with emulator() as running, running.applied():
        client = boto3.client("s3", endpoint_url=running.endpoint_url)
        client.create_bucket(Bucket="out")
        yield client, running.endpoint_url
    forget_clients()


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcs]:
    """An emulated Google Cloud Storage with the bucket `out`."""
    with gcs() as running:
        running.buckets["out"] = {}
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.endpoint)
        yield running


@pytest.fixture
def local(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "root")


@pytest.fixture(params=["local", "s3", "s3 without prefix", "gcs", "gcs without prefix", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "local":
        return LocalStore(tmp_path / "root")
    if request.param == "memory":
        return MemoryStore()
    if str(request.param).startswith("gcs"):
        google: Gcs = request.getfixturevalue("google")
        google.buckets["out"] = {}
        return GcsStore("out", "tree/of it" if request.param == "gcs" else "")
    client, endpoint_url = request.getfixturevalue("s3")
    bucket = f"out-{uuid.uuid4()}"
    client.create_bucket(Bucket=bucket)
    return S3Store(bucket, "tree/of it" if request.param == "s3" else "", Access(endpoint_url=endpoint_url))


def test_the_second_create_is_refused_and_changes_nothing(store: Store) -> None:
    assert store.create("a/day=1/00000001.parquet", b"one")
    assert not store.create("a/day=1/00000001.parquet", b"two")
    assert store.read("a/day=1/00000001.parquet") == b"one"
    assert store.exists("a/day=1/00000001.parquet")


def test_what_is_not_there_is_told(store: Store) -> None:
    store.create("a/b", b"")
    for path in ("a/none", "none/b", "a/b/c"):
        assert store.read(path) is None
        assert not store.exists(path)
        with pytest.raises(OSError, match=r".*"):
            store.open(path)
    assert store.names("none") == store.folders("none") == []


def test_names_are_sorted_begin_after_one_and_hide_dot_files(store: Store) -> None:
    for name in (
        "00000002.parquet",
        "00000010.parquet",
        "00000001.parquet",
        ".00000003.parquet.x",
        "00000001-00000003",
    ):
        store.create(f"a/{name}", b"")
    store.create("a/deep/00000009.parquet", b"")
    store.create("ab/00000004.parquet", b"")
    assert store.names("a") == ["00000001-00000003", "00000001.parquet", "00000002.parquet", "00000010.parquet"]
    assert store.names("a", "00000001.zzz") == ["00000002.parquet", "00000010.parquet"]
    assert store.names("a", "00000010.parquet") == []
    assert store.folders("a") == ["deep"]
    assert store.folders("") == ["a", "ab"]


def test_a_parquet_file_is_read_at_random(store: Store) -> None:
    sink = io.BytesIO()
    pq.write_table(
        pa.table({"n": range(200_000), "m": [str(n % 7) for n in range(200_000)]}), sink, row_group_size=9_000
    )
    store.create("a/b.parquet", sink.getvalue())
    with store.open("a/b.parquet") as opened:
        file = pq.ParquetFile(opened)
        assert file.metadata.num_rows == 200_000
        assert file.read_row_group(3, ["n"])["n"].to_pylist() == [*range(27_000, 36_000)]
        assert file.read(["m"])["m"][199_999].as_py() == str(199_999 % 7)


def test_a_local_file_is_created_whole_and_only_where_there_is_none(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"0123456789" * 300_000)
    assert store.create_from("a/b", source)
    source.write_bytes(b"other")
    assert not store.create_from("a/b", source)
    assert store.read("a/b") == b"0123456789" * 300_000


def test_files_are_listed_with_size_and_age_and_are_removed(store: Store) -> None:
    store.create("a/two", b"22")
    store.create("a/one", b"1")
    store.create("a/.hidden", b"")
    store.create("a/deep/three", b"333")

    listed = store.listed("a")

    assert [(it.name, it.size) for it in listed] == [("one", 1), ("two", 2)]
    # The store's clock may stand a second behind its own stamps.
    assert all(-2 <= it.age_s < 300 for it in listed)
    assert store.listed("none") == []
    store.remove("a/one")
    store.remove("a/one")
    store.remove("none/at all")
    assert store.names("a") == ["two"]


def test_a_store_that_does_not_tell_the_time_tells_no_ages(s3: tuple[Any, str], monkeypatch: Any) -> None:
    store = S3Store("out", "timeless", Access(endpoint_url=s3[1]))
    store.create("a/one", b"1")
    answer = {"ResponseMetadata": {"HTTPHeaders": {}}}
    honest = S3Store._time_of
    monkeypatch.setattr(S3Store, "_time_of", lambda it, _: honest(it, answer))
    with pytest.raises(StoreError, match=r"s3://out/timeless.* without the header Date.*do not compact there"):
        store.listed("a")


def test_a_store_that_honours_create_if_absent_is_proven(store: Store) -> None:
    prove(store)
    prove(store)
    assert store.read(".trailweave/probe") == b"probe"


class Overwriting(MemoryStore):
    """A store like one that ignores `If-None-Match`."""

    def create(self, path: str, content: bytes) -> bool:
        self.files[path] = content
        return True


class Lying(MemoryStore):
    """A store that refuses and overwrites all the same."""

    def create(self, path: str, content: bytes) -> bool:
        there = path in self.files
        self.files[path] = content
        return not there


@pytest.mark.parametrize("kind", [Overwriting, Lying])
def test_a_store_that_overwrites_is_refused(kind: type[MemoryStore]) -> None:
    with pytest.raises(StoreError, match=r"could overwrite each other; use a store that honours create-if-absent"):
        prove(kind())


@pytest.mark.usefixtures("s3")
def test_a_store_at_which_nothing_answers_is_told_after_few_tries() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    faults_since()
    with pytest.raises(AccessError, match=r"s3:PutObject on s3://out/.trailweave/probe failed: Could not connect"):
        prove(S3Store("out", "", Access(endpoint_url=f"http://127.0.0.1:{port}")))
    assert faults_since() == {("s3:PutObject", "EndpointConnectionError"): 3}


def test_of_many_creators_exactly_one_wins_and_nothing_else_is_left(local: LocalStore) -> None:
    with ThreadPoolExecutor(16) as pool:
        for number in range(20):
            contents = [bytes([writer]) * 1_000 for writer in range(16)]
            won = [*pool.map(lambda content, number=number: local.create(f"a/b/{number}", content), contents)]
            assert won.count(True) == 1
            assert local.read(f"a/b/{number}") == contents[won.index(True)]
    assert sorted(it.name for it in (local.root / "a/b").iterdir()) == sorted(map(str, range(20)))


def test_of_many_creators_on_s3_exactly_one_wins(s3: tuple[Any, str]) -> None:
    store = S3Store("out", "race", Access(endpoint_url=s3[1]))
    with ThreadPoolExecutor(8) as pool:
        won = [*pool.map(lambda writer: store.create("b", bytes([writer])), range(8))]
    assert won.count(True) == 1
    assert store.read("b") == bytes([won.index(True)])


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_file_system_without_hard_links_is_refused_with_the_remedy(
    local: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(os, "link", refusing(number))
    with pytest.raises(
        StoreError, match=r"refused a hard link .* use a local file system that has them, s3:// or gs://"
    ):
        prove(local)
    assert [path for path in local.root.rglob("*") if path.is_file()] == []


def test_a_full_disk_leaves_no_file_and_names_the_path(local: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refusing(errno.ENOSPC))
    with pytest.raises(StoreError, match=r"a/b cannot be written: No space left on device"):
        local.create("a/b", b"x")
    assert [path for path in local.root.rglob("*") if path.is_file()] == []
    monkeypatch.undo()
    assert local.create("a/b", b"x")


def test_a_folder_that_may_not_be_written_is_told(local: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", refusing(errno.EACCES))
    with pytest.raises(StoreError, match=r"a/b cannot be written: Permission denied"):
        local.create("a/b", b"x")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_root_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="cannot be written: Permission denied"):
        LocalStore(tmp_path / "root").create("a/b", b"x")
    tmp_path.chmod(0o700)


def test_a_file_where_a_folder_belongs_is_told(local: LocalStore) -> None:
    local.create("a", b"x")
    with pytest.raises(StoreError, match=r"a/b cannot be written"):
        local.create("a/b", b"x")


def test_a_file_is_durable_before_it_has_its_name(local: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order on which a power cut must find a whole file or none: write, fsync, link, fsync the folder."""
    steps: list[str] = []
    honest_sync, honest_link = os.fsync, os.link
    local.create("a/first", b"")

    def sync(handle: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "sync file")
        honest_sync(handle)

    def link(one: Any, other: Any) -> None:
        steps.append("link")
        honest_link(one, other)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", link)
    assert local.create("a/b", b"x")
    assert steps == ["sync file", "link", "sync folder"]


def test_old_temporary_files_are_swept_and_others_stay(local: LocalStore) -> None:
    local.create("a/b", b"x")
    for name, age in ((".b.old", 100.0), (".b.new", 0.0)):
        path = local.root / "a" / name
        path.write_bytes(b"")
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    assert local.sweep(50.0) == 1
    assert sorted(it.name for it in (local.root / "a").iterdir()) == [".b.new", "b"]


def test_listings_on_s3_go_on_over_pages(s3: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    store = S3Store("out", "paged", Access(endpoint_url=s3[1]))
    names = [f"{number:08d}.parquet" for number in range(1, 26)]
    for name in names:
        store.create(f"a/{name}", b"")
        store.create(f"days/day={name}/x", b"")
    honest = store._s3.get_paginator("list_objects_v2").paginate
    pages = lambda **given: honest(**given, PaginationConfig={"PageSize": 4})  # noqa: E731
    monkeypatch.setattr(
        type(store._s3.get_paginator("list_objects_v2")), "paginate", lambda _, **given: pages(**given)
    )
    assert store.names("a") == names
    assert store.names("a", "00000007.zzz") == names[7:]
    assert store.folders("days") == [f"day={name}" for name in names]


class Answers:
    """A client whose calls fail with the given codes, one after the other, and then succeed."""

    def __init__(self, *codes: tuple[str, int]) -> None:
        self.codes, self.calls = list(codes), 0

    def put_object(self, **_: Any) -> None:
        self.calls += 1
        if self.codes:
            code, status = self.codes.pop(0)
            told = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
            raise ClientError(told, "PutObject")


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[S3Store, Answers]]:
    def build(*codes: tuple[str, int]) -> tuple[S3Store, Answers]:
        answers = Answers(*codes)
        monkeypatch.setattr(S3Store, "_s3", property(lambda _: answers))
        monkeypatch.setattr("transforms.stores.s3.time.sleep", lambda _: None)
        return S3Store("bucket", "tree", Access()), answers

    return build


def test_a_conflict_is_tried_again_and_a_taken_name_is_not(answering: Any) -> None:
    store, answers = answering(("ConditionalRequestConflict", 409), ("ConditionalRequestConflict", 409))
    assert store.create("a", b"")
    assert answers.calls == 3
    store, answers = answering(("ConditionalRequestConflict", 409), ("PreconditionFailed", 412))
    assert not store.create("a", b"")
    assert answers.calls == 2


def test_a_conflict_that_does_not_end_is_an_error(answering: Any) -> None:
    store, answers = answering(*[("SlowDown", 503)] * 20)
    with pytest.raises(AccessError, match="s3:PutObject on s3://bucket/tree/a failed for now: SlowDown"):
        store.create("a", b"")
    assert answers.calls == 6


def test_a_denied_write_is_an_error_at_once(answering: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.stores.aws_faults.principal", lambda _: "arn:aws:iam::1:user/me")
    store, answers = answering(("AccessDenied", 403))
    with pytest.raises(
        AccessError, match=r"s3:PutObject on s3://bucket/tree/a was refused to arn:aws:iam::1:user/me"
    ):
        store.create("a", b"")
    assert answers.calls == 1


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("s3://", "names no bucket"),
        ("s3:///x", "names no bucket"),
        ("gs://", "write gs://BUCKET"),
        ("az://b/x", "the scheme 'az'"),
    ],
)
def test_an_output_that_is_no_place_is_refused(uri: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        open_store(Output(uri))


def test_an_output_is_a_folder_or_a_bucket(tmp_path: Path) -> None:
    assert open_store(Output(str(tmp_path))) == open_store(Output(f"file://{tmp_path}")) == LocalStore(tmp_path)
    assert open_store(Output("s3://b/x/y/")) == S3Store("b", "x/y", Access())
    assert open_store(Output("gs://b/x/y/")) == GcsStore("b", "x/y")
