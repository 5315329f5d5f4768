"""Hundreds of rules to measure detection with: the shipped and, where they are, published ones, multiplied.

A copy has an id of its own and asks for other values, but of the same events where it can: source and name of an
event stay, so that few copies are out of the question before their values are looked at.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from bench.workloads import CACHE
from transforms.rules.book import SHIPPED
from transforms.rules.sigma import compile_rules, read_rules

COUNT = 800
_PUBLISHED = (Path("sigma/rules"), Path("suzaku-rules"))
_KEPT = frozenset({"eventSource", "eventName", "errorCode"})
_TEXTS = {"contains", "startswith", "endswith", "all", "cased"}


def folder() -> Path:
    """A folder of rules that, with the shipped ones, are `COUNT`; written if it is not there."""
    data = Path(os.environ.get("TRAILWEAVE_DATA", "../shared/data"))
    places = [SHIPPED, *(data / it for it in _PUBLISHED if (data / it).is_dir())]
    found = CACHE / f"rules-{COUNT}-of-{len(places)}-places"
    if not found.is_dir():
        found.mkdir(parents=True)
        shipped = len(compile_rules(read_rules([SHIPPED])).rules)
        originals = [it for it in _documents(places) if _is_ours(it)]
        copies = (_copy(it, number) for number in count(1) for it in originals)
        texts = [yaml.safe_dump(next(copies), sort_keys=False) for _ in range(COUNT - shipped)]
        (found / "many.yml").write_text("---\n".join(texts), encoding="utf-8")
    return found


def _documents(places: list[Path]) -> Iterator[dict[str, Any]]:
    for text in read_rules(places):
        yield from yaml.safe_load_all(text.text)


def _is_ours(rule: dict[str, Any]) -> bool:
    source = rule.get("logsource") or {}
    return "detection" in rule and (source.get("product"), source.get("service")) == ("aws", "cloudtrail")


def _copy(rule: dict[str, Any], number: int) -> dict[str, Any]:
    own = {name: value for name, value in rule.items() if name not in ("name", "related")}
    detection = {name: _other(value, number) for name, value in rule["detection"].items() if name != "condition"}
    return {
        **own,
        "id": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{rule.get('id')}/{number}")),
        "title": f"{rule['title']} ({number})",
        "detection": {**detection, "condition": rule["detection"]["condition"]},
    }


def _other(value: Any, number: int) -> Any:
    if isinstance(value, list):
        return [_other(inner, number) for inner in value]
    if not isinstance(value, dict):
        return _changed(value, number)
    # Where nothing else can be asked otherwise, it is another event.
    kept = _KEPT if any(_changes(field) for field in value) else _KEPT - {"eventName"}
    return {field: _changed(inner, number) if _changes(field, kept) else inner for field, inner in value.items()}


def _changed(value: Any, number: int) -> Any:
    if isinstance(value, list):
        return [_changed(inner, number) for inner in value]
    return f"{value}{number}" if isinstance(value, str) else value


def _changes(field: str, kept: frozenset[str] = _KEPT) -> bool:
    name, *modifiers = field.split("|")
    return name not in kept and _TEXTS.issuperset(modifiers)
