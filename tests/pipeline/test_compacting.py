"""`compact`: fewer files, the same rows, at every moment; beside ingestion that goes on."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from support.replaying import replay_from
from support.trails import records, trail_key, trail_object
from support.world import event_rows, read_rows

from pipeline.commands import compact, load, repair
from pipeline.compaction import beside
from pipeline.compaction import compact as compaction
from pipeline.compaction.compact import Compacted, chosen_partitions
from pipeline.compaction.ranges import Sizes
from pipeline.demo.organisation import organisation
from pipeline.sql import query
from schemas.datasets import ALL
from schemas.errors import AccessError, StoreError
from schemas.values import Partition
from transforms.stores.files import Output
from transforms.stores.local import LocalStore
from transforms.stores.settings import Settings

DATASETS = ("aws_s3_raw", "cloud_audit_logs", "sessions", "detections")
VIEWS = (*DATASETS, "sessions", "links", "stories")
TWO_DAYS_S = 48 * 3_600.0
ACCOUNT = "111122223333"


def given(folder: Path, objects: dict[str, bytes]) -> Path:
    for key, body in objects.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(body)
    return folder


def replayed(output: Path, source: Path, **flags: Any) -> Counter[str]:
    return replay_from(load(output=str(output), **flags), source).counts


def aged(output: Path, seconds: float = TWO_DAYS_S) -> None:
    """As if everything were that much older."""
    for path in output.rglob("*.parquet"):
        before = path.stat().st_mtime
        os.utime(path, (before - seconds, before - seconds))


def compacted(output: Path) -> Compacted:
    return compact(load(output=str(output)), None, None)


def files(output: Path, dataset: str) -> list[str]:
    return sorted(str(it.relative_to(output / dataset)) for it in (output / dataset).rglob("*.parquet"))


def lone_files(output: Path) -> list[str]:
    """Files of single commits in partitions that hold others."""
    return [
        it.name
        for name in DATASETS
        for it in (output / name).rglob("????????.parquet")
        if len([*it.parent.iterdir()]) > 1
    ]


def seen(output: Path) -> dict[str, Counter[str]]:
    """The rows of the views, as readers see them."""
    connection = query.connect(Output(str(output)))
    return {view: Counter(map(str, query.run(connection, f"FROM {view}").read_all().to_pylist())) for view in VIEWS}


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """An organisation's objects in three deliveries, the later ones with events of the earlier ones."""
    objects = dict(organisation(seed=9, accounts=3, regions=2, days=2, objects=36, events=1500))
    keys = list(objects)
    parts = [keys[:14], keys[8:26], keys[20:]]
    root = tmp_path_factory.mktemp("trail")
    return [given(root / f"in{n}", {key: objects[key] for key in part}) for n, part in enumerate(parts)]


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory, trail: list[Path]) -> Path:
    root = tmp_path_factory.mktemp("ingested") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("transforms.list_objects.RUN_OBJECTS", 4)
        for source in trail[:2]:
            replayed(root, source)
    return root


@pytest.fixture
def output(tmp_path: Path, ingested: Path) -> Path:
    """A root with several commits in each partition."""
    return Path(shutil.copytree(ingested, tmp_path / "out"))


def test_readers_see_the_same_rows_before_between_and_after(output: Path) -> None:
    before, many = seen(output), {name: len(files(output, name)) for name in DATASETS}
    assert min(many.values()) > 4
    aged(output)

    published = compacted(output)
    assert published.published > 4
    assert published.removed == 0
    assert seen(output) == before

    assert compacted(output) == Compacted(waiting=published.waiting)
    aged(output, 3_600.0)
    removed = compacted(output)
    assert removed.removed == published.waiting == published.merged
    assert seen(output) == before
    assert all(len(files(output, name)) < many[name] for name in DATASETS)
    assert lone_files(output) == []
    assert compacted(output) == Compacted()


def test_what_is_ingested_afterwards_is_each_event_once_and_the_next_number(
    tmp_path: Path, output: Path, trail: list[Path]
) -> None:
    aged(output)
    compacted(output)
    replayed(output, trail[2])
    aged(output)
    compacted(output)
    # Events of all deliveries, all known by now: found in the compacted files.
    again = replayed(output, trail[0])
    assert again["events_written"] == 0
    aged(output)
    compacted(output)
    assert repair(load(output=str(output)))[0] == 0

    whole = tmp_path / "whole"
    for source in trail:
        replayed(whole, source)
    for name in DATASETS[:2]:
        assert event_rows(output, name) == event_rows(whole, name)
        ids = read_rows(output, name)["event_id"].to_pylist()
        assert len(ids) == len(set(ids)) > 1_000
    for path in (output / "aws_s3_raw").rglob("*.parquet"):
        first, _, last = path.stem.partition("-")
        found = pq.read_table(path)["commit_number"].unique().to_pylist()
        assert sorted(found) == [*range(int(first), int(last or first) + 1)]


def test_a_compacted_raw_tree_builds_the_same_rows_anew(tmp_path: Path, output: Path) -> None:
    before = event_rows(output, "cloud_audit_logs")
    aged(output)
    compacted(output)
    # Ranges beside their parts, then ranges alone: both are sources.
    for name in ("one", "two"):
        replayed(tmp_path / name, output / "aws_s3_raw")
        assert event_rows(tmp_path / name, "cloud_audit_logs") == before
        aged(output, 3_600.0)
        compacted(output)


def test_audit_rows_are_in_order_of_time_and_id(output: Path) -> None:
    aged(output)
    compacted(output)
    ranges = [it for it in files(output, "cloud_audit_logs") if "-" in it.rpartition("/")[2]]
    assert ranges
    for name in ranges:
        table = pq.read_table(output / "cloud_audit_logs" / name).select(["event_time", "event_id"])
        assert table.equals(table.sort_by([("event_time", "ascending"), ("event_id", "ascending")]))


def test_a_partition_that_was_written_today_is_left_alone(output: Path) -> None:
    aged(output, 23 * 3_600.0)

    assert compacted(output) == Compacted()


def test_commits_without_their_marker_wait_for_repair(output: Path) -> None:
    partition = max((output / "aws_s3_raw").glob("*/*"), key=lambda it: len([*it.iterdir()]))
    names = sorted(it.name for it in partition.glob("*.parquet"))
    assert len(names) > 2
    marker = output / "cloud_audit_logs" / partition.relative_to(output / "aws_s3_raw") / names[-1]
    marker.unlink()
    aged(output)

    compacted(output)

    assert [it.name for it in partition.glob(f"*-{int(names[-2][:8]):08d}.parquet")]
    assert repair(load(output=str(output)))[0] == 1
    assert marker.exists()


def test_a_part_written_again_by_a_late_writer_is_void_and_removed(output: Path) -> None:
    before = seen(output)
    aged(output)
    compacted(output)
    dataset = output / "cloud_audit_logs"
    part = next(it for it in dataset.rglob("*.parquet") if "-" not in it.stem)
    content = part.read_bytes()
    aged(output, 3_600.0)
    compacted(output)
    assert not part.exists()

    part.write_bytes(content)
    assert seen(output) == before
    assert compacted(output).removed == 1
    assert not part.exists()


def test_a_kill_between_any_two_files_is_made_good_by_the_next_run(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = seen(output)
    aged(output)
    create, runs = LocalStore.create_from, 0

    class Kill(BaseException):
        pass

    def create_and_die(store: LocalStore, path: str, source: Path) -> bool:
        create(store, path, source)
        raise Kill

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "create_from", create_and_die)
        while True:
            try:
                compacted(output)
            except Kill:
                assert seen(output) == before
                runs += 1
                continue
            break
    assert runs > 8
    aged(output, 3_600.0)
    compacted(output)
    assert seen(output) == before
    assert lone_files(output) == []


def test_sizes_bound_the_ranges_and_a_foreign_plan_holds(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = seen(output)
    aged(output)
    sizes = Sizes(least=20_000, most=40_000)
    real = compaction.compact_partition
    monkeypatch.setattr(
        compaction, "compact_partition", lambda *them, **more: real(*them, **{**more, "sizes": sizes})
    )
    compacted(output)
    small = files(output, "aws_s3_raw")
    monkeypatch.undo()
    # Another compactor with other sizes: what is planned stays planned.
    compacted(output)

    assert seen(output) == before
    assert set(small) <= set(files(output, "aws_s3_raw"))


def test_a_column_of_a_newer_version_is_refused_rather_than_lost(output: Path) -> None:
    part = next(it for it in (output / "sessions").rglob("*.parquet"))
    table = pq.read_table(part)
    pq.write_table(table.append_column("from_the_future", table["kind"]), part)
    aged(output)

    with pytest.raises(StoreError, match=r"'from_the_future'.*compact with the version that wrote it"):
        compacted(output)


def test_datasets_that_have_no_numbers_are_left_alone(output: Path) -> None:
    aged(output)
    others = [it.name for it in ALL if it.name not in DATASETS]
    before = {name: files(output, name) for name in others}
    compacted(output)
    assert {name: files(output, name) for name in others} == before


class Time:
    """A clock that moves by what is done."""

    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_beside_ingestion_compaction_takes_a_tenth_of_the_time_and_sweeps_again_after_an_hour(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, begun = Time(), []

    def work(_store: Any, _settings: Any, partition: Partition) -> Compacted:
        begun.append((partition, clock.now))
        clock.now += 2.0
        return Compacted(published=1)

    monkeypatch.setattr(beside, "compact_partition", work)
    partitions = chosen_partitions(LocalStore(output))
    compactor = beside.Compactor(Output(str(output)), Settings(), clock)
    first = clock.now
    while clock.now < first + 4 * 3_600.0:
        clock.now += 1.0
        compactor.step()

    spent = 2.0 * len(begun)
    assert spent <= 0.1 * (clock.now - first) + 2.0 * len(partitions)
    assert [it for it, _ in begun] == partitions * 4
    assert begun[len(partitions)][1] - begun[0][1] >= 3_600.0


def test_beside_ingestion_what_fails_is_told_and_the_next_partitions_are_done(
    output: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, begun = Time(), []

    def work(_store: Any, _settings: Any, partition: Partition) -> Compacted:
        begun.append(partition)
        if len(begun) == 1:
            raise AccessError("s3:DeleteObject on s3://b/k was refused to me")
        return Compacted()

    monkeypatch.setattr(beside, "compact_partition", work)
    compactor = beside.Compactor(Output(str(output)), Settings(), clock)
    for _ in range(100):
        clock.now += 1.0
        compactor.step()

    assert begun == chosen_partitions(LocalStore(output))
    assert "s3:DeleteObject on s3://b/k was refused to me" in caplog.text


def test_ages_are_told_by_the_store_and_not_by_content(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.create("a/one", b"12")
    os.utime(tmp_path / "a" / "one", (time.time() - 7_200, time.time() - 7_200))
    store.create("a/two", b"3")

    one, two = store.listed("a")

    assert (one.name, one.size, two.name, two.size) == ("one", 2, "two", 1)
    assert 7_190 < one.age_s < 7_300
    assert -1 < two.age_s < 100
    assert store.listed("nothing") == []
    store.remove("a/one")
    store.remove("a/one")
    assert store.names("a") == ["two"]


def test_nothing_is_held_of_small_objects_of_one_account(tmp_path: Path) -> None:
    """Many commits of one partition become one file in each dataset."""
    for n in range(6):
        source = given(tmp_path / f"in{n}", {trail_key(f"k{n}"): trail_object(records(range(n * 10, n * 10 + 15)))})
        replayed(tmp_path / "out", source)
    aged(tmp_path / "out")
    compacted(tmp_path / "out")
    aged(tmp_path / "out", 3_600.0)
    compacted(tmp_path / "out")

    assert [it.rpartition("/")[2] for it in files(tmp_path / "out", "aws_s3_raw")] == ["00000001-00000006.parquet"]
    assert len(read_rows(tmp_path / "out", "cloud_audit_logs")) == 65
