"""Golden files: invented records, and beside each the whole row that it must become.

A case has a `title`, its `record` (or `text`, where the text itself is the point) and `row`: every column that is not
null but for the constants; or `problem`, if the record is refused. `python tests/unit/transforms/providers/golden.py`
writes the present results into the files, to be read as a diff before they are believed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from transforms.providers import PROVIDERS_BY_NAME

CLOUDTRAIL = PROVIDERS_BY_NAME["cloudtrail"]
FOLDER = Path(__file__).parent / "golden"
CONSTANTS = {
    "provider": "cloudtrail",
    "vendor": "AWS",
    "event_type": "Cloud Audit Log",
    "cloud_provider": "AWS",
    "log_name": "CloudTrail",
    "rules_version": "cloudtrail-1",
}


def files() -> list[Path]:
    """The golden files."""
    return sorted(FOLDER.glob("*.json"))


def cases(path: Path) -> list[dict[str, Any]]:
    """The cases of a file."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def text_of(case: dict[str, Any]) -> bytes:
    """The record as it would be delivered."""
    if "text" in case:
        return str(case["text"]).encode()
    return json.dumps(case["record"], ensure_ascii=False, separators=(",", ":")).encode()


def completed(decoded: pa.Table, raws: Sequence[bytes]) -> pa.Table:
    """Decoded records with what the stages add before `normalize`: ids, accounts, raw text."""
    ids = [id_ or "generated" for id_ in decoded["event_id"].to_pylist()]
    accounts = [account or "unknown" for account in decoded["record_account"].to_pylist()]
    table = decoded.set_column(0, "event_id", pa.array(ids, pa.string()))
    table = table.append_column("recipient_account_id", pa.array(accounts, pa.string()))
    return table.append_column("raw_json", pa.array([raw.decode("utf-8", "replace") for raw in raws], pa.string()))


def rows_of(raws: Sequence[bytes]) -> list[dict[str, Any]]:
    """Whole rows, constants included, as JSON values; records that are refused have theirs too."""
    table = CLOUDTRAIL.normalize(completed(CLOUDTRAIL.decode(raws), raws))
    return [{name: plain(value) for name, value in row.items()} for row in table.to_pylist()]


def results(raws: Sequence[bytes]) -> list[dict[str, Any]]:
    """What each record becomes: `{"problem": ...}` or `{"row": ...}`."""
    problems = CLOUDTRAIL.decode(raws)["problem"].to_pylist()
    return [
        {"problem": problem} if problem else {"row": _told(row)}
        for problem, row in zip(problems, rows_of(raws), strict=True)
    ]


def _told(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None and name not in CONSTANTS}


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    return value.astimezone(UTC).isoformat() if isinstance(value, datetime) else value


def rewrite() -> None:
    """Write the present results into the golden files."""
    for path in files():
        read = cases(path)
        for case, result in zip(read, results([text_of(case) for case in read]), strict=True):
            case.pop("row", None)
            case.pop("problem", None)
            case.update(result)
        path.write_text(json.dumps(read, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    rewrite()
