from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.digests import digest_key, fingerprint, key_list, private_key

from pipeline.upkeep.digest_chain import SignedText, chains, check, gaps
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


def raw_signature(lines: Sequence[str]) -> str:
    """RSASSA-PKCS1-v1_5 with SHA-256 by its definition alone (RFC 8017, 8.2 and 9.2), as the user guide asks for."""
    key = private_key(0).private_numbers()
    prefix = bytes.fromhex("3031300d060960864801650304020105000420")
    hashed = prefix + sha256("\n".join(lines).encode()).digest()
    padded = b"\x00\x01" + b"\xff" * (256 - 3 - len(hashed)) + b"\x00" + hashed
    return f"{pow(int.from_bytes(padded), key.d, key.public_numbers.n):0512x}"


@pytest.mark.parametrize("before", [None, "5a" * 256], ids=["start of logging", "in a chain"])
@pytest.mark.parametrize("changed", [None, 0, 1, 2, 3])
def test_a_digest_is_right_if_it_is_signed_as_the_user_guide_says(before: str | None, changed: int | None) -> None:
    """End of time, path, hash of the text, signature before it (or `null`), a line each; none of them otherwise."""
    text = json.dumps({**MEMBERS, "previousDigestSignature": before}).encode()
    lines = ["2026-01-12T01:00:00Z", f"b/{digest_key(1)}", sha256(text).hexdigest(), before or "null"]
    if changed is not None:
        lines[changed] += "0"
    checked = check(stored(text, raw_signature(lines)), KEYS)

    assert checked.wrong == (None if changed is None else "its signature is not that of its content")


@pytest.mark.parametrize("key", ["", "no base64!", "AAAA", "\u00e9"])
def test_a_key_that_is_none_signs_nothing(key: str) -> None:
    checked = check(stored(json.dumps(MEMBERS).encode()), {fingerprint(): key})

    assert checked.wrong == "its signature is not that of its content"


@given(st.lists(st.text(max_size=30), max_size=8))
def test_any_keys_are_put_into_chains_whole(keys: list[str]) -> None:
    refs = [ObjectRef("b", key) for key in keys]

    assert sorted(it.key for chain in chains(refs) for it in chain) == sorted(keys)
