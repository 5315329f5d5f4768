"""A job for the engine that Beam's flags name; what the engine could not run is refused before it is submitted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import apache_beam as beam
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from apache_beam.runners.portability.flink_runner import FlinkJarJobServer

from pipeline.ingestion.runs import engine
from schemas.errors import ConfigError, EngineError
from transforms.stores.files import Output
from transforms.stores.sources import Source

_SCHEMES = ("s3", "gs")
# Flink holds back what a bundle gives while a checkpoint is taken, until its next element. Behind the start of the
# pollers there is no next one: a job whose first checkpoint came just then would never poll.
_OF_FLINK = "--finish_bundle_before_checkpointing"
_JAR = "the file of a job server that is made for your Flink, beam-runners-flink-VERSION-job-server"


def job(beam_flags: Sequence[str], output: Output, sources: Sequence[Source]) -> beam.Pipeline:
    """A pipeline, empty as yet, for the engine that the flags name.

    Raises `ConfigError` for what Beam itself finds wrong, for a job server of Flink that this machine cannot begin,
    and for what Dataflow's workers, which are other machines and get all they know from the job, could not work with;
    `EngineError` where the job server's jar cannot be fetched.
    """
    on_flink = engine(beam_flags) == "FlinkRunner"
    options = PipelineOptions([*beam_flags, *([_OF_FLINK] if on_flink else [])])
    if on_flink:
        _check_job_server(options)
        _name(options)
    if on_dataflow(options):
        _check_named(options)
        _check_workers_have_the_code(options)
        _check_reach(output, sources)
        _check_google_client()
    try:
        return beam.Pipeline(options=options)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def on_dataflow(options: PipelineOptions) -> bool:
    """Whether the job is for Google's Dataflow."""
    return "dataflow" in str(options.view_as(StandardOptions).runner).lower()


def _check_job_server(options: PipelineOptions) -> None:
    """Beam begins Flink's job server, a jar, with the job, unless it is told where one runs.

    It fetches a jar that is not named, or named by a URL, once, into its own cache.
    """
    flink, java = options.view_as(FlinkRunnerOptions), options.view_as(JobServerOptions).job_server_java_launcher
    if options.view_as(PortableOptions).job_endpoint:
        return
    if not flink.flink_submit_uber_jar and not shutil.which(java):
        raise ConfigError(
            f"Flink's job server needs Java, and there is no program {java!r} on PATH; install Java, name its program"
            " by --job_server_java_launcher=PATH, or a running job server by --job_endpoint=HOST:PORT"
        )
    jar = flink.flink_job_server_jar
    if jar and not urlsplit(jar).scheme and not Path(jar).is_file():
        raise ConfigError(f"--flink_job_server_jar={jar} is no file; name {_JAR}")
    server = FlinkJarJobServer(options)
    wanted = server.path_to_jar()
    try:
        server.local_jar(wanted, options.view_as(JobServerOptions).jar_cache_dir)
    except (OSError, RuntimeError) as error:
        given = f"--flink_job_server_jar={jar}" if jar else "give --flink_job_server_jar=PATH: none is named"
        raise EngineError(
            f"{given}, and {wanted} cannot be fetched ({error.__context__ or error}); name {_JAR} (docs/flink.md)"
        ) from error


def _name(options: PipelineOptions) -> None:
    """By which the job is found on a cluster, to be cancelled."""
    google = options.view_as(GoogleCloudOptions)
    google.job_name = google.job_name or f"trailweave-{uuid4().hex[:12]}"


def _check_named(options: PipelineOptions) -> None:
    """Beam would ask gcloud for a region, and make a bucket to stage in, without a word."""
    google = options.view_as(GoogleCloudOptions)
    wanted = {"project": google.project, "region": google.region}
    wanted["temp_location"] = google.temp_location or google.staging_location
    if missing := [f"--{name}" for name, value in wanted.items() if not value]:
        raise ConfigError(f"Dataflow needs {', '.join(missing)}; see docs/dataflow.md")
    for name in ("temp_location", "staging_location"):
        if (place := getattr(google, name)) and urlsplit(place).scheme != "gs":
            raise ConfigError(f"--{name}={place} is no place in Cloud Storage; write gs://BUCKET/PREFIX")


def _check_google_client() -> None:
    try:
        import_module("apache_beam.runners.dataflow.internal.apiclient")
    except ImportError as error:
        raise ConfigError("Dataflow needs Google's client: pip install 'trailweave[dataflow]'") from error


def _check_workers_have_the_code(options: PipelineOptions) -> None:
    setup, worker = options.view_as(SetupOptions), options.view_as(WorkerOptions)
    if not (setup.setup_file or setup.extra_packages or setup.requirements_file or worker.sdk_container_image):
        raise ConfigError(
            "Dataflow's workers would be without trailweave; give --sdk_container_image=IMAGE with it, or"
            " --setup_file=./setup.py from a checkout (docs/dataflow.md)"
        )
    if setup.setup_file and not Path(setup.setup_file).is_file():
        raise ConfigError(f"--setup_file={setup.setup_file} is no file; name the setup.py of a checkout")


def _check_reach(output: Output, sources: Sequence[Source]) -> None:
    for what, place in [("output", output.uri), *((f"source {it.name!r}", it.location) for it in sources)]:
        if place is not None and urlsplit(place).scheme not in _SCHEMES:
            raise ConfigError(
                f"{what} is {place!r}, a folder of this machine, which Dataflow's workers do not see;"
                " use gs://BUCKET/PREFIX or s3://BUCKET/PREFIX"
            )
    for what, access in [("output", output.access), *((f"source {it.name!r}", it.access) for it in sources)]:
        if access.external_id or any(role.external_id for role in access.via):
            raise ConfigError(
                f"{what} has an external_id, which the job's description would show to whoever may look at the job;"
                " put role_arn and external_id into a profile of the worker image's AWS configuration, and name"
                " that profile (docs/dataflow.md)"
            )
        if access.credentials_file:
            raise ConfigError(
                f"{what} has credentials_file {access.credentials_file!r}, which Dataflow's workers do not have; let"
                " them take a role by their service account (docs/dataflow.md)"
            )
