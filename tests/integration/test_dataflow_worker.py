"""What the image of a Dataflow worker holds beside the product: access by its Google service account alone."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import apache_beam
import pytest
from moto.moto_api._internal import moto_api_backend
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends
from support.served import ANY_PORT, Quiet, served
from support.world import forget_clients

from transforms.stores.aws import Access, principal

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / "deploy/dataflow"
ROLE = "arn:aws:iam::111122223333:role/from-google"
NEXT_ROLE = "arn:aws:iam::444455556666:role/collector"
EXTERNAL_ID = "from-our-records"
SECRET = "projects/my-project/secrets/aws-config/versions/latest"


@dataclass
class Google:
    """A machine's metadata server, and Secret Manager."""

    address: str = ""
    content: bytes = b""
    audiences: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)


@contextmanager
def google_machine() -> Iterator[Google]:
    state = Google()

    class Handler(Quiet):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path.startswith("/computeMetadata/") and self.headers["Metadata-Flavor"] != "Google":
                self.send_error(403)
            elif parts.path.endswith("/default/identity"):
                state.audiences += parse_qs(parts.query)["audience"]
                self.answer(token().encode())
            elif parts.path.endswith("/default/token"):
                self.answer(json.dumps({"access_token": "of-the-worker"}).encode())
            elif self.headers["Authorization"] == "Bearer of-the-worker":
                state.read.append(parts.path)
                self.answer(json.dumps({"payload": {"data": base64.b64encode(state.content).decode()}}).encode())
            else:
                self.send_error(401)

        def answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    with served(ThreadingHTTPServer(ANY_PORT, Handler)) as port:
        state.address = f"127.0.0.1:{port}"
        yield state


def token() -> str:
    """A token in the form of Google's; nobody here checks its signature."""
    claims = {"iss": "https://accounts.google.com", "aud": "trailweave", "sub": "1057"}
    parts = ({"alg": "RS256"}, claims, "signature")
    return ".".join(base64.urlsafe_b64encode(json.dumps(it).encode()).decode().rstrip("=") for it in parts)


@pytest.fixture
def machine() -> Iterator[Google]:
    with google_machine() as state:
        yield state


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, machine: Google) -> Iterator[None]:
    """An emulated STS, for a process that has no credentials of its own."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "GCE_METADATA_HOST": machine.address,
    }.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield
    moto_api_backend.reset()
    server.stop()
    forget_clients()


CONFIG = f"""
[default]
credential_process = {sys.executable} {IMAGE / "aws_credentials.py"} {ROLE} trailweave

[profile collector]
role_arn = {NEXT_ROLE}
external_id = {EXTERNAL_ID}
source_profile = default
"""


def test_a_service_account_of_google_is_a_role_of_aws(
    aws: None, machine: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    assert "assumed-role/from-google/trailweave" in principal(Access())
    assert machine.audiences == ["trailweave"]


def test_a_profile_of_the_image_goes_on_to_a_role_with_an_external_id(
    aws: None, machine: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text(CONFIG)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    assert "assumed-role/collector/" in principal(Access(profile="collector"))
    found = [it for account in sts_backends for it in sts_backends[account]["aws"].assumed_roles]
    assert EXTERNAL_ID in [it.external_id for it in found]


def test_secrets_are_files_of_their_owner_before_the_worker_starts(machine: Google, tmp_path: Path) -> None:
    machine.content = b"[default]\nregion = eu-west-1\n"
    file = tmp_path / "run/aws-config"
    environment = {
        "GCE_METADATA_HOST": machine.address,
        "SECRET_MANAGER_URL": f"http://{machine.address}",
        "TRAILWEAVE_SECRETS": f"{file}={SECRET}",
    }

    done = subprocess.run(
        [sys.executable, str(IMAGE / "with_secrets.py"), "cat", str(file)],
        env=os.environ | environment,
        capture_output=True,
        timeout=60,
    )

    assert (done.returncode, done.stdout) == (0, machine.content), done.stderr
    assert file.stat().st_mode & 0o077 == 0
    assert machine.read == [f"/v1/{SECRET}:access"]


def test_a_worker_whose_secret_cannot_be_read_does_not_start(machine: Google, tmp_path: Path) -> None:
    environment = {
        "GCE_METADATA_HOST": "127.0.0.1:9",
        "TRAILWEAVE_SECRETS": f"{tmp_path / 'file'}={SECRET}",
    }
    done = subprocess.run(
        [sys.executable, str(IMAGE / "with_secrets.py"), "echo", "started"],
        env=os.environ | environment,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert b"started" not in done.stdout


def test_the_image_stands_on_the_beam_and_python_of_this_release_and_copies_what_is_there() -> None:
    text = (IMAGE / "Containerfile").read_text()
    python, beam = re.findall(r"^FROM docker\.io/apache/beam_python([\d.]+)_sdk:([\d.]+)$", text, re.M)[0]
    copied = [name for line in re.findall(r"^COPY (.*)$", text, re.M) for name in line.split()[:-1]]
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.M)

    assert beam == apache_beam.__version__
    assert python == (ROOT / "deploy/container/Containerfile").read_text().split("python:")[1].split("-")[0]
    assert [it for it in copied if not (ROOT / it).exists()] == []
    assert {"pipeline", "transforms", "schemas", "pyproject.toml"} <= set(copied)
    assert json.loads(entry)[-1] == "/opt/apache/beam/boot"
    assert {Path(it).name for it in json.loads(entry)} & {Path(it).name for it in copied} == {"with_secrets.py"}
