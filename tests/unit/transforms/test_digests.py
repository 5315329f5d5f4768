"""Event ids as 16 bytes: equal for equal texts, compared whole."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas.digests import Digests, digests_of, first_of_each, found_in, heads_of, in_order, order_by_time, share_any

uuids = st.uuids().map(str)
ids = st.one_of(
    uuids, uuids.map(str.upper), st.text(max_size=40), st.text("0123456789abcdef-", min_size=36, max_size=36)
)
few = st.sampled_from(
    ["a", "b", "c", str(uuid.UUID(int=1)), str(uuid.UUID(int=1 << 64)), str(uuid.UUID(int=2 << 64))]
)


def of(texts: list[str]) -> Digests:
    return digests_of(pa.array(texts, pa.string()))


@given(st.lists(ids, max_size=12))
def test_a_digest_depends_on_its_id_alone(texts: list[str]) -> None:
    together = of(texts)
    assert together.shape == (len(texts), 2)
    for row, text in enumerate(texts):
        assert together[row].tolist() == of([text])[0].tolist()


@given(st.lists(ids, unique=True, max_size=12))
def test_different_ids_have_different_digests(texts: list[str]) -> None:
    assert len(set(map(tuple, of(texts).tolist()))) == len(texts)


@given(st.lists(uuids, min_size=1, max_size=8))
def test_a_uuid_is_its_own_bytes(texts: list[str]) -> None:
    values = [(high << 64) | low for high, low in of(texts).tolist()]
    assert [str(uuid.UUID(int=it)) for it in values] == texts


@given(st.lists(ids, max_size=12), st.integers(0, 4), st.integers(0, 4))
def test_slices_chunks_and_dictionaries_have_the_same_digests(texts: list[str], skip: int, cut: int) -> None:
    whole = pa.array(texts, pa.string())
    wanted = of(texts).tolist()
    chunked: Any = pa.chunked_array([whole[:cut], whole[cut:]], pa.string())
    assert digests_of(whole.slice(skip)).tolist() == wanted[skip:]
    assert digests_of(chunked).tolist() == wanted
    assert digests_of(whole.dictionary_encode()).tolist() == wanted


@given(st.lists(st.tuples(few, st.integers(0, 2)), max_size=20))
def test_the_first_of_each_id_in_its_partition_is_kept(rows: list[tuple[str, int]]) -> None:
    first = first_of_each(of([text for text, _ in rows]), np.array([group for _, group in rows], np.int64))
    assert first.tolist() == [row not in rows[:place] for place, row in enumerate(rows)]


@given(st.lists(few, max_size=8), st.lists(few, max_size=8))
def test_only_ids_that_agree_in_all_their_bytes_are_found(asked: list[str], known: list[str]) -> None:
    assert found_in(of(asked), in_order(of(known))).tolist() == [it in known for it in asked]


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=20)


def as_digests(rows: Sequence[tuple[int, int]]) -> Digests:
    return np.array(rows, np.uint64).reshape(-1, 2)


@given(pairs, pairs)
def test_digests_that_agree_in_their_first_half_alone_are_told_apart(
    asked: list[tuple[int, int]], known: list[tuple[int, int]]
) -> None:
    assert found_in(as_digests(asked), in_order(as_digests(known))).tolist() == [it in known for it in asked]


many = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3)), max_size=80)


@given(many, many)
def test_none_is_found_where_no_first_half_is_shared(
    asked: list[tuple[int, int]], known: list[tuple[int, int]]
) -> None:
    found = found_in(as_digests(asked), in_order(as_digests(known)))
    assert share_any(heads_of(as_digests(asked)), in_order(as_digests(known))) or not found.any()


halves = st.sets(st.integers(0, 400), max_size=80)


@given(halves, halves)
def test_first_halves_that_differ_are_not_shared(asked: set[int], known: set[int]) -> None:
    heads = heads_of(as_digests([(it, 0) for it in asked]))
    assert share_any(heads, in_order(as_digests([(it, 1) for it in known]))) == bool(asked & known)


@given(st.data(), st.lists(st.one_of(few, uuids), max_size=40), st.sampled_from([3, 1 << 20, 1 << 52]))
def test_rows_are_in_order_of_group_time_and_digest(data: st.DataObject, texts: list[str], span: int) -> None:
    digests = of(texts)
    numbers = st.lists(st.integers(0, span), min_size=len(texts), max_size=len(texts))
    times = np.array(data.draw(numbers), np.int64) - span // 2
    groups = np.array(data.draw(numbers), np.int64) % 70
    keys = [(groups[row], times[row], *digests[row]) for row in order_by_time(digests, times, groups).tolist()]
    assert keys == sorted(keys)
    assert sorted(keys) == sorted((groups[row], times[row], *digests[row]) for row in range(len(texts)))
