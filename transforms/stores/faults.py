"""What a call to a cloud failed with, in the terms that stages decide by, whichever cloud it was."""

from __future__ import annotations

from typing import Literal

FaultKind = Literal["missing", "denied", "denied_or_missing", "kms", "transient", "taken"]


class CallFault(Exception):
    """A call that failed, in the terms that a stage decides by. The text is for the operator."""

    def __init__(self, kind: FaultKind, code: str, text: str) -> None:
        super().__init__(kind, code, text)
        self.kind: FaultKind = kind
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return self.text
