"""What is wrong with a configuration, in words: the option, the value and the remedy."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.config.tables import (
    AccessConfig,
    ClientSideConfig,
    EnrichmentConfig,
    RoleConfig,
    SinkConfig,
    SourceConfig,
)
from schemas.errors import ConfigError

# What a text that must have a form looks like.
_EXAMPLES = {
    "queue_url": "https://sqs.us-east-1.amazonaws.com/111122223333/trail",
    "role_arn": "arn:aws:iam::111122223333:role/collector",
    "topic_arn": "arn:aws:sns:us-east-1:111122223333:alerts",
    "kms_key": "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "url": "https://example.com/hook",
    "name": "organisation (letters, digits, and . _ -)",
}
# Tables by the name under which they stand, and how those are written that stand there more than once.
TABLES: dict[Any, type[BaseModel]] = {
    "enrichment": EnrichmentConfig,
    "sink": SinkConfig,
    "source": SourceConfig,
    "output_access": AccessConfig,
    "client_side": ClientSideConfig,
    "via": RoleConfig,
}
LISTED = {"source": "[[source]]", "sink": "[[sink]]", "via": "[[source.via]]"}
_FORMS = {
    "bool_parsing": "true or false is expected",
    "bool_type": "true or false is expected",
    "string_type": "text is expected, in quotes",
    "path_type": "a path is expected, in quotes",
}


def refusal(error: ValidationError, top: type[BaseModel]) -> ConfigError:
    """Without the error itself as its cause, which shows every input."""
    return ConfigError("; ".join(_told(each, top) for each in error.errors()))


def _told(problem: Any, top: type[BaseModel]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        table = next((TABLES[part] for part in reversed(problem["loc"][:-1]) if part in TABLES), top)
        return f"unknown option {path!r}{hint(str(problem['loc'][-1]), {*table.model_fields})}"
    if problem["type"] == "missing":
        return f"option {path!r} is missing"
    if problem["type"] == "value_error":  # our own words
        return f"option {path!r}: {problem['ctx']['error']}"
    # A table may hold a secret.
    shown = isinstance(problem["input"], str | int | float) and "external_id" not in path
    value = f"the value {problem['input']!r}" if shown else "a value that it cannot have"
    return f"option {path!r} has {value}: {_expected(problem, shown=shown)}"


def _expected(problem: Any, *, shown: bool) -> str:
    """What the option may be, with an example where the form is the fault."""
    named = next(part for part in reversed(problem["loc"]) if isinstance(part, str))
    kind = problem["type"]
    if kind in ("tuple_type", "model_type", "dict_type") and named in TABLES:
        many = "such tables are" if named in LISTED else "a table is"
        return f"{many} expected, written {LISTED.get(named, f'[{named}]')}"
    if kind == "tuple_type":
        example = json.dumps([problem["input"] if shown else "..."])
        return f"a list is expected, such as {named} = {example}"
    if kind == "string_pattern_mismatch" and named in _EXAMPLES:
        return f"it looks like {_EXAMPLES[named]}"
    return _FORMS.get(kind) or str(problem["msg"]).lower()


def hint(name: str, known: Collection[str]) -> str:
    """What may be meant by `name`, in brackets: the nearest of `known`, or all of them."""
    close = difflib.get_close_matches(name, known, 1)
    if close:
        return f" (did you mean {close[0]!r}?)"
    return f" (known: {', '.join(sorted(known))})" if known else " (none is configured)"
