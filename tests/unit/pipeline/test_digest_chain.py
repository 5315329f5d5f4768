from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.digests import digest_key, fingerprint, key_list

from pipeline.digest_chain import SignedText, chains, check, gaps
from schemas.values import ObjectRef

KEYS = {it["Fingerprint"]: it["Value"] for it in key_list()["PublicKeyList"]}
REF = ObjectRef("b", digest_key(1))
MEMBERS = {
    "digestStartTime": "2026-01-12T00:00:00Z",
    "digestEndTime": "2026-01-12T01:00:00Z",
    "digestS3Bucket": REF.bucket,
    "digestS3Object": REF.key,
    "digestPublicKeyFingerprint": fingerprint(),
    "logFiles": [],
}
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def stored(text: bytes, signature: str | None = "00") -> SignedText:
    return SignedText(REF, text, signature, "SHA256withRSA")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"\xff\xfe",
        b'{"digestStartTime": "\xff"}',
        b'{"\xff": 1}',
        b"[" * 100_000,
        json.dumps(MEMBERS)[:-1].encode() + b', "x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
        json.dumps(MEMBERS)[:-1].encode() + b', "x": 1e999999}',
    ],
)
def test_a_text_that_is_hostile_is_wrong_and_raises_nothing(text: bytes) -> None:
    assert check(stored(text), KEYS).wrong


@given(st.binary() | anything.map(lambda it: json.dumps(it).encode()))
def test_no_text_is_right_without_a_signature_of_its_own(text: bytes) -> None:
    assert check(stored(text), KEYS).wrong


@given(st.sampled_from([*MEMBERS, "previousDigestS3Object", "previousDigestSignature"]), anything, st.text())
def test_no_member_and_no_signature_makes_it_raise(name: str, value: Any, signature: str) -> None:
    checked = check(stored(json.dumps({**MEMBERS, name: value}).encode(), signature), KEYS)

    assert checked.wrong
    assert isinstance([*gaps([checked, checked], "2026-01-01")], list)


@pytest.mark.parametrize("key", ["", "no base64!", "AAAA", "\u00e9"])
def test_a_key_that_is_none_signs_nothing(key: str) -> None:
    checked = check(stored(json.dumps(MEMBERS).encode()), {fingerprint(): key})

    assert checked.wrong == "its signature is not that of its content"


@given(st.lists(st.text(max_size=30), max_size=8))
def test_any_keys_are_put_into_chains_whole(keys: list[str]) -> None:
    refs = [ObjectRef("b", key) for key in keys]

    assert sorted(it.key for chain in chains(refs) for it in chain) == sorted(keys)
