"""`replay`: what is listed is read once, resumable, by any number of workers, and old trees can be built anew."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.fault_proxy import denied, kms_disabled
from support.trails import event_ids, records, s3_event, trail_key, trail_object
from support.world import World, assert_one_to_one, event_rows, read_letters, read_rows

from pipeline.commands import load, replay
from pipeline.demo.organisation import organisation
from pipeline.graph import replay_by_workers
from pipeline.ingestion.runs import run
from pipeline.ingestion.summary import Summary
from pipeline.status.status import Records, status
from schemas.errors import ConfigError
from schemas.values import Slice
from transforms.explode_records import Exploder
from transforms.list_objects import Selection
from transforms.stores.files import Output

ACCOUNTS = ("111122223333", "444455556666")
ALL = Selection()
DAYS = ("2026-01-11", "2026-01-12")


def replayed(
    output: object,
    *sources: object,
    selection: Selection = ALL,
    workers: int = 1,
    force: bool = False,
    dead_letters: bool = False,
    quiet: bool = True,
    **flags: Any,
) -> Summary:
    config = load(output=str(output), **flags)
    names = [str(it) for it in sources]
    options: dict[str, Any] = {"workers": workers, "force": force, "dead_letters": dead_letters}
    return replay(config, names, selection, beam_flags=[], quiet=quiet, **options)


def laid(root: Path, objects: dict[str, bytes]) -> Path:
    for key, body in objects.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(body)
    return root


@pytest.fixture
def objects() -> dict[str, bytes]:
    return {
        trail_key(f"{account[:4]}-{day}", account=account, day=day): trail_object(
            records(range(40), account=account, day=day)
        )
        for account in ACCOUNTS
        for day in DAYS
    }


def ids_of(objects: dict[str, bytes]) -> list[str]:
    return [it for body in objects.values() for it in event_ids(body)]


def test_plain_and_gzipped_files_anywhere_in_a_folder_are_read(tmp_path: Path) -> None:
    one, two, three, four = (records(range(n, n + 5)) for n in (0, 10, 20, 30))
    folder = laid(
        tmp_path / "in",
        {
            "plain.json": json.dumps({"Records": one}).encode(),
            "deep/er/named.txt": gzip.compress(json.dumps(two).encode()),
            "lines.jsonl": "\n".join(json.dumps(it) for it in three).encode(),
            "wrongly-named.json.gz": json.dumps({"Records": four}).encode(),
            ".hidden/x.json": b"{}",
            "deep/.hidden.json": b"{}",
        },
    )

    summary = replayed(tmp_path / "out", folder)

    assert_one_to_one(tmp_path / "out", [it["eventID"] for it in (*one, *two, *three, *four)])
    assert summary.as_json()["objects"] == 4
    assert not read_letters(tmp_path / "out")


def test_a_single_file_is_read(tmp_path: Path) -> None:
    folder = laid(tmp_path / "in", {"a.json.gz": trail_object(records(range(5))), "b.json.gz": b"no"})

    replayed(tmp_path / "out", folder / "a.json.gz")

    assert len(read_rows(tmp_path / "out", "aws_s3_raw")) == 5


def test_a_second_replay_fetches_nothing(faulty: World, objects: dict[str, bytes]) -> None:
    faulty.put_all(objects)
    access = {
        "output_access": {},
        "source": ({"name": "bucket", "location": f"s3://{faulty.bucket}/"} | _at(faulty),),
    }

    first = replayed(faulty.output, "bucket", **access)
    fetched = len(faulty.proxy.calls("GetObject"))
    second = replayed(faulty.output, "bucket", **access)

    assert (first.counts["events_written"], fetched) == (160, 4)
    assert len(faulty.proxy.calls("GetObject")) == 4
    assert second.as_json()["objects"] == 0
    assert_one_to_one(faulty.output, ids_of(objects))

    forced = replayed(faulty.output, "bucket", force=True, **access)
    assert len(faulty.proxy.calls("GetObject")) == 8
    assert (forced.counts["events_written"], forced.counts["events_duplicate"]) == (0, 160)


def _at(world: World) -> dict[str, Any]:
    return {"endpoint_url": world.endpoint_url}


def test_an_object_that_changed_or_was_denied_is_read_again(faulty: World, objects: dict[str, bytes]) -> None:
    faulty.put_all(objects)
    changed, denied_key, *_ = objects
    access = {"source": ({"name": "bucket", "location": f"s3://{faulty.bucket}/"} | _at(faulty),)}
    rule = faulty.proxy.when("GetObject", key=denied_key).do(denied())
    assert replayed(faulty.output, "bucket", **access).as_json()["deferred"] == 1

    rule.stop()
    objects[changed] = trail_object(records(range(90), account=ACCOUNTS[0], day=DAYS[0]))
    faulty.put(changed, objects[changed])
    faulty.proxy.forget()
    replayed(faulty.output, "bucket", **access)

    assert {it.key for it in faulty.proxy.calls("GetObject")} == {changed, denied_key}
    assert_one_to_one(faulty.output, ids_of(objects))


def test_what_ingest_has_done_is_not_fetched_again(faulty: World, objects: dict[str, bytes]) -> None:
    faulty.put_all(objects)
    faulty.one_run(len(objects))
    faulty.proxy.forget()
    access = {"source": ({"name": "bucket", "location": f"s3://{faulty.bucket}/"} | _at(faulty),)}

    replayed(faulty.output, "bucket", **access)

    assert not faulty.proxy.calls("GetObject")


def test_pruning_reads_only_what_was_selected(faulty: World, objects: dict[str, bytes]) -> None:
    faulty.put_all(objects)
    access = {"source": ({"name": "bucket", "location": f"s3://{faulty.bucket}/"} | _at(faulty),)}
    selection = Selection(frozenset({ACCOUNTS[0]}), frozenset({"us-east-1"}), DAYS[1], DAYS[1])

    replayed(faulty.output, "bucket", selection=selection, **access)

    wanted = [key for key in objects if ACCOUNTS[0] in key and "2026/01/12" in key]
    assert [it.key for it in faulty.proxy.calls("GetObject")] == wanted
    listed = [it.key for it in faulty.proxy.calls("ListObjectsV2")]
    assert not [it for it in listed if ACCOUNTS[1] in it or "2026/01/11" in it]


def test_two_workers_give_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.list_objects.RUN_OBJECTS", 12)
    trail = organisation(seed=7, accounts=3, regions=2, days=2, objects=30, events=1200)
    folder = laid(tmp_path / "in", dict(trail))

    replayed(tmp_path / "one", folder)
    replayed(tmp_path / "two", folder, workers=2)

    for dataset in ("aws_s3_raw", "cloud_audit_logs"):
        one, two = event_rows(tmp_path / "one", dataset), event_rows(tmp_path / "two", dataset)
        assert len(one) == trail.events
        assert one == two
    assert len(read_letters(tmp_path / "two")) == len(read_letters(tmp_path / "one")) == 2


def test_workers_of_an_engine_list_and_read_what_is_not_done(
    faulty: World, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.list_objects.RUN_OBJECTS", 1)
    done, *left = sorted(objects)
    faulty.put_all({done: objects[done]})
    faulty.one_run(1)
    faulty.put_all({key: objects[key] for key in left})
    faulty.proxy.forget()
    plan = faulty.plan(location=f"s3://{faulty.bucket}/AWSLogs/")

    counts = run(lambda pipeline: replay_by_workers(pipeline, plan, ALL, force=False))

    assert sorted(it.key for it in faulty.proxy.calls("GetObject")) == left
    assert counts["objects_read"] == len(left)
    assert_one_to_one(faulty.output, ids_of(objects))

    forced = run(lambda pipeline: replay_by_workers(pipeline, plan, ALL, force=True))
    assert (forced["objects_read"], forced["events_written"]) == (len(objects), 0)


def test_a_raw_tree_builds_the_same_rows_anew_with_their_provenance(tmp_path: Path) -> None:
    trail = organisation(seed=8, accounts=3, regions=2, days=2, objects=30, events=1200)
    old, new = tmp_path / "old", tmp_path / "new"
    replayed(old, laid(tmp_path / "in", dict(trail)))

    replayed(new, old / "aws_s3_raw", max_slice_bytes=1_000_000)

    assert_one_to_one(new, read_rows(old, "aws_s3_raw")["event_id"].to_pylist())
    assert event_rows(old, "cloud_audit_logs") == event_rows(new, "cloud_audit_logs")
    kept = ["event_id", "ingestion_time", "source_bucket", "source_key", "source_version", "source_index", "raw_json"]
    before, after = (read_rows(it, "aws_s3_raw").select(kept).sort_by("event_id") for it in (old, new))
    assert before.cast(after.schema).equals(after)
    assert read_rows(new, "ingest_log")["outcome"].unique().to_pylist() == ["done"]


def test_a_raw_tree_in_a_bucket_builds_anew_too(aws: World, tmp_path: Path, objects: dict[str, bytes]) -> None:
    old = tmp_path / "old"
    replayed(old, laid(tmp_path / "in", objects))
    for path in old.glob("aws_s3_raw/**/*.parquet"):
        aws.s3.put_object(Bucket=aws.bucket, Key=f"old/{path.relative_to(old)}", Body=path.read_bytes())

    selection = Selection(accounts=frozenset({ACCOUNTS[0]}))
    replayed(aws.output, f"s3://{aws.bucket}/old/aws_s3_raw", selection=selection)

    expected = [it for it in ids_of(objects) if it.startswith(ACCOUNTS[0])]
    assert_one_to_one(aws.output, expected)


def test_dead_letters_are_fed_in_again_after_a_fix(faulty: World, objects: dict[str, bytes]) -> None:
    late, *others = objects
    faulty.put_all({key: objects[key] for key in others})
    faulty.send(s3_event(faulty.bucket, late), '{"no":"notice"}')
    faulty.one_run(len(objects) + 1)
    assert {it["stage"] for it in faulty.letters()} == {"fetch_objects", "parse_notifications"}
    access = {
        "source": ({"name": "trail", "queue_url": faulty.queue_url, "buckets": (faulty.bucket,)} | _at(faulty),)
    }

    before = replayed(faulty.output, dead_letters=True, **access)
    assert before.counts["events_written"] == 0
    faulty.put(late, objects[late])
    after = replayed(faulty.output, dead_letters=True, **access)

    assert after.counts["events_written"] == 40
    assert_one_to_one(faulty.output, ids_of(objects))
    found = status(Output(str(faulty.output)))
    assert (found.objects.total, found.objects.done) == (len(objects), len(objects))
    assert [it.scope for it in found.dead_letters] == ["message"]


def test_a_bad_record_is_fed_in_again_after_a_fix_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record is in the dead letter itself: its object may be gone."""
    good, odd = records(range(4)), [{"theirs": 1, "eventID": "odd", "at": "2026-01-12T00:00:00Z"}]
    folder = laid(tmp_path / "in", {"x.json": json.dumps({"Records": [*good, *odd]}).encode()})
    output = tmp_path / "out"
    replayed(output, folder)
    (letter,) = read_letters(output)
    assert json.loads(letter["input"]) == odd[0]
    (folder / "x.json").unlink()

    again = replayed(output, dead_letters=True, quiet=False)
    assert (again.counts["events_written"], again.counts["dead_letters"]) == (0, 0)
    assert "`trailweave query --name dead-letters` shows which dead letters still stand" in capsys.readouterr().err
    assert status(Output(str(output))).records == Records(received=5, written=4, duplicates=0, expired=0, bad=1)

    from transforms.decoding import records as decoding

    work = decoding.split_records
    mended = json.dumps({**good[0], "eventID": "odd"}).encode()
    monkeypatch.setattr(
        "transforms.explode_records.sort_out",
        lambda found, first: work(b'{"Records":[' + mended + b"]}", 1_000_000),
    )
    assert replayed(output, dead_letters=True).counts["events_written"] == 1
    found = status(Output(str(output)))
    assert found.records == Records(received=5, written=5, duplicates=0, expired=0, bad=0)
    assert (found.objects.total, found.objects.done, found.dead_letters) == (1, 1, ())
    assert "odd" in read_rows(output, "aws_s3_raw")["event_id"].to_pylist()


def test_what_is_no_file_is_a_dead_letter_and_holds_up_no_file(tmp_path: Path) -> None:
    """A link to nowhere, and a pipe, of which to read would wait for ever."""
    folder = laid(tmp_path / "in", {"a.json": trail_object(records(range(3))), "z.json": trail_object(records([3]))})
    (folder / "nowhere.json").symlink_to("gone")
    os.mkfifo(folder / "pipe.json")

    summary = replayed(tmp_path / "out", folder)

    assert_one_to_one(tmp_path / "out", event_ids(trail_object(records(range(4)))))
    assert summary.counts["dead_letters"] == 2
    told = sorted(it["reason"].removeprefix(f"{folder}/") for it in read_letters(tmp_path / "out"))
    assert told == ["nowhere.json does not exist", "pipe.json is no regular file"]


def test_a_name_that_is_not_in_utf8_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = laid(tmp_path / "in", {"a.json": trail_object(records(range(3)))})
    os.rename(os.fsencode(folder / "a.json"), os.fsencode(folder) + b"/\xff.json")  # noqa: PTH104 - no text
    with pytest.raises(ConfigError, match=r"udcff.json' is not in UTF-8, so no row could name it; rename the file"):
        replayed(tmp_path / "out", folder)


@pytest.mark.parametrize("inside", ["", "out", "deep/er/out"])
def test_an_output_inside_its_source_is_refused(tmp_path: Path, inside: str) -> None:
    folder = laid(tmp_path / "in", {"x.json": b"{}"})

    with pytest.raises(ConfigError, match="lies in what source"):
        replayed(folder / inside, folder)


def test_an_output_inside_its_source_bucket_is_refused(aws: World) -> None:
    for location, output in [
        (f"s3://{aws.bucket}", f"s3://{aws.bucket}/out"),
        (f"s3://{aws.bucket}/AWSLogs", f"s3://{aws.bucket}/AWSLogs/out"),
        (f"s3://{aws.bucket}/AWSLogs/", f"s3://{aws.bucket}/AWSLogs"),
    ]:
        with pytest.raises(ConfigError, match="lies in what source"):
            replayed(output, location)


def test_a_folder_of_other_parquet_files_harms_nobody(tmp_path: Path) -> None:
    folder = laid(tmp_path / "in", {"x.json.gz": trail_object(records(range(3)))})
    pq.write_table(pa.table({"a": [1]}), folder / "other.parquet")
    odd = folder / "aws_s3_raw/account_id=1/day=2026-01-12"
    odd.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}), odd / "00000001.parquet")

    replayed(tmp_path / "out", folder)

    assert len(read_rows(tmp_path / "out", "aws_s3_raw")) == 3
    (letter,) = read_letters(tmp_path / "out")
    assert "not of aws_s3_raw" in letter["reason"]


def test_a_fault_of_kms_defers_the_object_and_the_rest_is_read(faulty: World, objects: dict[str, bytes]) -> None:
    faulty.put_all(objects)
    closed, *others = objects
    faulty.proxy.when("GetObject", key=closed).do(kms_disabled())
    access = {"source": ({"name": "bucket", "location": f"s3://{faulty.bucket}/"} | _at(faulty),)}

    summary = replayed(faulty.output, "bucket", **access)

    assert summary.as_json()["deferred"] == 1
    assert_one_to_one(faulty.output, ids_of({key: objects[key] for key in others}))
    assert not faulty.letters()


def test_an_object_that_brings_its_run_down_is_left_undone_and_the_others_are_read(
    tmp_path: Path, objects: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    poison, *others = objects
    explode = Exploder.explode

    def fail(self: Exploder, filled: Slice) -> object:
        if any(part.ref.key.endswith(poison) for part in filled.objects):
            raise MemoryError("unforeseen")
        return explode(self, filled)

    monkeypatch.setattr(Exploder, "explode", fail)

    summary = replayed(tmp_path / "out", laid(tmp_path / "in", objects))

    assert summary.as_json()["deferred"] == 1
    assert_one_to_one(tmp_path / "out", ids_of({key: objects[key] for key in others}))


def test_where_each_object_brings_its_run_down_a_replay_ends_with_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    many = {f"{n:03}.json.gz": trail_object(records([n])) for n in range(40)}
    monkeypatch.setattr(Exploder, "explode", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        replayed(tmp_path / "out", laid(tmp_path / "in", many))

    assert sum(it.getMessage().startswith("object_failed") for it in caplog.records) == 5
