from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from pipeline.demo import emulator as module
from pipeline.demo.emulator import Emulator, EmulatorError, emulator, provision, upload
from schemas.errors import ConfigError
from transforms.stores.aws import Access, client


@pytest.fixture(scope="module")
def running() -> Iterator[Emulator]:
    with emulator() as started, started.applied():
        yield started


def clients(running: Emulator) -> tuple[Any, Any]:
    access = Access(endpoint_url=running.endpoint_url)
    return client("s3", access), client("sqs", access)


def bodies(sqs: Any, queue_url: str, expected: int) -> list[dict[str, Any]]:
    """Everything that arrives until `expected` messages did or two seconds bring none."""
    found: list[dict[str, Any]] = []
    while len(found) < expected:
        answer = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=2)
        messages = answer.get("Messages", [])
        if not messages:
            break
        found += [json.loads(message["Body"]) for message in messages]
    return found


def alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent to ask does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_every_put_arrives_as_a_message_after_the_buckets_test_event(running: Emulator) -> None:
    s3, sqs = clients(running)
    queue_url = provision(s3, sqs, bucket="trail-one", queue="one", visibility_timeout_s=60, max_receives=2)
    keys = [f"AWSLogs/o-exampleorg/{n:03}.json.gz" for n in range(40)]

    assert upload(s3, "trail-one", ((key, key.encode()) for key in keys), workers=4) == 40

    test_event, *notifications = bodies(sqs, queue_url, 41)
    assert test_event["Event"] == "s3:TestEvent"
    assert sorted(body["Records"][0]["s3"]["object"]["key"] for body in notifications) == keys
    assert s3.get_object(Bucket="trail-one", Key=keys[7])["Body"].read() == keys[7].encode()


def test_a_message_received_too_often_goes_to_the_dead_letter_queue(running: Emulator) -> None:
    s3, sqs = clients(running)
    queue_url = provision(s3, sqs, bucket="trail-two", queue="two", visibility_timeout_s=0, max_receives=2)
    for _ in range(3):
        sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=1)

    dead_letters = sqs.get_queue_url(QueueName="two-dead")["QueueUrl"]

    assert [body["Event"] for body in bodies(sqs, dead_letters, 1)] == ["s3:TestEvent"]


def test_iam_is_enforced_when_asked_for() -> None:
    with emulator(enforce_iam=True) as strict, strict.applied():
        s3, sqs = clients(strict)
        iam = client("iam", Access(endpoint_url=strict.endpoint_url))
        queue_url = provision(s3, sqs, bucket="trail-three", queue="three")
        upload(s3, "trail-three", [("key", b"body")])
        assert len(bodies(sqs, queue_url, 2)) == 2

        iam.create_user(UserName="reader")
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        os.environ |= {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        reader = client("s3", Access(endpoint_url=strict.endpoint_url, region="eu-west-1"))
        with pytest.raises(ClientError, match="AccessDenied"):
            reader.get_object(Bucket="trail-three", Key="key")
        iam.update_access_key(UserName="reader", AccessKeyId=key["AccessKeyId"], Status="Inactive")
        with pytest.raises(ClientError, match="InvalidAccessKeyId"):
            reader.get_object(Bucket="trail-three", Key="key")


def test_a_failed_put_is_raised(running: Emulator) -> None:
    s3, _ = clients(running)
    with pytest.raises(s3.exceptions.NoSuchBucket):
        upload(s3, "no-such-bucket", [("key", b"body")])


def test_the_environment_leads_to_the_emulator_only(running: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of somebody")
    before = dict(os.environ)
    with running.applied():
        assert os.environ["AWS_ENDPOINT_URL"] == running.endpoint_url
        assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN"} & os.environ.keys()
    assert dict(os.environ) == before


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's /proc")
def test_the_child_listens_on_loopback_only_and_ends_with_the_block() -> None:
    with emulator() as started:
        port = int(started.endpoint_url.rsplit(":", 1)[1])
        assert listening(started.pid) == {("127.0.0.1", port)}
    assert not alive(started.pid)


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses and ports that the process listens on, TCP over IPv4 and IPv6."""
    inodes = set(map(socket_of, Path(f"/proc/{pid}/fd").iterdir()))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and inode in inodes:
                address, port = local.split(":")
                found.add((".".join(str(byte) for byte in reversed(bytes.fromhex(address))), int(port, 16)))
    return found


def socket_of(link: Path) -> str | None:
    """The inode of the socket that an open file of a process is; None for another, or one that was closed since."""
    try:
        found = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
    except FileNotFoundError:
        return None
    return found and found[1]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads Linux's /proc")
def test_the_child_ends_and_cleans_up_when_its_parent_is_killed(tmp_path: Path) -> None:
    program = (
        "import time; from pipeline.demo.emulator import emulator\n"
        "with emulator() as started: print(started.pid, flush=True); time.sleep(60)"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert alive(child)

    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)
    assert not list(tmp_path.iterdir())


def test_without_ministack_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'trailweave\[demo\]'"), emulator():
        pass


def test_a_child_that_fails_shows_the_end_of_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "child.py"
    broken.write_text("raise SystemExit('no room in the inn')")
    monkeypatch.setattr(module, "_CHILD", broken)
    with pytest.raises(EmulatorError, match=r"ended with code 1(?s:.)*no room in the inn"), emulator():
        pass


def test_a_child_that_never_answers_is_ended_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = tmp_path / "child.py"
    silent.write_text("import time; time.sleep(60)")
    monkeypatch.setattr(module, "_CHILD", silent)
    with pytest.raises(EmulatorError, match="did not answer on port"), emulator(start_timeout_s=0.2):
        pass
