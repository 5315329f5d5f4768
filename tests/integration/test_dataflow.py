"""A job as Dataflow is given it: submitted to a service that runs nothing, its code staged in an emulated bucket."""

from __future__ import annotations

import base64
import bz2
import io
import json
import re
import subprocess
import sys
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from apache_beam.portability.api import beam_runner_api_pb2 as protos
from google.protobuf.wrappers_pb2 import BytesValue
from support.dataflow import Dataflow, dataflow
from support.gcs import Gcs, gcs

from pipeline import commands
from pipeline.commands import load
from schemas.errors import AccessError, ConfigError, EngineError
from transforms.list_objects import Selection
from transforms.receive_messages import STOP

ROOT = Path(__file__).parents[2]
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/trail"
IMAGE = "--sdk_container_image=registry.example/trailweave:1"
PICKLED = "beam:coder:pickled_python:v1"
PAR_DO = "beam:transform:pardo:v1"
SHUFFLES = ("group_by_key", "flatten", "reshuffle", "combine")
SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAQQQQQQQQQQQQQQQQ",
    "AWS_SECRET_ACCESS_KEY": "a-secret-access-key-of-this-process",
    "AWS_SESSION_TOKEN": "a-session-token-of-this-process",
}
CONFIG = """
output = "gs://lake/trail"

[[source]]
name = "trail"
queue_url = "{queue}"
role_arn = "arn:aws:iam::123456789012:role/collector"
sse_c_key_file = "{key_file}"

[[sink]]
name = "chat"
kind = "slack"
url_file = "{url_file}"
"""
SSE_C_KEY = "0123456789abcdef0123456789abcdef"
WEBHOOK = "https://hooks.slack.example/services/T0/B0/a-webhook"


@dataclass
class Google:
    """The service and the buckets, and the flags that lead a job to them."""

    service: Dataflow
    buckets: Gcs

    def flags(self, *more: str) -> list[str]:
        return [
            *("--runner=DataflowRunner", f"--dataflow_endpoint={self.service.endpoint}", "--no_auth"),
            *("--project=a-project", "--region=europe-west1", "--temp_location=gs://stage/tmp", "--job_name=trail"),
            *more,
        ]

    def staged(self, ending: str) -> bytes:
        """The one staged file of that name."""
        (name,) = [it for it in self.buckets.names("stage") if it.endswith(ending)]
        return self.buckets.buckets["stage"][name].content

    @property
    def graph(self) -> Any:
        return protos.Pipeline.FromString(self.staged("pipeline.pb"))


@contextmanager
def running() -> Iterator[Google]:
    with pytest.MonkeyPatch.context() as patch, gcs() as buckets, dataflow() as service:
        buckets.buckets |= {"stage": {}, "lake": {}, "logs": {}}
        patch.setenv("STORAGE_EMULATOR_HOST", buckets.endpoint)
        yield Google(service, buckets)


@contextmanager
def configuration(folder: Path) -> Iterator[None]:
    """A configuration with everything that is secret, in the working folder and the environment."""
    key_file, url_file = folder / "sse-c", folder / "webhook"
    key_file.write_text(SSE_C_KEY)
    url_file.write_text(WEBHOOK)
    text = CONFIG.format(queue=QUEUE, key_file=key_file, url_file=url_file)
    (folder / "trailweave.toml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def google() -> Iterator[Google]:
    with running() as started:
        yield started


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[None]:
    with configuration(tmp_path):
        yield


def ingest(flags: list[str], pollers: int = 3, **loaded: Any) -> Any:
    options = commands.IngestOptions(pollers=pollers, beam_flags=flags, quiet=True)
    return commands.ingest(load(**loaded), [], None, options)


def stopped_once_created(service: Dataflow, work: Callable[[], Any]) -> Any:
    """What `work` returns when a signal comes as soon as the job is there."""

    def stop() -> None:
        service.created.wait(120)
        STOP.set()

    threading.Thread(target=stop, daemon=True).start()
    return work()


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    """A job of the command, with an image, submitted and stopped."""
    with running() as google, configuration(tmp_path_factory.mktemp("submitted")):
        flags = google.flags(IMAGE, "--sdk_location=container")
        stopped_once_created(google.service, lambda: ingest(flags))
        yield google


def test_a_job_streams_on_the_streaming_engine_with_the_image_that_was_asked_for(submitted: Google) -> None:
    job = submitted.service.job
    environment = job["environment"]
    (pool,) = environment["workerPools"]
    assert job["name"] == "trail"
    assert environment["version"]["job_type"] == "FNAPI_STREAMING"
    assert {"use_runner_v2", "enable_streaming_engine"} <= set(environment["experiments"])
    assert pool["workerHarnessContainerImage"] == "registry.example/trailweave:1"
    assert [it["containerImage"] for it in pool["sdkHarnessContainerImages"]] == ["registry.example/trailweave:1"]
    assert not [it for it in pool.get("packages", ()) if it["name"].endswith(".tar.gz")]


def test_nothing_after_the_source_breaks_the_chain_and_slices_have_the_coder_that_refuses(submitted: Google) -> None:
    components = submitted.graph.components
    leaves = [it for it in components.transforms.values() if it.spec.urn and not it.subtransforms]
    after = [it for it in leaves if not it.unique_name.startswith("ReceiveMessages/")]
    coders = {
        it.unique_name.split("/")[0]: coder_of(components, output) for it in after for output in it.outputs.values()
    }

    assert not [it.unique_name for it in after if any(word in it.spec.urn for word in SHUFFLES)]
    assert not [it.unique_name for it in after if len(it.inputs) != 1 or has_more(it)]
    chain = [name for name in coders if name not in ("ParseNotifications", "BatchMessages", "AcknowledgeMessages")]
    assert len(chain) > 8
    assert {name for name in chain if coders[name] != "SliceCoder"} == set()
    assert coders["BatchMessages"] != "SliceCoder"


def test_the_source_is_one_splittable_function_and_nothing_waits_for_a_finalizer(submitted: Google) -> None:
    graph = submitted.graph
    payloads = {
        it.unique_name: protos.ParDoPayload.FromString(it.spec.payload)
        for it in graph.components.transforms.values()
        if it.spec.urn == PAR_DO
    }

    assert [*graph.requirements] == ["beam:requirement:pardo:splittable_dofn:v1"]
    assert [name for name, it in payloads.items() if it.restriction_coder_id] == ["ReceiveMessages/Poll"]
    assert not [name for name, it in payloads.items() if it.requests_finalization]


def coder_of(components: Any, collection: str) -> str:
    """The name of the Python class that codes a collection, or the URN of a standard coder."""
    spec = components.coders[components.pcollections[collection].coder_id].spec
    return pickled(spec).split(b"$")[0].decode() if spec.urn == PICKLED else str(spec.urn)


def pickled(spec: Any) -> bytes:
    """`Name$base64` of a coder of Python's."""
    return BytesValue.FromString(spec.payload).value


def has_more(transform: Any) -> bool:
    """State, timers or side inputs, for which an engine would cut the chain."""
    payload = protos.ParDoPayload.FromString(transform.spec.payload)
    return bool(payload.state_specs or payload.timer_family_specs or payload.side_inputs)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Google]:
    """The job of a replay, which the service calls done."""
    with running() as google, configuration(tmp_path_factory.mktemp("replayed")):
        google.service.first_state = "JOB_STATE_DONE"
        replay(google.flags(IMAGE), "gs://logs/AWSLogs/", "s3://trail/AWSLogs/")
        yield google


def replay(flags: list[str], *sources: str, **more: Any) -> Any:
    options: dict[str, Any] = {"workers": 1, "force": False, "dead_letters": False, **more}
    return commands.replay(load(), sources, Selection(), beam_flags=flags, quiet=True, **options)


def test_a_replay_is_one_bounded_job_whose_workers_list(replayed: Google) -> None:
    components = replayed.graph.components
    leaves = [it for it in components.transforms.values() if it.spec.urn and not it.subtransforms]
    after = [it for it in leaves if not it.unique_name.startswith("ListObjects/")]
    listing = {it.unique_name.split("/")[1] for it in leaves} & {"Start", "List", "Spread"}

    assert replayed.service.job["environment"]["version"]["job_type"] == "FNAPI_BATCH"
    assert listing == {"Start", "List", "Spread"}
    assert len(after) > 8
    assert not [it.unique_name for it in after if any(word in it.spec.urn for word in SHUFFLES)]
    assert b"gs://logs/AWSLogs/" in unpacked(replayed.graph)
    # What lies there is found by workers: this machine looked at the output alone.
    assert {bucket for _, bucket, _ in replayed.buckets.calls} == {"lake", "stage"}


@pytest.mark.parametrize(
    ("sources", "more", "told"),
    [
        (["./trail"], {}, "source 'replay' is './trail', a folder of this machine"),
        (["gs://logs/"], {"workers": 2}, "--workers is for this machine's own loop"),
        ([], {"dead_letters": True}, "--dead-letters is for this machine's own loop"),
    ],
)
def test_a_replay_that_workers_could_not_do_is_refused(
    google: Google, configured: None, sources: list[str], more: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        replay(google.flags(IMAGE), *sources, **more)
    assert google.buckets.calls == []


@pytest.mark.parametrize("job", ["submitted", "replayed"])
def test_no_secret_is_in_the_job_its_options_its_display_data_or_its_functions(
    request: pytest.FixtureRequest, job: str
) -> None:
    google = request.getfixturevalue(job)
    shown = json.dumps(google.service.job).encode() + unpacked(google.graph)
    held = b"".join(it.content for it in google.buckets.buckets["stage"].values())

    # What travels is found, so what is secret would be.
    assert (QUEUE if job == "submitted" else "s3://trail/AWSLogs/").encode() in shown
    assert b"gs://lake/trail" in shown
    for secret in (*SECRETS.values(), SSE_C_KEY, WEBHOOK):
        assert secret.encode() not in shown
        assert secret.encode() not in held


def unpacked(graph: Any) -> bytes:
    """The graph, and all that it holds in pickles, as bytes to look into."""
    components = graph.components
    packed = [pickled(it.spec) for it in components.coders.values() if it.spec.urn == PICKLED]
    for transform in components.transforms.values():
        if transform.spec.urn == PAR_DO:
            packed.append(protos.ParDoPayload.FromString(transform.spec.payload).do_fn.payload)
    contents = [unzipped(base64.b64decode(it.rsplit(b"$")[-1])) for it in packed]
    assert len(contents) > 20
    return b"\n".join([graph.SerializeToString(), *contents])


def unzipped(content: bytes) -> bytes:
    return bz2.decompress(content) if content.startswith(b"BZh") else zlib.decompress(content)


def test_counters_of_the_job_are_the_summary_and_a_signal_cancels_the_job(google: Google, configured: None) -> None:
    google.service.counter("records", 40)
    google.service.counter("events_written", 39)
    flags = google.flags(IMAGE)

    summary = stopped_once_created(google.service, lambda: ingest(flags))

    assert (summary.as_json()["records"], summary.as_json()["written"]) == (40, 39)
    assert google.service.job["currentState"] == "JOB_STATE_CANCELLED"


def test_a_job_that_fails_is_an_error(google: Google, configured: None) -> None:
    google.service.first_state = "JOB_STATE_FAILED"
    with pytest.raises(EngineError, match="its log says why"):
        ingest(google.flags(IMAGE))


def test_a_job_that_is_drained_ends_the_command_without_an_error(google: Google, configured: None) -> None:
    google.service.first_state = "JOB_STATE_DRAINED"
    ingest(google.flags(IMAGE))
    assert google.service.job["currentState"] == "JOB_STATE_DRAINED"


@pytest.mark.parametrize("flag", ["--template_location=gs://stage/templates/trail", "--dry_run=True"])
def test_a_template_or_a_dry_run_starts_nothing(google: Google, configured: None, flag: str) -> None:
    summary = ingest(google.flags(IMAGE, flag))
    assert google.service.jobs == {}
    assert summary.as_json()["records"] == 0
    if "template" in flag:
        template = json.loads(google.staged("templates/trail"))
        assert template["environment"]["version"]["job_type"] == "FNAPI_STREAMING"


def test_a_setup_file_stages_the_code_with_its_data_and_nothing_of_the_working_folder(
    google: Google, configured: None
) -> None:
    stopped_once_created(google.service, lambda: ingest(google.flags(f"--setup_file={ROOT / 'setup.py'}")))

    with tarfile.open(fileobj=io.BytesIO(google.staged("workflow.tar.gz"))) as archive:
        held = {it.name.split("/", 1)[-1] for it in archive.getmembers() if it.isfile()}
    command = ["git", "ls-files", "pipeline", "transforms", "schemas"]
    tracked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    (dependency,) = [
        it
        for environment in google.graph.components.environments.values()
        for it in environment.dependencies
        if b"workflow.tar.gz" in it.role_payload
    ]
    assert {it for it in tracked if (ROOT / it).exists()} <= held
    assert "trailweave.toml" not in held
    assert b"gs://stage/tmp/" in dependency.type_payload


@pytest.mark.parametrize(
    ("flags", "loaded", "told"),
    [
        ([], {}, "without trailweave; give --sdk_container_image=IMAGE"),
        ([IMAGE], {"output": "./lake"}, "output is './lake', a folder of this machine"),
        ([IMAGE, "--temp_location=/tmp/x"], {}, "--temp_location=/tmp/x is no place in Cloud Storage"),
        ([IMAGE, "--project=", "--region="], {}, "Dataflow needs --project, --region"),
        (["--setup_file=./nothing.py"], {}, "--setup_file=./nothing.py is no file"),
        (["--runner=NoSuchRunner"], {}, "Unexpected pipeline runner: NoSuchRunner"),
    ],
)
def test_what_dataflow_could_not_run_is_refused_before_anything_is_written(
    google: Google, configured: None, flags: list[str], loaded: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        ingest(google.flags(*flags), **loaded)
    assert google.buckets.calls == []
    assert google.service.jobs == {}


def test_without_googles_client_the_extra_is_named(
    google: Google, configured: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apache_beam.runners.dataflow.internal.apiclient", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'trailweave[dataflow]'")):
        ingest(google.flags(IMAGE))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('external_id = "from-our-records"', "an external_id"),
        ('via = [{role_arn = "arn:aws:iam::123456789012:role/x", external_id = "from-ours"}]', "an external_id"),
        ('credentials_file = "/home/me/.aws/credentials"', "credentials_file"),
    ],
)
def test_access_that_would_show_a_secret_or_mean_nothing_on_a_worker_is_refused(
    google: Google, configured: None, line: str, told: str
) -> None:
    file = Path("trailweave.toml")
    file.write_text(file.read_text().replace("sse_c_key_file", f"{line}\nsse_c_key_file"))
    with pytest.raises(ConfigError, match=f"source 'trail' has {told}") as refused:
        ingest(google.flags(IMAGE))
    assert "from-our" not in str(refused.value)
    assert google.buckets.calls == []


def test_a_submission_that_google_refuses_is_told_with_what_it_said(google: Google, configured: None) -> None:
    google.service.refusal = (403, "Dataflow API has not been used in project a-project before or it is disabled.")
    with pytest.raises(AccessError, match="has not been used in project a-project"):
        ingest(google.flags(IMAGE))
