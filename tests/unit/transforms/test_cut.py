from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.trails import trail_key

from schemas.values import Message, ObjectRef
from transforms import list_objects as module
from transforms.list_objects import cut
from transforms.stores.keys import facts

ACCOUNTS = ("111122223333", "444455556666")
DAYS = ("2026-01-11", "2026-01-12", "2026-01-13")


def message(number: int, account: str, day: str, size: int | None) -> Message:
    return Message("replay", (ObjectRef("b", trail_key(f"{number}", account=account, day=day), size=size),))


MESSAGES = st.lists(
    st.tuples(st.sampled_from(ACCOUNTS), st.sampled_from(DAYS), st.none() | st.integers(0, 300_000_000)), max_size=60
).map(lambda them: [message(number, *it) for number, it in enumerate(them)])


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RUN_OBJECTS", 10)
        patch.setattr(module, "_WINDOW", 25)
        yield


@given(MESSAGES)
def test_every_message_is_in_one_run(messages: list[Message]) -> None:
    runs = [chunk.messages for chunk in cut(messages)]

    assert all(runs)
    assert sorted((it for run in runs for it in run), key=repr) == sorted(messages, key=repr)


@given(MESSAGES)
def test_a_run_is_bounded(messages: list[Message]) -> None:
    for chunk in cut(messages):
        sizes = [it.objects[0].size or 0 for it in chunk.messages]
        assert len(sizes) <= 10
        assert sum(sizes[:-1]) < module.RUN_BYTES


def test_a_run_ends_with_an_accounts_day_once_it_is_half_full() -> None:
    messages = [message(n, ACCOUNTS[0], DAYS[n // 6], 10) for n in range(18)]

    runs = [[it.objects[0].key for it in chunk.messages] for chunk in cut(messages)]

    assert [len(run) for run in runs] == [6, 6, 6]


def test_a_message_without_objects_is_kept() -> None:
    (chunk,) = cut([Message("dead_letters")])

    assert chunk.messages == (Message("dead_letters"),)


@given(MESSAGES, st.integers(2, 5))
def test_for_several_workers_the_same_runs_come_in_another_order(messages: list[Message], workers: int) -> None:
    assert sorted(cut(messages, workers=workers), key=repr) == sorted(cut(messages), key=repr)


def test_runs_of_one_accounts_day_stand_apart_for_several_workers() -> None:
    """One day has five runs, three have one: at each moment two workers are at different days while there are any."""
    counts = {"2026-01-11": 50, "2026-01-12": 10, "2026-01-13": 10, "2026-01-14": 10}
    messages = [message(n, ACCOUNTS[0], day, 10) for day, count in counts.items() for n in range(count)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_WINDOW", 100)
        days = [facts(chunk.messages[0].objects[0].key).day for chunk in cut(messages, workers=2)]
    assert days == [
        *("2026-01-11", "2026-01-12", "2026-01-11", "2026-01-13", "2026-01-11", "2026-01-14"),
        *("2026-01-11", "2026-01-11"),
    ]
