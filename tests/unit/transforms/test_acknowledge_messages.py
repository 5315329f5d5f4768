from __future__ import annotations

from collections.abc import Sequence

import pytest

from schemas.values import Receipt
from transforms.acknowledge_messages import acknowledge_messages
from transforms.stores import queue
from transforms.stores.aws import Access
from transforms.stores.sources import Source

ONE, TWO = "https://sqs/1/one", "https://sqs/1/two"
SOURCES = {
    "one": Source("one", queue_url=ONE, access=Access(profile="first")),
    "two": Source("two", queue_url=TWO, access=Access(profile="second")),
    "history": Source("history", location="s3://old"),
}


def receipt(url: str, name: str) -> Receipt:
    return Receipt(url, name, f"handle-{name}", 4e9, 1, None)


def test_each_message_is_deleted_from_its_own_queue_with_that_queues_access(monkeypatch: pytest.MonkeyPatch) -> None:
    deleted: list[tuple[str, list[str]]] = []

    def delete(receipts: Sequence[Receipt], access: Access) -> int:
        assert len({it.queue_url for it in receipts}) == 1
        deleted.append((str(access.profile), [it.message_id for it in receipts]))
        return len(receipts)

    monkeypatch.setattr(queue, "delete", delete)
    receipts = [receipt(ONE, "a"), receipt(TWO, "b"), receipt(ONE, "c")]

    assert acknowledge_messages(receipts, SOURCES) == 3
    assert deleted == [("first", ["a", "c"]), ("second", ["b"])]


def test_nothing_to_acknowledge_calls_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "delete", lambda *_: 1 / 0)

    assert acknowledge_messages((), SOURCES) == 0
