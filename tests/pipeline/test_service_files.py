"""The unit for systemd and the container file, as far as they can be tried without systemd and an engine."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.trails import records, trail_key, trail_object
from support.world import World, assert_one_to_one

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy/systemd/trailweave.service"
CONTAINERFILE = ROOT / "deploy/container/Containerfile"
OBJECTS = {trail_key(f"o{n}"): trail_object(records(range(n * 5, n * 5 + 5))) for n in range(3)}
IDS = [it["eventID"] for it in records(range(15))]
_LONG_S = 120


def directives() -> dict[str, list[str]]:
    """The unit's directives by name."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def instructions() -> list[tuple[str, str]]:
    """The container file's instructions, in order."""
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if line and line[0] != "#"]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def last(instruction: str) -> str:
    return [rest for word, rest in instructions() if word == instruction][-1]


def test_systemd_takes_every_directive_of_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?m)^ExecStart=\S+", f"ExecStart={shutil.which('true')}", UNIT.read_text()))

    told = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)

    # It looks at the machine's own units too; only lines about ours count.
    assert not [line for line in told.stderr.splitlines() if UNIT.name in line]


def test_the_unit_stops_the_service_gently_and_does_not_restart_a_usage_error() -> None:
    unit = directives()

    assert unit["KillMode"] == ["mixed"]
    assert int(unit["TimeoutStopSec"][0]) >= 60
    assert unit["Restart"] == ["on-failure"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    assert unit["Environment"][0].split()[0] == f"TRAILWEAVE_OUTPUT=/var/lib/{unit['StateDirectory'][0]}"


def test_no_file_holds_a_key() -> None:
    for path in (UNIT, CONTAINERFILE):
        assert not re.search(r"AKIA|SECRET|AWS_ACCESS_KEY|aws_secret", path.read_text())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the container's first stage makes of the files that it copies, and of these alone."""
    folder = tmp_path_factory.mktemp("container")
    source = folder / "source"
    source.mkdir()
    first = instructions()[: [word for word, _ in instructions()].index("RUN")]
    for word, rest in first:
        if word == "COPY":
            *names, target = rest.split()
            for name in names:
                assert (ROOT / name).exists(), name
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, source / (name if target == "./" else target))
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", folder / "opt", source], check=True, capture_output=True)
    return folder / "opt"


@contextmanager
def started(arguments: list[str], environment: dict[str, str], cwd: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (cwd / "log").open("wb") as log:
        process = subprocess.Popen(arguments, cwd=cwd, env=environment, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def serves(port: int, process: subprocess.Popen[bytes], log: Path, deleted: int) -> None:
    """Wait until so many messages are deleted."""
    deadline = time.monotonic() + _LONG_S
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        try:
            with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                if f"trailweave_messages_deleted_total {deleted}.0" in answer.read().decode():
                    return
        except OSError:
            pass
        time.sleep(0.2)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as it:
        return int(it.getsockname()[1])


def test_the_container_ingests_is_healthy_and_stops_on_its_signal(
    installed: Path, aws: World, tmp_path: Path
) -> None:
    """Its entry point with its environment, on what its first stage installs; paths and the port are ours."""
    port = str(free_port())
    aws.put_all(OBJECTS)
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "trailweave.toml").write_text(
        f'max_wait = 0.3\n[[source]]\nname = "trail"\nqueue_url = "{aws.queue_url}"\n'
    )
    own = dict(rest.split("=", 1) for word, rest in instructions() if word == "ENV")
    assert own["TRAILWEAVE_OUTPUT"] == last("VOLUME")
    assert own["TRAILWEAVE_METRICS_PORT"] == last("EXPOSE")
    own |= {
        "PATH": f"{installed / 'bin'}:{os.environ['PATH']}",
        "TRAILWEAVE_OUTPUT": str(aws.output),
        "TRAILWEAVE_METRICS_PORT": port,
        "TRAILWEAVE_METRICS_ADDRESS": "127.0.0.1",
    }
    environment = {**aws.emulator.environment(os.environ), **own, "PYTHONPATH": str(installed)}
    (entry,) = json.loads(last("ENTRYPOINT"))
    command = [sys.executable, str(installed / "bin" / entry), *json.loads(last("CMD"))]
    check = json.loads(last("HEALTHCHECK").partition("CMD ")[2].replace("9464", port))

    with started(command, environment, folder) as process:
        serves(int(port), process, folder / "log", len(OBJECTS))
        healthy = subprocess.run([sys.executable, *check[1:]], env=environment, check=False)
        process.send_signal(getattr(signal, last("STOPSIGNAL")))
        assert process.wait(_LONG_S) == 0, (folder / "log").read_text()

    assert healthy.returncode == 0
    assert subprocess.run([sys.executable, *check[1:]], env=environment, stderr=subprocess.DEVNULL).returncode != 0
    assert_one_to_one(aws.output, IDS)
    assert aws.waiting() == (0, 0)


def test_the_units_command_ingests_logs_json_and_stops_on_sigterm(aws: World, tmp_path: Path) -> None:
    port = str(free_port())
    aws.put_all(OBJECTS)
    (tmp_path / "trailweave.toml").write_text(
        f'max_wait = 0.3\n[[source]]\nname = "trail"\nqueue_url = "{aws.queue_url}"\n'
    )
    unit = directives()
    command = shlex.split(unit["ExecStart"][0].replace("9464", port))
    own = dict(it.split("=", 1) for it in unit["Environment"][0].split()) | {"TRAILWEAVE_OUTPUT": str(aws.output)}
    environment = {**aws.emulator.environment(os.environ), **own, "PYTHONPATH": str(ROOT)}

    with started([sys.executable, "-m", "pipeline", *command[1:]], environment, tmp_path) as process:
        serves(int(port), process, tmp_path / "log", len(OBJECTS))
        process.send_signal(signal.SIGTERM)
        assert process.wait(_LONG_S) == 0

    assert_one_to_one(aws.output, IDS)
    lines = (tmp_path / "log").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert events.count("run_done") >= 1
    assert "stopping" in events
