from __future__ import annotations

from dataclasses import replace
from http.server import ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from support.served import ANY_PORT, Quiet, served

from schemas.values import Receipt
from transforms.stores import queue
from transforms.stores.aws import Access
from transforms.stores.queue import QueueTraits, delete, extend, queue_name, sqs, traits
from transforms.stores.sources import Source

URL = "https://sqs.eu-central-1.amazonaws.com/111122223333/trail"
ACCESS = Access(profile="test-queue")


def receipt(number: int, url: str = URL) -> Receipt:
    return Receipt(url, f"m{number}", f"h{number}", 1000.0, 1, None)


class Sqs:
    """A client whose batch calls answer from a script of failing handles and their codes."""

    def __init__(self, *failing: dict[str, str]) -> None:
        self.failing = list(failing)
        self.calls: list[list[str]] = []
        self.attributes: dict[str, str] = {}
        self.hidden: list[int] = []

    def get_queue_attributes(self, **_: Any) -> Any:
        return {"Attributes": self.attributes}

    def delete_message_batch(self, **asked: Any) -> Any:
        entries = asked["Entries"]
        self.calls.append([it["ReceiptHandle"] for it in entries])
        assert len(entries) <= 10
        assert len({it["Id"] for it in entries}) == len(entries)
        failing = self.failing.pop(0) if self.failing else {}
        answer: dict[str, list[Any]] = {"Successful": [], "Failed": []}
        for it in entries:
            code = failing.get(it["ReceiptHandle"])
            answer["Failed" if code else "Successful"].append({"Id": it["Id"], "Code": code})
        return answer

    def change_message_visibility_batch(self, **asked: Any) -> Any:
        self.hidden += [it["VisibilityTimeout"] for it in asked["Entries"]]
        return self.delete_message_batch(**asked)


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(queue, "_FIRST_PAUSE_S", 0)
    queue._attributes.cache_clear()

    def install(*failing: dict[str, str]) -> Sqs:
        made = Sqs(*failing)
        monkeypatch.setattr(queue, "client", lambda service, access: made)
        return made

    yield install
    queue._attributes.cache_clear()


def test_deletes_go_in_tens_a_queue_and_each_message_once(use: Any) -> None:
    sqs = use()
    receipts = [receipt(n, URL + str(n % 2)) for n in range(24)]

    assert delete([*receipts, *receipts], ACCESS) == 24
    assert sorted(map(len, sqs.calls)) == [2, 2, 10, 10]


def test_failed_entries_alone_are_tried_again(use: Any) -> None:
    sqs = use({"h1": "InternalError", "h2": "ServiceUnavailable"}, {"h2": "InternalError"})

    assert delete([receipt(n) for n in range(4)], ACCESS) == 4
    assert sqs.calls == [["h0", "h1", "h2", "h3"], ["h1", "h2"], ["h2"]]


def test_what_fails_for_ever_is_not_counted_as_deleted(use: Any) -> None:
    sqs = use(*[{"h1": "InternalError"}] * 10)

    assert delete([receipt(0), receipt(1)], ACCESS) == 1
    assert len(sqs.calls) == 4


@pytest.mark.parametrize("code", ["ReceiptHandleIsInvalid", "InvalidParameterValue", "AWS.SQS.MessageNotInflight"])
def test_a_receipt_that_has_ended_is_gone_and_no_error(use: Any, code: str) -> None:
    sqs = use({"h1": code}, {"h1": code})

    assert delete([receipt(0), receipt(1)], ACCESS) == 2
    assert len(sqs.calls) == 1
    assert [*extend([receipt(0), receipt(1)], ACCESS, 60)] == ["h0"]


def test_an_extension_sets_the_new_deadline(use: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = use()
    monkeypatch.setattr(queue.time, "time", lambda: 5000.0)

    assert extend([receipt(0)], ACCESS, 60) == {"h0": replace(receipt(0), deadline=5060.0)}
    assert sqs.hidden == [60]


@pytest.mark.parametrize(
    ("attributes", "source", "expected"),
    [
        ({}, {}, QueueTraits(300, 10)),
        ({"VisibilityTimeout": "45"}, {}, QueueTraits(45, 10)),
        ({"VisibilityTimeout": "0"}, {}, QueueTraits(10, 10)),
        ({"RedrivePolicy": '{"maxReceiveCount":3}'}, {}, QueueTraits(300, 3)),
        ({"RedrivePolicy": '{"maxReceiveCount":"3"}'}, {}, QueueTraits(300, 3)),
        ({"VisibilityTimeout": "45"}, {"visibility_s": 90, "max_receives": 2}, QueueTraits(90, 2)),
    ],
)
def test_the_sources_own_traits_win_over_the_queues_and_those_over_the_defaults(
    use: Any, attributes: dict[str, str], source: dict[str, int], expected: QueueTraits
) -> None:
    use().attributes = attributes

    assert traits(Source("trail", queue_url=URL, access=ACCESS, **source)) == expected  # type: ignore[arg-type]


def test_a_queue_is_named_by_account_and_name() -> None:
    assert queue_name(URL) == queue_name(URL + "/") == "queue 111122223333/trail"


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/111122223333/trail", "eu-west-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/111122223333/trail", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/111122223333/trail", "cn-north-1"),
        ("https://vpce-0a1b-x.sqs.eu-central-1.vpce.amazonaws.com/111122223333/trail", "eu-central-1"),
        ("https://ap-south-1.queue.amazonaws.com/111122223333/trail", "ap-south-1"),
        ("http://127.0.0.1:4566/111122223333/trail", "sa-east-1"),
    ],
)
def test_a_queue_is_asked_in_the_region_that_its_url_names(
    url: str, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    made = sqs(url, Access(region="sa-east-1"))
    assert made.meta.region_name == region
    assert region in made.meta.endpoint_url


class Forgetful(Quiet):
    """A queue that closes each connection after its answer, and does not say so."""

    protocol_version = "HTTP/1.1"
    connections: ClassVar[set[int]] = set()

    def do_POST(self) -> None:
        self.connections.add(self.client_address[1])
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"Messages": [{"MessageId": "m", "ReceiptHandle": "h", "Body": "x"}]}'
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


def test_a_connection_that_was_closed_while_it_was_idle_does_not_end_the_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    with served(ThreadingHTTPServer(ANY_PORT, Forgetful)) as port:
        url = f"http://127.0.0.1:{port}/111122223333/trail"
        source = Source("trail", queue_url=url, access=Access(endpoint_url=url.rsplit("/", 2)[0]))
        found = [queue.receive(source, wait_s=0, visibility_s=30, maximum=1) for _ in range(3)]
    assert [[it.body for it in messages] for messages in found] == [["x"]] * 3
    assert len(Forgetful.connections) == 3
