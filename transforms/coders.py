"""Coders of the values that flow. A slice has one that refuses to encode: no event crosses a shuffle."""

from __future__ import annotations

from typing import Any, NoReturn

from apache_beam import coders

from schemas.values import Slice


class SliceCoder(coders.Coder):
    """Proves on every runner that slices stay inside the fused chain.

    Beam's counters encode elements just to size them; `estimate_size` answers without.
    """

    def encode(self, value: Slice) -> NoReturn:
        raise RuntimeError("slice crossed a stage boundary: from FetchObjects to AcknowledgeMessages all is fused")

    def decode(self, encoded: bytes) -> NoReturn:
        raise RuntimeError("slice crossed a stage boundary: from FetchObjects to AcknowledgeMessages all is fused")

    def estimate_size(self, value: Slice) -> int:
        return 1

    def is_deterministic(self) -> bool:
        return True

    def to_type_hint(self) -> type[Slice]:
        return Slice

    def __eq__(self, other: Any) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))


def register() -> None:
    """Make Beam use the coder for every PCollection of slices."""
    coders.registry.register_coder(Slice, SliceCoder)
