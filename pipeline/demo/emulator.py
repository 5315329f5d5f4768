"""An emulated AWS on loopback: ministack in a child process, and the bucket and queue that a demo needs."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from schemas.errors import ConfigError, TrailweaveError

LOOPBACK = "127.0.0.1"
ACCOUNT = "111122223333"
REGION = "us-east-1"
SERVICES = "s3,sqs,sns,sts,iam"
_CHILD = Path(__file__).with_name("emulator_child.py")
_LOG_TAIL_LINES = 15
_ROOT_KEY = "emulated"


class EmulatorError(TrailweaveError):
    """The emulator did not come up; the text ends with the tail of its log."""

    code = "TW-EMULATOR"


@dataclass(frozen=True)
class Emulator:
    """A running emulator: where it listens and the process that it is."""

    endpoint_url: str
    pid: int

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables that lead boto3 to the emulator and nowhere else.

        The user's own configuration files and proxies are shut out: they may name another endpoint or profile.
        """
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ACCESS_KEY_ID": _ROOT_KEY,
            "AWS_SECRET_ACCESS_KEY": _ROOT_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": LOOPBACK,
            "no_proxy": LOOPBACK,
        }

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """`base` for a process that must see the emulator only: its AWS variables replaced by `variables`."""
        kept = {name: value for name, value in base.items() if not name.startswith("AWS_")}
        return kept | self.variables

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Make this process see the emulator only; the former environment comes back at the end."""
        former = dict(os.environ)
        _set_environment(self.environment(former))
        try:
            yield
        finally:
            _set_environment(former)


def _set_environment(wanted: Mapping[str, str]) -> None:
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    os.environ.update(wanted)


@contextmanager
def emulator(
    *, enforce_iam: bool = False, services: str = SERVICES, start_timeout_s: float = 30.0
) -> Iterator[Emulator]:
    """A fresh, empty emulated AWS for the time of the block; its process ends with the block or with ours.

    With `enforce_iam` calls need what IAM allows; the key in `Emulator.variables` is then the account's root.
    `services` are those that it has, by commas.

    Raises ConfigError when ministack is not installed, EmulatorError when it is not healthy in time.
    """
    if find_spec("ministack") is None:
        raise ConfigError(
            "the emulated AWS needs the package 'ministack', which is not installed; pip install 'trailweave[demo]'"
        )
    variables = {"AUTH": str(enforce_iam).lower(), "SERVICES": services}
    with tempfile.TemporaryDirectory(prefix="trailweave-emulator-") as folder:
        # Nobody can take the port before the child serves it.
        with socket.create_server((LOOPBACK, 0)) as listener:
            port = int(listener.getsockname()[1])
            process = start(listener, Path(folder), variables, start_timeout_s)
        try:
            yield Emulator(f"http://{LOOPBACK}:{port}", process.pid)
        finally:
            process.kill()  # nothing to save: all of its state is in memory
            process.wait()


def start(
    listener: socket.socket, folder: Path, variables: Mapping[str, str], timeout_s: float = 30.0
) -> subprocess.Popen[bytes]:
    """Ministack in a child process, healthy, on a bound socket; no other interface opens.

    Its log and what it keeps lie in `folder`, which goes with this process. `variables` are added to what ministack
    sees. Raises EmulatorError when it is not healthy in time; then it has been ended.
    """
    log, port = folder / "log.txt", int(listener.getsockname()[1])
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our interpreter, our file
            [sys.executable, "-P", str(_CHILD), str(listener.fileno()), str(os.getpid()), str(folder)],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**_child_environment(port, folder), **variables},
            start_new_session=True,  # Ctrl-C is ours: the emulator must answer until the last run is finished
        )
    try:
        _wait_until_healthy(process, port, log, timeout_s)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def _child_environment(port: int, folder: Path) -> dict[str, str]:
    """What ministack is to see: no credentials of ours, no Docker (it would remove containers at start)."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "DOCKER_HOST": f"unix://{folder}/no-docker",
        "BIND_HOST": LOOPBACK,
        "MINISTACK_HOST": LOOPBACK,
        "GATEWAY_PORT": str(port),
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "SERVICES": SERVICES,
        "AWS_ACCESS_KEY_ID": _ROOT_KEY,
        "AWS_SECRET_ACCESS_KEY": _ROOT_KEY,
        "PERSIST_STATE": "0",
        "S3_PERSIST": "0",
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "LOG_LEVEL": "WARNING",
    }


def _wait_until_healthy(process: subprocess.Popen[bytes], port: int, log: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not _healthy(port):
        if process.poll() is not None:
            raise EmulatorError(f"ministack ended with code {process.returncode} while starting; {_tail(log)}")
        if time.monotonic() > deadline:
            raise EmulatorError(f"ministack did not answer on port {port} within {timeout_s:g} s; {_tail(log)}")
        time.sleep(0.05)


def _healthy(port: int) -> bool:
    """One request past any proxy. The listener queues connections before the child accepts, hence the timeout."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=1)
    try:
        connection.request("GET", "/_ministack/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tail(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    return "the end of its log:\n" + "\n".join(lines) if lines else "its log is empty"


def provision(
    s3: Any, sqs: Any, *, bucket: str, queue: str, visibility_timeout_s: int = 300, max_receives: int = 5
) -> str:
    """Make bucket, queue and dead-letter queue (`<queue>-dead`), and announce the bucket's new objects in the queue.

    Returns the queue's URL. A message received more than `max_receives` times goes to the dead-letter queue.
    """
    s3.create_bucket(Bucket=bucket)
    dead_letter_arn = _queue_arn(sqs, sqs.create_queue(QueueName=f"{queue}-dead")["QueueUrl"])
    redrive = {"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": max_receives}
    attributes = {
        "VisibilityTimeout": str(visibility_timeout_s),
        "MessageRetentionPeriod": "1209600",
        "RedrivePolicy": json.dumps(redrive),
        "Policy": json.dumps(_may_announce(bucket)),
    }
    queue_url: str = sqs.create_queue(QueueName=queue, Attributes=attributes)["QueueUrl"]
    announcement = {"QueueArn": _queue_arn(sqs, queue_url), "Events": ["s3:ObjectCreated:*"]}
    s3.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [announcement]}
    )
    return queue_url


def _queue_arn(sqs: Any, queue_url: str) -> str:
    answer = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    return str(answer["Attributes"]["QueueArn"])


def _may_announce(bucket: str) -> dict[str, Any]:
    """The queue policy without which S3 refuses the notification: the bucket may send."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "s3.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": "*",
                "Condition": {"ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{bucket}"}},
            }
        ],
    }


def upload(s3: Any, bucket: str, objects: Iterable[tuple[str, bytes]], *, workers: int = 8) -> int:
    """Put `(key, body)` objects, `workers` at a time; returns their number, raises the first failure.

    At most twice `workers` bodies are held, so `objects` may be a stream of any length.
    """
    count = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="upload") as pool:
        running: set[Future[Any]] = set()
        for key, body in objects:
            running.add(pool.submit(s3.put_object, Bucket=bucket, Key=key, Body=body))
            count += 1
            if len(running) >= 2 * workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                _raise_failures(done)
        _raise_failures(running)
    return count


def _raise_failures(futures: Iterable[Future[Any]]) -> None:
    for future in futures:
        future.result()
