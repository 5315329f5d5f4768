"""Where things lie: whatever a bucket's prefix holds is a part of its name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.stores.files import Output, open_store
from transforms.stores.locations import split


@pytest.mark.parametrize(
    ("location", "parts"),
    [
        ("s3://b", ("s3", "b", "")),
        ("s3://b/a/c", ("s3", "b", "/a/c")),
        ("S3://b/a#b?c=d&e", ("s3", "b", "/a#b?c=d&e")),
        ("gs://b/[x] 100%20", ("gs", "b", "/[x] 100%20")),
        ("file:///a#b?c", ("file", "", "/a#b?c")),
        ("a/b", ("", "", "a/b")),
        ("az://b/a", ("az", "b", "/a")),
    ],
)
def test_a_location_is_scheme_bucket_and_name(location: str, parts: tuple[str, str, str]) -> None:
    found = split(location)
    assert (found.scheme, found.netloc, found.path) == parts


@given(st.text("ab/#?%[]{}\n ü", max_size=20))
def test_no_character_of_a_prefix_is_lost(prefix: str) -> None:
    assert split(f"s3://bucket/{prefix}").path == f"/{prefix}"


def test_an_output_lies_under_its_whole_prefix() -> None:
    store = open_store(Output("s3://bucket/x#y?z/"))
    assert store.describe("probe") == "s3://bucket/x#y?z/probe"
