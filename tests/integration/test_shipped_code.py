"""What Beam ships to its workers by `--setup_file`: built as Beam builds it, installed where nothing of ours is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from socket import socket

import pytest
from apache_beam.runners.portability.stager import Stager
from support.trails import event_ids, records, trail_key, trail_object
from support.world import World, assert_one_to_one

ROOT = Path(__file__).parents[2]
PRISM = Path(os.environ.get("TRAILWEAVE_PRISM", ".cache/bin/prism")).absolute()
LOOK = """
import json
from importlib import resources
from pathlib import Path

import pipeline.graph
from pipeline.sql.query import library
from schemas.datasets import ALL
from transforms.rules.sigma import read_rules

packages = ("pipeline", "transforms", "schemas")
roots = {name: Path(str(resources.files(name))) for name in packages}
print(json.dumps({
    "roots": [str(it) for it in roots.values()],
    "files": sorted(f"{name}/{it.relative_to(root)}" for name, root in roots.items() for it in root.rglob("*")
                    if it.is_file() and it.suffix != ".pyc"),
    "datasets": len(ALL),
    "queries": len(library()),
}))
"""


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment that holds the shipped code, and sees the libraries of this one."""
    folder = tmp_path_factory.mktemp("shipped")
    source = folder / "source"
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    (folder / "built").mkdir()
    archive = Stager._build_setup_package(str(source / "setup.py"), str(folder / "built"))
    venv.create(folder / "venv", with_pip=False)
    (libraries,) = (folder / "venv").glob("lib/python*/site-packages")
    shared = [it for it in sys.path if it.endswith("site-packages")]
    (libraries / "shared.pth").write_text("\n".join(shared))
    python = folder / "venv/bin/python"
    command = [
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--ignore-installed",
        archive,
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    return python


def tracked(*folders: str) -> list[str]:
    found = subprocess.run(["git", "ls-files", *folders], cwd=ROOT, capture_output=True, text=True, check=True)
    return found.stdout.splitlines()


def test_a_worker_has_every_module_and_data_file_and_nothing_of_the_checkout(worker: Path) -> None:
    done = subprocess.run([worker, "-c", LOOK], cwd=worker.parent, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr

    seen = json.loads(done.stdout)

    assert all(Path(it).is_relative_to(worker.parents[1]) for it in seen["roots"])
    assert set(tracked("pipeline", "transforms", "schemas")) <= set(seen["files"])
    assert seen["datasets"] > 5
    assert seen["queries"] > 5


@pytest.mark.portable
@pytest.mark.timeout(300)
@pytest.mark.skipif(not PRISM.exists(), reason=f"no Prism at {PRISM}: `make portable-test` builds it, with Go")
def test_a_worker_pool_of_the_shipped_code_runs_the_pipeline(worker: Path, make_world: Callable[..., World]) -> None:
    aws = make_world(visibility_timeout_s=30)
    bodies = {trail_key(f"o{n}"): trail_object(records(range(n * 8, n * 8 + 8))) for n in range(50)}
    aws.put_all(bodies)
    environment = aws.emulator.environment(os.environ) | {"PATH": f"{worker.parent}:{os.environ['PATH']}"}
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pool = [str(worker), "-m", "apache_beam.runners.worker.worker_pool_main", f"--service_port={port}"]
    job = [sys.executable, "-m", "pipeline", "ingest", "--queue-url", aws.queue_url, "--output", str(aws.output)]
    flags = ["--runner=PrismRunner", f"--prism_location={PRISM}", "--environment_type=EXTERNAL"]
    with ExitStack() as stack:
        log = stack.enter_context((worker.parents[2] / "log").open("a+"))
        for command, folder in (
            (pool, worker.parent),
            ([*job, *flags, f"--environment_config=localhost:{port}"], ROOT),
        ):
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            stack.callback(end, process)
        until = time.monotonic() + 120
        while aws.waiting() != (0, 0) and process.poll() is None and time.monotonic() < until:
            time.sleep(0.2)
        log.seek(0)
        print(log.read()[-6_000:])
    assert_one_to_one(aws.output, [it for body in bodies.values() for it in event_ids(body)])


def end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
