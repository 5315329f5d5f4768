"""Google Cloud Storage, emulated: as an output root and as what is replayed, the same rows as with folders."""

from __future__ import annotations

import gzip
import pickle
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from support.gcs import Gcs, gcs
from support.together import at_once
from support.trails import event_ids, records, trail_key, trail_object
from support.world import assert_one_to_one, event_rows, read_letters, read_rows

from pipeline.commands import load, refuse_loop, repair, replay
from pipeline.demo.organisation import organisation
from pipeline.ingestion.summary import Summary
from pipeline.sql import query
from schemas.errors import AccessError, ConfigError, StoreError
from schemas.values import ObjectRef
from transforms.list_objects import Selection, list_objects
from transforms.stores import gcloud
from transforms.stores.aws import Access
from transforms.stores.faults import CallFault
from transforms.stores.files import Output, open_store, prove
from transforms.stores.gcs import GcsStore
from transforms.stores.objects import read_object, touch_object
from transforms.stores.sources import Source

OBJECTS = {trail_key(f"o{n}"): trail_object(records(range(n * 10, n * 10 + 10))) for n in range(8)}
IDS = [it for body in OBJECTS.values() for it in event_ids(body)]
TREE = "tree of it"
ASK = """
import pickle, sys
from pipeline.sql import query
from pipeline.status.status import status
from transforms.stores.files import Output

root = Output(sys.argv[1])
answers = []
for found in query.library():
    anything = {it.name: "%" for it in found.parameters if it.default is None}
    with query.connect(root) as connection:
        answers.append((found.name, query.run(connection, found, anything).read_all().to_pylist()))
told = status(root)
fields = ("objects", "records", "files", "dead_letters", "incomplete", "partitions", "last_error")
answers += [(field, getattr(told, field)) for field in fields]
sys.stdout.buffer.write(pickle.dumps(answers))
"""


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gcs]:
    """An emulator with the buckets `logs` and `out-...`; Google's client tries again without waiting."""
    monkeypatch.setattr("google.api_core.retry.retry_unary.exponential_sleep_generator", lambda *_, **__: repeat(0.0))
    with gcs() as running:
        running.buckets |= {"logs": {}, f"out-{uuid.uuid4()}": {}}
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", running.endpoint)
        yield running


def root(google: Gcs) -> str:
    """An output root that this process has not seen before: it remembers what it saw."""
    return f"gs://{out(google)}/{TREE}"


def out(google: Gcs) -> str:
    return next(name for name in google.buckets if name.startswith("out"))


def fill(google: Gcs, objects: dict[str, bytes]) -> None:
    for name, body in objects.items():
        google.put("logs", name, body)


def replayed(output: object, source: str = "gs://logs", **options: Any) -> Summary:
    options = {"workers": 1, "force": False, "dead_letters": False, **options}
    return replay(load(output=str(output)), [source], Selection(), beam_flags=[], quiet=True, **options)


def downloaded(google: Gcs, tmp_path: Path) -> Path:
    """The tree as a folder."""
    folder = tmp_path / "downloaded"
    for name, stored in google.buckets[out(google)].items():
        path = folder / name.removeprefix(f"{TREE}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.content)
    return folder


def test_a_replay_from_and_to_a_bucket_gives_the_rows_of_one_between_folders(google: Gcs, tmp_path: Path) -> None:
    trail = dict(organisation(seed=9, accounts=3, regions=2, days=2, objects=30, events=1200))
    fill(google, trail)
    for name, body in trail.items():
        (tmp_path / "logs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "logs" / name).write_bytes(body)

    replayed(root(google))
    replayed(tmp_path / "tree", str(tmp_path / "logs"))

    tree = downloaded(google, tmp_path)
    for dataset in ("aws_s3_raw", "cloud_audit_logs"):
        assert event_rows(tree, dataset) == event_rows(tmp_path / "tree", dataset) != []
    reasons = [sorted(it["reason"] for it in read_letters(root)) for root in (tree, tmp_path / "tree")]
    assert reasons[0] == reasons[1] != []


def asked(root: object) -> list[Any]:
    """What every named query and the status answer, in a process of its own: pyarrow holds up this one's emulator."""
    done = subprocess.run([sys.executable, "-c", ASK, str(root)], capture_output=True, timeout=120, check=True)
    answers: list[Any] = pickle.loads(done.stdout)
    return answers


def test_what_was_read_is_named_by_bucket_and_generation_and_not_read_again(google: Gcs, tmp_path: Path) -> None:
    fill(google, OBJECTS)
    replayed(root(google))
    (name, stored), *_ = google.buckets["logs"].items()
    (outcome,) = [
        it for it in read_rows(downloaded(google, tmp_path), "ingest_log").to_pylist() if it["object_key"] == name
    ]
    assert (outcome["object_bucket"], outcome["object_version"]) == ("gs://logs", str(stored.generation))
    google.calls.clear()

    assert replayed(root(google)).counts["objects_done"] == 0

    assert ("get", "logs", name) not in google.calls
    assert_one_to_one(downloaded(google, tmp_path), IDS)


def test_queries_and_status_over_a_bucket_answer_as_over_a_folder(google: Gcs, tmp_path: Path) -> None:
    fill(google, {**OBJECTS, trail_key("broken"): b"no trail"})
    replayed(root(google))
    local = downloaded(google, tmp_path)

    answers = [asked(root) for root in (root(google), local)]

    assert answers[0] == answers[1]
    assert len(answers[0]) > len(query.library())


def test_dead_letters_in_a_bucket_are_replayed(google: Gcs, tmp_path: Path) -> None:
    late, key = trail_object(records(range(900, 905))), trail_key("late")
    fill(google, {**OBJECTS, key: late[:40], trail_key("record"): b"no trail"})
    replayed(root(google))
    assert {it["scope"] for it in read_letters(downloaded(google, tmp_path))} == {"object", "record"}
    google.put("logs", key, late)

    replayed(root(google), dead_letters=True)

    assert_one_to_one(downloaded(google, tmp_path), [*IDS, *event_ids(late)])


def test_an_object_marked_as_gzip_is_read_as_it_is_stored(google: Gcs) -> None:
    """CloudTrail marks its objects so, and a transfer keeps the mark."""
    body = gzip.compress(b"x" * 1_000_000)
    google.put("logs", "a.json.gz", body, encoding="gzip")
    content = read_object(ObjectRef("gs://logs", "a.json.gz"), Access())
    assert (content.body, content.size) == (body, len(body))
    assert content.ref.version_id == str(google.buckets["logs"]["a.json.gz"].generation)


def test_a_large_object_is_held_on_disk(google: Gcs) -> None:
    body = bytes(range(256)) * 70_000
    google.put("logs", "large", body)
    content = read_object(ObjectRef("gs://logs", "large"), Access())
    assert not isinstance(content.body, bytes)
    with content.body as file:
        assert file.read() == body


def test_listings_go_on_over_pages_and_enter_only_what_can_be_selected(google: Gcs) -> None:
    google.page = 3
    keys = [trail_key(f"o{n}", account=account) for n in range(10) for account in ("111122223333", "444455556666")]
    fill(google, dict.fromkeys(keys, b"x"))
    everything = list_objects("gs://logs", Access(), Selection())
    assert [it.key for it in everything] == sorted(keys)
    google.calls.clear()

    one = list_objects("gs://logs/AWSLogs/", Access(), Selection(accounts=frozenset({"444455556666"})))

    assert [it.key for it in one] == sorted(it for it in keys if "444455556666" in it)
    assert not [prefix for _, _, prefix in google.calls if "111122223333" in prefix]


FAULTS: dict[str, Callable[[Gcs], Any]] = {
    "writes that fail": lambda it: it.fault("create", 503, times=5),
    "writes in too quick succession": lambda it: it.fault("create", 429, times=3),
    "writes whose answers are lost": lambda it: it.fault("create", "lost", times=4, part="parquet"),
    "a raw file whose answer is lost": lambda it: it.fault("create", "lost", part="aws_s3_raw"),
    "the probe's answer is lost": lambda it: it.fault("create", "lost", part="probe"),
    "reads that are cut": lambda it: it.fault("get", "cut", times=3, part="AWSLogs"),
    "listings that fail": lambda it: it.fault("list", 500, times=3),
}


@pytest.mark.parametrize("strike", FAULTS.values(), ids=FAULTS)
def test_a_passing_fault_loses_and_doubles_nothing(google: Gcs, tmp_path: Path, strike: Callable[[Gcs], Any]) -> None:
    fill(google, OBJECTS)
    fault = strike(google)

    replayed(root(google))
    replayed(root(google), force=True)

    assert fault.used == fault.times
    assert_one_to_one(downloaded(google, tmp_path), IDS)


def test_a_commit_without_its_marker_is_completed_by_repair(google: Gcs, tmp_path: Path) -> None:
    fill(google, OBJECTS)
    replayed(root(google))
    (marker,) = [it for it in google.names(out(google)) if "/cloud_audit_logs/" in it]
    del google.buckets[out(google)][marker]

    assert repair(load(output=root(google))) == (1, 0)
    assert_one_to_one(downloaded(google, tmp_path), IDS)


def test_a_store_that_ignores_the_condition_is_refused(google: Gcs) -> None:
    google.ignore_conditions = True
    with pytest.raises(StoreError, match="was not refused, so two writers could overwrite each other"):
        prove(open_store(Output(root(google))))


def test_a_refusal_is_told_with_call_place_and_what_google_said(google: Gcs) -> None:
    said = "me@x.iam.gserviceaccount.com does not have storage.objects.create access"
    google.fault("create", 403, times=9, said=said)
    with pytest.raises(AccessError, match=rf"storage.objects.create on gs://logs/x/a was refused \(403\): {said}"):
        GcsStore("logs", "x").create("a", b"")


def test_a_bucket_that_is_not_there_is_told(google: Gcs) -> None:
    for call in (
        lambda: prove(GcsStore("none", "")),
        lambda: GcsStore("none", "").read("a"),
        lambda: GcsStore("none", "").names("a"),
        lambda: list(list_objects("gs://none", Access(), Selection())),
    ):
        with pytest.raises(AccessError, match="there is no such bucket"):
            call()


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (403, "Permission 'storage.objects.get' denied on resource (or it may not exist).", "denied_or_missing"),
        (403, "me does not have storage.objects.get access", "denied"),
        (403, "Permission denied on Cloud KMS key", "kms"),
        (400, "Bad request", "denied"),
        (404, "No such object", "missing"),
    ],
)
def test_a_read_that_fails_is_told_by_its_kind(google: Gcs, status: int, said: str, kind: str) -> None:
    google.put("logs", "a", b"x")
    for action, call in (("get", read_object), ("stat", touch_object)):
        google.fault(action, status, said=said)  # type: ignore[arg-type]
        with pytest.raises(CallFault) as fault:
            call(ObjectRef("gs://logs", "a"), Access())
        if action == "get" or status != 403 or kind != "kms":
            assert fault.value.kind == kind


def test_an_output_inside_what_is_replayed_is_refused() -> None:
    with pytest.raises(ConfigError, match="use another bucket for the output"):
        refuse_loop(Output("gs://logs/tree"), Source(location="gs://logs"))
    refuse_loop(Output("gs://logs/tree"), Source(location="s3://logs"))
    refuse_loop(Output("gs://logs/tree"), Source(location="gs://logs/AWSLogs"))


def test_threads_that_need_the_client_at_once_get_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    anonymous = gcloud._anonymous

    def slow(*arguments: Any) -> Any:
        made.append(arguments)
        time.sleep(0.2)
        return anonymous(*arguments)

    monkeypatch.setattr(gcloud, "_anonymous", slow)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    gcloud._client.cache_clear()
    assert len(set(map(id, at_once(gcloud.client)))) == 1
    assert len(made) == 1
    gcloud._client.cache_clear()


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    monkeypatch.delitem(sys.modules, "google.cloud", False)
    gcloud._client.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'trailweave\[gcs\]'"):
        prove(open_store(Output("gs://logs")))


def test_without_credentials_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    gcloud._client.cache_clear()
    with pytest.raises(AccessError, match="gcloud auth application-default login"):
        open_store(Output("gs://logs")).read("a")
