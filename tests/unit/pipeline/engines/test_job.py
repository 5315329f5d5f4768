"""What trailweave itself asks of an engine, and what it refuses before it asks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from apache_beam.utils.subprocess_server import JavaJarServer

from pipeline.engines.job import job
from schemas.errors import ConfigError, EngineError
from transforms.stores.files import Output


def options(*flags: str) -> dict[str, Any]:
    found: dict[str, Any] = job(flags, Output("out"), []).options.get_all_options(retain_unknown_options=True)
    return found


FLINK = "--runner=FlinkRunner"
# Any program that is there: nothing is begun before the job is run.
JAVA = f"--job_server_java_launcher={sys.executable}"
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def jar(tmp_path: Path) -> str:
    (tmp_path / "server.jar").touch()
    return f"--flink_job_server_jar={tmp_path}/server.jar"


def test_flink_gives_on_what_a_bundle_gave_before_a_checkpoint(jar: str) -> None:
    """Else the start of the pollers may be held back for ever."""
    assert options(FLINK, JAVA, jar)["finish_bundle_before_checkpointing"] is True


def test_a_job_on_flink_has_a_name_of_its_own_unless_it_is_given_one(jar: str) -> None:
    """By which it is found on a cluster."""
    names = {options(FLINK, JAVA, jar)["job_name"] for _ in range(2)}
    assert len(names) == 2
    assert options(FLINK, JAVA, jar, "--job_name=trail")["job_name"] == "trail"


def test_flink_without_java_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch, jar: str) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"no program 'java' on PATH.*--job_server_java_launcher=PATH"):
        options(FLINK, jar)


def test_a_job_server_that_is_no_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"--flink_job_server_jar={tmp_path}/none.jar is no file; name the file"):
        options(FLINK, JAVA, f"--flink_job_server_jar={tmp_path}/none.jar")


def test_a_job_server_that_cannot_be_fetched_is_told_with_why_and_what_to_name(tmp_path: Path) -> None:
    url = f"{NOBODY}/server.jar"
    with pytest.raises(EngineError, match=rf"--flink_job_server_jar={url}, and {url} cannot be .*refused.*; name"):
        options(FLINK, JAVA, f"--flink_job_server_jar={url}", f"--jar_cache_dir={tmp_path}")


def test_without_a_job_server_and_without_a_network_it_is_told_what_would_be_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(JavaJarServer, "MAVEN_CENTRAL_REPOSITORY", NOBODY)
    monkeypatch.setattr(JavaJarServer, "GOOGLE_MAVEN_MIRROR", NOBODY)
    with pytest.raises(EngineError, match=r"^give --flink_job_server_jar=PATH.*beam-runners-flink-.*\.jar cannot be"):
        options(FLINK, JAVA, f"--jar_cache_dir={tmp_path}")


def test_a_job_server_that_runs_already_needs_neither_java_nor_a_jar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert options(FLINK, "--job_endpoint=localhost:8099")["job_endpoint"] == "localhost:8099"


@pytest.mark.parametrize("runner", ["PrismRunner", "FnApiRunner"])
def test_other_engines_are_not_asked_for_what_they_do_not_know(runner: str) -> None:
    assert "finish_bundle_before_checkpointing" not in options(f"--runner={runner}")


def test_a_job_server_that_ends_as_it_begins_is_told(tmp_path: Path, jar: str) -> None:
    """In a process of its own, as Beam's threads outlive it."""
    source = tmp_path / "trail"
    source.mkdir()
    places = ["--source", str(source), "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "pipeline", "replay", *places, FLINK, JAVA, jar]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == EngineError.exit_code, done.stderr[-4_000:]
    assert "TW-ENGINE: the engine's job server ended as it began" in done.stderr.splitlines()[-1]
