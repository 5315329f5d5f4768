"""The first page keeps its word: its commands run, and what it shows is what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.demo.emulator import Emulator, emulator, provision, upload
from pipeline.demo.organisation import organisation
from transforms.stores.aws import Access, client

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUEUE_IN_README = "https://sqs.eu-west-1.amazonaws.com/111122223333/trail"


def commands() -> list[str]:
    """Every `$ trailweave ...` of the page's console blocks."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.S)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ trailw")]


def shown_by_demo() -> str:
    """The block that shows the demo's output."""
    return README.split("<!-- demo -->")[1].split("```text\n")[1].split("```")[0]


def trailweave(arguments: list[str], environment: dict[str, str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def aws() -> Iterator[tuple[Emulator, str]]:
    with emulator() as running:
        access = Access(endpoint_url=running.endpoint_url)
        with running.applied():
            s3, sqs = client("s3", access), client("sqs", access)
            queue_url = provision(s3, sqs, bucket="org-trail", queue="trail")
            upload(s3, "org-trail", organisation(objects=40, events=2_000))
        yield running, queue_url


def test_every_command_of_the_first_page_runs(aws: tuple[Emulator, str], tmp_path: Path) -> None:
    running, queue_url = aws
    environment = {**running.environment(os.environ), "PYTHONPATH": str(ROOT)}
    found = commands()
    assert {shlex.split(it)[1] for it in found} >= {"ingest", "replay", "status", "query"}
    for line in found:
        line = line.replace(QUEUE_IN_README, queue_url).replace("/data/trail", str(tmp_path / "trail"))
        arguments = shlex.split(line)[1:]
        if arguments[0] == "ingest":
            arguments += ["--until-idle", "2", "--max-wait", "1"]
        done = trailweave(arguments, environment, tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout.strip(), line


def test_the_demo_prints_what_the_first_page_shows(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "110"}
    done = trailweave(["demo"], environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"level"' not in done.stderr  # no line of a log stands in the story
    printed = {line.rstrip() for line in (done.stdout + done.stderr).splitlines()}
    # Times, rates, sizes and the number of commits vary with the machine, the ingest log's day is today's.
    stable = [
        line.rstrip()
        for line in shown_by_demo().splitlines()
        if line.strip() and not re.search(r" MB|records/s|commits|\d s \(|└── day=[0-9-]+/$", line)
    ]
    assert len(stable) > 30
    assert [line for line in stable if line not in printed] == []


def test_the_page_names_make_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z]+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.M), target
