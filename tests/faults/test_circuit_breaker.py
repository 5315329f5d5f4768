"""Law 6: when everything is denied receiving stops; the queue is not emptied into its dead-letter queue."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.fault_proxy import Action, denied, denied_without_a_word, kms_disabled, sqs_denied, sqs_error
from support.trails import records, trail_key, trail_object
from support.world import World, assert_one_to_one, world

from pipeline.demo.emulator import emulator
from schemas.errors import AccessError
from transforms.receive_messages import STOP, Limits

pytestmark = pytest.mark.usefixtures("impatient")

MESSAGES = 6
OBJECTS = {trail_key(f"o{n}"): trail_object(records(range(n * 10, n * 10 + 10))) for n in range(MESSAGES)}
IDS = [it["eventID"] for it in records(range(MESSAGES * 10))]
QUICK = Limits(messages=4, wait_s=0.2, idle_s=0.2)


class Conductor:
    """Acts at chosen runs of the loop."""

    def __init__(self, **at: Callable[[], Any]) -> None:
        self.at = {int(name.removeprefix("run_")): act for name, act in at.items()}
        self.runs: list[Counter[str]] = []

    def __call__(self, counts: Counter[str]) -> None:
        self.runs.append(counts)
        if len(self.runs) in self.at:
            self.at[len(self.runs)]()


@pytest.mark.parametrize("refusal", [denied, denied_without_a_word, kms_disabled])
def test_while_everything_is_denied_no_message_is_used_up(
    make_world: Callable[..., World], refusal: Callable[[], Action], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outage of many tries, each message given back after a second and lost after its third receive."""
    monkeypatch.setattr("pipeline.ingestion.breaker._LONGEST_PAUSE_S", 0.4)
    monkeypatch.setattr("pipeline.ingestion.breaker._FIRST_SAMPLE_S", 2.0)
    faulty = make_world(proxied=True, max_receives=4)
    two = dict([*OBJECTS.items()][:2])
    faulty.put_all(two)
    faulty.proxy.when("GetObject").do(refusal())

    def act(_: Counter[str]) -> None:
        if len(faulty.proxy.calls("GetObject")) > 12:
            STOP.set()

    with pytest.raises(AccessError):
        faulty.ingest(limits=QUICK, until_idle_s=60, on_run=act, visibility_s=1)

    assert (sum(faulty.waiting()), faulty.redriven()) == (2, 0)
    faulty.proxy.heal()
    assert faulty.ingest().counts["messages_deleted"] == 2
    assert_one_to_one(faulty.output, IDS[:20])


def test_while_everything_is_denied_receiving_stops(faulty: World, caplog: pytest.LogCaptureFixture) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject").do(denied())

    with pytest.raises(AccessError, match="every object of source trail was denied") as told:
        faulty.ingest(limits=QUICK, on_run=Conductor(run_6=STOP.set))

    assert told.value.exit_code == 3
    assert [it.json["MaxNumberOfMessages"] for it in faulty.proxy.calls("ReceiveMessage")] == [4]
    assert sum(faulty.waiting()) == MESSAGES
    assert faulty.redriven() == 0
    for part in ("s3:GetObject", faulty.bucket, "arn:aws:iam::", "circuit_open"):
        assert part in caplog.text


@pytest.mark.parametrize("refusal", [denied, denied_without_a_word, kms_disabled])
def test_an_object_denied_alone_does_not_keep_the_others_waiting(
    faulty: World, refusal: Callable[[], Action], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when it was the first of all: a message is sampled now and then."""
    monkeypatch.setattr("pipeline.ingestion.breaker._FIRST_SAMPLE_S", 0.5)
    alone, *others = OBJECTS
    faulty.proxy.when("GetObject", key=alone).do(refusal())
    faulty.put(alone, OBJECTS[alone])

    def more() -> None:
        faulty.put_all({key: OBJECTS[key] for key in others})

    counts = faulty.ingest(limits=QUICK, until_idle_s=3, on_run=Conductor(run_2=more)).counts

    assert counts["messages_deleted"] == len(others)
    assert sum(faulty.waiting()) == 1


def test_one_object_that_can_be_read_keeps_the_circuit_closed(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetObject", key="*_o0.*").do(denied())

    counts = faulty.ingest().counts

    assert counts["messages_deleted"] == MESSAGES - 1
    assert counts["objects_denied"] == 1


def test_a_source_that_is_denied_does_not_stop_the_others(make_world: Callable[..., World]) -> None:
    good, bad = make_world(), make_world(proxied=True, max_receives=3)
    good.put_all(OBJECTS)
    bad.put_all(OBJECTS)
    bad.proxy.when("GetObject").do(denied())
    good.sources = {"bad": bad.source(name="bad", visibility_s=1)}

    with pytest.raises(AccessError, match="every object of source bad was denied"):
        good.ingest(limits=QUICK, on_run=Conductor(run_12=STOP.set))

    assert_one_to_one(good.output, IDS)
    assert bad.redriven() == 0
    assert sum(bad.waiting()) == MESSAGES


@pytest.mark.parametrize(
    "refusal",
    [sqs_denied("sqs:ReceiveMessage"), sqs_error(400, "InvalidClientTokenId", "The security token is invalid.")],
    ids=["denied", "unknown key"],
)
def test_a_receive_that_is_denied_at_the_start_ends_the_command(faulty: World, refusal: Action) -> None:
    faulty.proxy.when("ReceiveMessage").do(refusal)

    with pytest.raises(AccessError, match=rf"sqs:ReceiveMessage on queue \d+/{faulty.bucket}") as told:
        faulty.ingest()

    assert told.value.exit_code == 3
    assert "arn:aws:iam::" in str(told.value)


def test_a_receive_that_is_denied_later_backs_off_and_goes_on(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    refusal = faulty.proxy.when("ReceiveMessage").do(sqs_denied("sqs:ReceiveMessage")).after(2).times(3)

    summary = faulty.ingest(limits=QUICK, until_idle_s=2)

    assert refusal.used == 3
    assert summary.counts["messages_deleted"] == MESSAGES
    assert_one_to_one(faulty.output, IDS)


def test_a_queue_whose_attributes_may_not_be_read_is_ingested(faulty: World) -> None:
    faulty.put_all(OBJECTS)
    faulty.proxy.when("GetQueueAttributes").do(sqs_denied("sqs:GetQueueAttributes"))

    assert faulty.ingest().counts["messages_deleted"] == MESSAGES


class Key:
    """A user's access key in an emulated AWS that enforces IAM."""

    def __init__(self, iam: Any, user: str) -> None:
        self._iam, self._user = iam, user
        iam.create_user(UserName=user)
        made = iam.create_access_key(UserName=user)["AccessKey"]
        self.id, self.secret = made["AccessKeyId"], made["SecretAccessKey"]
        iam.put_user_policy(UserName=user, PolicyName="all", PolicyDocument=POLICY)

    def become(self, status: str) -> None:
        self._iam.update_access_key(UserName=self._user, AccessKeyId=self.id, Status=status)


POLICY = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:*","sqs:*"],"Resource":"*"}]}'


@contextmanager
def strict_world(folder: Path) -> Iterator[tuple[World, Key, dict[str, str]]]:
    with emulator(enforce_iam=True) as strict, world(strict, folder, max_receives=3) as made:
        from transforms.stores.aws import Access, client

        key = Key(client("iam", Access(endpoint_url=strict.endpoint_url)), "collector")
        keys_file = folder / "credentials"
        keys_file.write_text(f"[default]\naws_access_key_id={key.id}\naws_secret_access_key={key.secret}\n")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            os.environ.pop(name)
        yield made, key, {"credentials_file": str(keys_file)}


def test_a_disabled_key_stops_everything_and_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with strict_world(tmp_path) as (aws, key, access):
        aws.put_all(OBJECTS)
        aws.access_options = access
        key.become("Inactive")

        with pytest.raises(AccessError) as told:
            aws.ingest(visibility_s=1)
        assert told.value.exit_code == 3
        for part in ("sqs:", f"/{aws.bucket}", "key is unknown or disabled"):
            assert part in str(told.value)
        assert (sum(aws.waiting()), aws.redriven()) == (MESSAGES, 0)
        assert key.secret not in caplog.text + str(told.value)

        key.become("Active")
        assert aws.ingest().counts["messages_deleted"] == MESSAGES
        assert_one_to_one(aws.output, IDS)


def test_a_key_disabled_while_at_work_loses_nothing(tmp_path: Path) -> None:
    with strict_world(tmp_path) as (aws, key, access):
        aws.put_all(OBJECTS)
        aws.access_options = access
        counted: list[int] = []

        def disable() -> None:
            key.become("Inactive")

            def enable() -> None:
                counted.append(aws.redriven())
                key.become("Active")

            threading.Timer(0.5, enable).start()

        conductor = Conductor(run_1=disable)
        assert (
            aws.ingest(limits=QUICK, until_idle_s=3, on_run=conductor, visibility_s=2).counts["messages_deleted"] == 6
        )

        assert counted == [0]
        assert aws.redriven() == 0
        assert_one_to_one(aws.output, IDS)
