from __future__ import annotations

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st
from support.trails import trail_key

from pipeline.ingestion.runs import run
from schemas.values import Message, ObjectRef, Receipt
from transforms.batch_messages import BatchMessages, batch_key, batches


def message(account: str = "111122223333", receives: int = 1, name: str = "m", bucket: str = "b") -> Message:
    receipt = Receipt("https://sqs/1/q", name, "h", 4e9, receives, None)
    return Message("trail", (ObjectRef(bucket, trail_key("x", account=account)),), receipt)


def test_one_process_has_one_batch() -> None:
    assert {batch_key(message(f"{n:012}"), 1) for n in range(100)} == {"0"}


def test_quiet_accounts_share_a_few_batches_and_each_keeps_its_own() -> None:
    keys = {f"{n:012}": batch_key(message(f"{n:012}"), 8) for n in range(5000)}

    assert set(keys.values()) == {str(n) for n in range(8)}
    assert all(batch_key(message(account, name="other"), 8) == key for account, key in keys.items())


@pytest.mark.parametrize("buckets", [1, 8])
def test_a_message_received_more_than_twice_is_alone(buckets: int) -> None:
    keys = {batch_key(message(receives=3, name=name), buckets) for name in "abc"}

    assert len(keys) == 3
    assert batch_key(message(receives=2), buckets) == batch_key(message(), buckets)


def test_a_message_without_objects_or_receipt_has_a_batch() -> None:
    assert batch_key(Message("trail"), 8) == "0"
    assert batch_key(Message("replay", (ObjectRef("b", "k"),)), 1) == "0"


def test_of_one_poll_the_troubled_come_last_one_by_one_and_the_least_received_first() -> None:
    polled = [message(receives=4, name="a"), message(name="b"), message(receives=3, name="c"), message(name="d")]
    names = [[it.receipt.message_id for it in batch.messages if it.receipt] for batch in batches(polled)]

    assert names == [["b", "d"], ["c"], ["a"]]
    assert batches([]) == []
    assert [len(it.messages) for it in batches(polled[:1])] == [1]


def test_each_message_of_a_bundle_is_in_one_batch_of_a_run() -> None:
    polled = [message(name=str(n), receives=1 + n % 4) for n in range(25)]

    def build(pipeline: beam.Pipeline) -> Any:
        batched = pipeline | beam.Create(polled) | BatchMessages(by_bundle=True)
        names = batched | beam.FlatMap(lambda batch: [it.receipt.message_id for it in batch.messages])
        assert_that(names, equal_to([str(n) for n in range(25)]))

    run(build)


@given(st.text(), st.integers(1, 64))
def test_any_key_of_an_object_gives_one_of_the_batches(key: str, buckets: int) -> None:
    found = batch_key(Message("trail", (ObjectRef("b", key),)), buckets)

    assert 0 <= int(found) < buckets


@pytest.mark.parametrize("keys", [0, 65, -1])
def test_a_number_of_batches_that_makes_no_sense_is_refused(keys: int) -> None:
    with pytest.raises(ValueError, match=f"keys is {keys}; it must be 1 to 64"):
        BatchMessages(keys)
