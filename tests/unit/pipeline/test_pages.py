"""Pages that list what the code holds agree with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipeline.config.options import Config
from pipeline.config.tables import (
    AccessConfig,
    ClientSideConfig,
    EnrichmentConfig,
    RoleConfig,
    SinkConfig,
    SourceConfig,
)
from pipeline.sql import datasets_page

ROOT = Path(__file__).parents[3]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(?P<name>\w+)` \|(?P<default>[^|]*)\|", re.M)


def test_the_page_of_datasets_is_what_the_schemas_and_views_give() -> None:
    assert datasets_page.PAGE.read_text(encoding="utf-8") == datasets_page.page(), "run `make datasets`"


def tables(title: str) -> list[dict[str, str]]:
    """The options of each table of a section, with their defaults."""
    section = re.split(rf"^## {title}\n", CONFIGURATION, flags=re.M)[1].split("\n## ")[0]
    blocks = [block for block in section.split("\n\n") if block.startswith("| option |")]
    return [{row["name"]: row["default"].strip() for row in ROW.finditer(block)} for block in blocks]


def own(model: type[BaseModel], *, without: type[BaseModel] | None = None) -> dict[str, Any]:
    """The options of a table: name to default, `...` where one must be given."""
    inherited = without.model_fields if without else {}
    return {
        name: ... if field.is_required() else field.default
        for name, field in model.model_fields.items()
        if name not in inherited
    }


SECTIONS = {
    "Top": (0, own(Config)),
    "Sources": (0, own(SourceConfig, without=AccessConfig)),
    "Client-side encryption": (0, own(ClientSideConfig)),
    "Access": (0, own(AccessConfig)),
    "Roles on the way": (1, own(RoleConfig)),
    "Sinks": (0, own(SinkConfig, without=AccessConfig)),
    "Enrichment": (0, own(EnrichmentConfig)),
}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_option_is_documented_with_its_default_and_none_is_invented(section: str) -> None:
    number, options = SECTIONS[section]
    told = tables("Access" if section == "Roles on the way" else section)[number]

    assert sorted(told) == sorted(options)
    for name, default in options.items():
        if default is ...:
            assert told[name] == "required", name
        elif default is None or isinstance(default, BaseModel):
            assert not told[name].startswith("`"), name
        else:
            value = default if isinstance(default, str) else json.dumps(default)
            assert told[name].strip('`"').removesuffix(".0") == value.removesuffix(".0"), name
