"""Whatever a record holds, it is decoded and normalized alone: no neighbour, chunk or order changes its row."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from typing import Any

import golden
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from schemas.datasets import EVENTS

RECORDS = [
    case["record"] for path in golden.files() for case in golden.cases(path) if isinstance(case.get("record"), dict)
]

ODD = [None, True, False, 0, -1, 2**63, 10**40, 1.5, "", "true", "\ud800", "a\x00b", [], {}, [[]], {"a": None}]
odd_values = st.one_of(
    # Copied, since a later mutation may go into what was drawn.
    st.sampled_from(ODD).map(deepcopy),
    st.text(max_size=5),
    st.recursive(st.none() | st.integers() | st.text(max_size=3), st.lists, max_leaves=5),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A golden record with up to three members, at any depth, replaced or removed, or with its text changed."""
    record = deepcopy(draw(st.sampled_from(RECORDS)))
    for _ in range(draw(st.integers(0, 3))):
        _mutate(draw, record)
    text = json.dumps(record, ensure_ascii=draw(st.booleans())).encode("utf-8", "replace")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from([b"", b"\\", b'"', b"}", b"\x01", b"\\ud800"])) + text[at + 1 :]
        text = text.decode("utf-8", "ignore").encode()
    return text


def _mutate(draw: st.DrawFn, record: dict[str, Any]) -> None:
    place: Any = record
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and draw(st.booleans()):
            place = place[key]
            continue
        if draw(st.integers(0, 4)) == 0 and isinstance(place, dict):
            del place[key]
        else:
            place[key] = draw(odd_values)
        return


@given(mutated())
def test_a_row_comes_of_any_record_and_holds_the_schema(raw: bytes) -> None:
    decoded = golden.CLOUDTRAIL.decode([raw])
    normalized = golden.CLOUDTRAIL.normalize(golden.completed(decoded, [raw]))
    normalized.validate(full=True)
    assert decoded.num_rows == normalized.num_rows == 1
    assert (decoded["event_time"][0].as_py() is None) <= (decoded["problem"][0].as_py() is not None)
    if decoded["problem"][0].as_py() is None:
        assert golden.CLOUDTRAIL.recognises(raw)
        plain = normalized.cast(pa.schema([EVENTS.arrow.field(name) for name in normalized.schema.names]))
        plain.validate(full=True)


@given(st.lists(mutated(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_neighbours_chunks_and_order_do_not_matter(raws: list[bytes], rand: random.Random) -> None:
    alone = [row(raw) for raw in raws]
    assert rows(raws) == alone
    order = list(range(len(raws)))
    rand.shuffle(order)
    assert rows([raws[index] for index in order]) == [alone[index] for index in order]
    assert rows(raws, chunk=rand.randint(1, len(raws))) == alone


def row(raw: bytes) -> dict[str, Any]:
    (one,) = rows([raw])
    return one


def rows(raws: list[bytes], chunk: int = 1_000) -> list[dict[str, Any]]:
    """Whole rows, and the reasons for refusals, of records that are decoded in chunks."""
    chunks = [golden.CLOUDTRAIL.decode(raws[start : start + chunk]) for start in range(0, len(raws), chunk)]
    decoded = pa.concat_tables(chunks)
    normalized = golden.CLOUDTRAIL.normalize(golden.completed(decoded, raws)).to_pylist()
    problems = decoded["problem"].to_pylist()
    return [one | {"problem": problem} for one, problem in zip(normalized, problems, strict=True)]
