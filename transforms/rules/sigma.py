"""Sigma rules: read from YAML by pySigma, checked, and compiled. What is not supported is an error, never a silence.

Source: Sigma specification 2.1 (rules, correlations, filters). A rule of a log source that no provider has is told as
`elsewhere`; it is no error.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError, SigmaRuleLocation
from sigma.filters import SigmaFilter
from sigma.rule import SigmaRule, SigmaRuleBase
from sigma.rule.base import SigmaYAMLLoader

from schemas.errors import ConfigError
from transforms.providers import PROVIDERS, PROVIDERS_BY_NAME
from transforms.rules.conditions import Node, UnsupportedError, any_of, condition_of, fields_of
from transforms.rules.correlations import Correlation, by_reference, correlation_of, rule_id, without_range
from transforms.rules.fields import COLUMNS
from transforms.stores.local import files_below

NORMALIZED = ("trailweave", "cloud_audit_logs")
"""Product and service of rules over columns of `cloud_audit_logs`, whatever the provider."""

_SUFFIXES = {".yml", ".yaml"}
_MOST_TOLD = 20
_MADE_UP = re.compile(r"_filt_[a-z]{10}_")


@dataclass(frozen=True, slots=True)
class RuleText:
    """One YAML file of rules: where it lies, for messages, and what it holds."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule. `provider` None: any; `group_fields` are what correlations ask of its hits."""

    id: str
    version: str
    title: str
    level: str
    tags: tuple[str, ...]
    alerts: bool
    provider: str | None
    condition: Node
    fields: tuple[str, ...]
    group_fields: tuple[str, ...]
    path: str
    description: str | None = None
    falsepositives: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a rule: the file, the line (from 1), and why."""

    path: str
    line: int
    why: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.why}"


@dataclass(frozen=True, slots=True)
class RuleSet:
    """What some rule files hold. `elsewhere` are titles of rules for log sources that are not read here.

    `notes` are no problems, but likely slips: fields that no record has.
    """

    rules: tuple[Rule, ...]
    correlations: tuple[Correlation, ...]
    elsewhere: tuple[str, ...]
    problems: tuple[Problem, ...]
    notes: tuple[Problem, ...] = ()

    def checked(self) -> RuleSet:
        """The same; raises ConfigError that names file, line and reason if anything is wrong."""
        if self.problems:
            told = "\n".join(f"  {problem}" for problem in self.problems[:_MOST_TOLD])
            more = len(self.problems) - _MOST_TOLD
            rest = f"\n  and {more} more; `trailweave rule check` lists all" if more > 0 else ""
            raise ConfigError(f"rules that cannot be used; mend or remove them:\n{told}{rest}")
        return self


def read_rules(places: Sequence[Path | str]) -> tuple[RuleText, ...]:
    """The YAML files at some places: files, or folders with everything below them.

    Raises ConfigError, AccessError.
    """
    found: list[RuleText] = []
    for place in map(Path, places):
        if not place.exists():
            raise ConfigError(f"no rules at {place}: no such file or folder; correct --rules")
        paths = [it for it in files_below(place) if _is_rule_file(it, place)] if place.is_dir() else [place]
        if not paths:
            raise ConfigError(f"no rules at {place}: the folder holds no *.yml file; correct --rules")
        for path in paths:
            try:
                found.append(RuleText(str(path), path.read_text(encoding="utf-8")))
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"rules in {path} cannot be read: {error}") from error
    return tuple(found)


def _is_rule_file(path: Path, below: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(below).parts)
    return path.suffix in _SUFFIXES and not hidden


def compile_rules(texts: Sequence[RuleText]) -> RuleSet:
    """All rules of some files; correlations and filters find the rules they name in any of these."""
    problems: list[Problem] = []
    documents = [it for text in texts for it in _documents(text, problems)]
    parsed = [(it, rule) for it in documents if (rule := _parse(it, problems)) is not None]
    notes = [*_filter([rule for _, rule in parsed if isinstance(rule, SigmaRule)], parsed)]
    places = {id(rule): document for document, rule in parsed}
    bases = [rule for _, rule in parsed if not isinstance(rule, SigmaFilter)]
    elsewhere: list[str] = []
    related = _related(bases, places, elsewhere, problems)
    rules: dict[str, Rule] = {}
    for base in bases:
        if isinstance(base, SigmaRule):
            if not _is_read(base):
                elsewhere.append(base.title)
                continue
            compiled = _compiled(base, places[id(base)], related, problems)
            if compiled is None:
                continue
            notes += _unknown_fields(compiled, places[id(base)])
            if (twin := rules.setdefault(compiled.id, compiled)).version != compiled.version:
                document = places[id(base)]
                problems.append(document.problem(f"rule {compiled.id!r} is another one in {twin.path}", compiled.id))
    return RuleSet(tuple(rules.values()), tuple(related), tuple(elsewhere), tuple(problems), tuple(notes))


def _filter(rules: Sequence[SigmaRule], parsed: Sequence[tuple[_Document, SigmaRuleBase]]) -> Iterator[Problem]:
    """Change the rules that filters name; a filter that names none is told."""
    for document, filter_ in parsed:
        if isinstance(filter_, SigmaFilter):
            before = [len(rule.detection.detections) for rule in rules]
            for rule in rules:
                filter_.apply_on_rule(rule)
            if before == [len(rule.detection.detections) for rule in rules]:
                yield document.problem(f"filter {filter_.title!r}: it changes none of the rules", "rules:", "filter:")


def _unknown_fields(rule: Rule, document: _Document) -> Iterator[Problem]:
    provider = PROVIDERS_BY_NAME.get(rule.provider or "")
    known = provider.fields.members if provider else frozenset()
    for field in dict.fromkeys([*rule.fields, *rule.group_fields]) if known else ():
        head = field.partition(".")[0]
        if head not in known and field not in COLUMNS:
            near = get_close_matches(head, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield document.problem(f"rule {rule.title!r}: no record is known to have {head!r}{hint}", f" {field}")


@dataclass(frozen=True)
class _Document:
    """One YAML document of a file; `first` is its first line, from 0."""

    source: RuleText
    first: int
    content: Mapping[str, Any]

    def problem(self, why: str, *needles: str | None) -> Problem:
        """At the first line that holds one of the needles, else at the detection, else at the title."""
        lines = self.source.text.splitlines()[self.first :]
        for needle in (*needles, "detection:", "title:"):
            for number, line in enumerate(lines):
                if needle and needle in line:
                    return Problem(self.source.path, self.first + number + 1, why)
        return Problem(self.source.path, self.first + 1, why)


def _documents(source: RuleText, problems: list[Problem]) -> Iterator[_Document]:
    try:
        contents = list(yaml.load_all(source.text, SigmaYAMLLoader))  # a safe loader
        nodes = list(yaml.compose_all(source.text, yaml.CSafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        why = getattr(error, "problem", None) or str(error)
        problems.append(Problem(source.path, mark.line + 1 if mark else 1, f"no valid YAML: {why}"))
        return
    for content, node in zip(contents, nodes, strict=True):
        if content is None:
            continue
        document = _Document(source, node.start_mark.line, content if isinstance(content, dict) else {})
        if not isinstance(content, dict):
            problems.append(document.problem("no Sigma rule: the document is no map"))
        else:
            yield document


def _parse(document: _Document, problems: list[Problem]) -> SigmaRule | SigmaCorrelationRule | SigmaFilter | None:
    content = _spelt(without_range(document.content))
    source = SigmaRuleLocation(Path(document.source.path))
    kind = SigmaCorrelationRule if "correlation" in content else SigmaFilter if "filter" in content else SigmaRule
    try:
        rule: Any = kind.from_dict(content, collect_errors=True, source=source)
    except (SigmaError, ValueError, TypeError, AttributeError, KeyError) as error:
        problems.append(_unread(document, error))
        return None
    # A correlation's own errors are told by `correlations`, with its field.
    if rule.errors and kind is not SigmaCorrelationRule:
        problems.extend(_unread(document, error) for error in rule.errors)
        return None
    return rule  # type: ignore[no-any-return]


def _unread(document: _Document, error: Exception) -> Problem:
    title = document.content.get("title")
    told = f"rule {title!r}: {_told(error)}" if title else _told(error)
    member = ["condition:"] if "condition" in told.lower() else []
    return document.problem(told, *_named(error), *member)


def _spelt(content: Mapping[str, Any]) -> dict[str, Any]:
    """Modifiers of the specification under the name that pySigma knows them by."""

    def spelt(value: Any) -> Any:
        if isinstance(value, dict):
            return {re.sub(r"\|utf16le(?=\||$)", "|wide", str(key)): spelt(inner) for key, inner in value.items()}
        return [spelt(inner) for inner in value] if isinstance(value, list) else value

    return {key: spelt(value) if key in ("detection", "filter") else value for key, value in content.items()}


def _told(error: Exception) -> str:
    return re.sub(r"\s+in (file )?/\S+$", "", str(error).splitlines()[0]) or type(error).__name__


def _named(error: Exception) -> list[str]:
    """What an error quotes, the last first: where it may be found in the rule."""
    return re.findall(r"['\"]([^'\"]+)['\"]", str(error))[::-1]


def _is_read(rule: SigmaRule) -> bool:
    """Whether its logs are read here."""
    place = _log_source(rule)
    return place == NORMALIZED or any(it.log_source == place for it in PROVIDERS)


def _log_source(rule: SigmaRule) -> tuple[str | None, str | None]:
    return rule.logsource.product, rule.logsource.service


def _related(
    bases: Sequence[SigmaRuleBase],
    places: Mapping[int, _Document],
    elsewhere: list[str],
    problems: list[Problem],
) -> list[Correlation]:
    named = by_reference(bases)
    unread = {rule_id(it): it.title for it in bases if isinstance(it, SigmaRule) and not _is_read(it)}
    found: list[Correlation] = []
    for rule in bases:
        if not isinstance(rule, SigmaCorrelationRule):
            continue
        document = places[id(rule)]
        try:
            correlation = replace(correlation_of(rule, named), path=document.source.path)
        except ConfigError as error:
            problems.append(document.problem(str(error), *_named(error), "correlation:"))
            continue
        asked = correlation.rules()
        silent = [unread[it] for it in asked if it in unread]
        if not silent:
            found.append(correlation)
        elif len(silent) == len(asked):
            elsewhere.append(correlation.title)
        else:
            why = f"rule {rule.title!r}: it stands on {silent[0]!r}, which is for logs that are not read here"
            problems.append(document.problem(why, "rules:", "correlation:"))
    return [replace(it, alerts=_alerts(it.rule_id, found)) for it in found]


def _alerts(own: str, related: Sequence[Correlation]) -> bool:
    """Whether a rule's hits alert: no correlation asks for them, or one that says so."""
    askers = [it for it in related if any(base.rule_id == own for base in it.bases)]
    return not askers or any(it.generate for it in askers)


def _without_chance(text: str) -> bytes:
    """With the names in order that pySigma makes up, at each reading others, for what a filter adds to a rule."""
    names: dict[str, str] = {}
    return _MADE_UP.sub(lambda found: names.setdefault(found[0], f"filter {len(names)} "), text).encode()


def _compiled(
    rule: SigmaRule, document: _Document, related: Sequence[Correlation], problems: list[Problem]
) -> Rule | None:
    """The rule; None if it is wrong."""
    place = _log_source(rule)
    provider = next((it.name for it in PROVIDERS if it.log_source == place), None)
    try:
        parsed = [condition.parsed for condition in rule.detection.parsed_condition]
        condition = any_of([condition_of(it) for it in parsed])
        detection = rule.detection.to_dict()
    except IndexError:
        why = f"rule {rule.title!r}: a field has an empty list of values; null asks for a field that has none"
        problems.append(document.problem(why, "[]"))
        return None
    except UnsupportedError as error:
        problems.append(document.problem(f"rule {rule.title!r}: {error}", error.field))
        return None
    except (SigmaError, ValueError, TypeError, AttributeError) as error:
        joined = " | ".join(map(str, rule.detection.condition))
        why = _MADE_UP.sub("", f"rule {rule.title!r}, condition {joined!r}: {_told(error)}")
        problems.append(document.problem(why, *_named(error), "condition:"))
        return None
    fields = tuple(dict.fromkeys([*fields_of(condition), *(str(it) for it in rule.fields or ())]))
    own = rule_id(rule)
    group_fields = tuple(sorted({field for it in related for id_, field in it.asked() if id_ == own}))
    unknown = [it for it in (*fields, *group_fields) if it not in COLUMNS] if place == NORMALIZED else []
    if unknown:
        problems.append(
            document.problem(f"rule {rule.title!r}: cloud_audit_logs has no column {unknown[0]!r}", unknown[0])
        )
        return None
    level = str(rule.level).lower() if rule.level is not None else "medium"
    tags = tuple(sorted(str(tag) for tag in rule.tags or ()))
    alerts = _alerts(own, related)
    decisive = [document.content.get("logsource"), detection, fields, group_fields, level, tags]
    digest = hashlib.sha256(_without_chance(json.dumps([*decisive, alerts, rule.title], default=str))).hexdigest()
    return Rule(
        id=own,
        version=digest[:16],
        title=rule.title,
        level=level,
        tags=tags,
        alerts=alerts,
        provider=provider,
        condition=condition,
        fields=fields,
        group_fields=group_fields,
        path=document.source.path,
        description=rule.description,
        falsepositives=tuple(map(str, rule.falsepositives or ())),
    )
