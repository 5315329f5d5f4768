"""Reading rules: what cannot be used is an error that names file, line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.locked import lock

from schemas.errors import AccessError, ConfigError
from transforms.rules.book import RuleBook
from transforms.rules.sigma import RuleText, compile_rules, read_rules

HEAD = "title: One\nid: 0e95725d-7320-415d-80f7-004da920fc10\nlogsource: {product: aws, service: cloudtrail}\n"


def problems(text: str) -> list[str]:
    return [str(it) for it in compile_rules([RuleText("a.yml", text)]).problems]


@pytest.mark.parametrize(
    ("detection", "line", "why"),
    [
        ("detection:\n  one:\n    eventName|frob: x\n  condition: one\n", 6, "frob"),
        ("detection:\n  one:\n    eventName: x\n  condition: other\n", 7, "other"),
        ("detection:\n  one:\n    eventName: x\n  condition: one and (one\n", 7, "one and (one"),
        ("detection:\n  one:\n    eventName|expand: '%users%'\n  condition: one\n", 6, "placeholder %users%"),
        ("detection:\n  one:\n    eventName|re: '(?=x)y'\n  condition: one\n", 6, "perl"),
        ("detection:\n  one:\n    eventName|re: '(x'\n  condition: one\n", 6, "(x"),
        ("detection:\n  one:\n    sourceIPAddress|cidr: 999.0.0.0/8\n  condition: one\n", 6, "999"),
        ("detection:\n  one:\n    requestParameters.size|gt: many\n  condition: one\n", 6, "many"),
        ("detection:\n  one:\n    eventName: []\n  condition: one\n", 6, "an empty list of values"),
        ("detection:\n  one:\n    eventName: x\n  condition: [one, 5]\n", 7, "one | 5"),
        ("detection:\n  one:\n    eventName: x\n", 4, "condition"),
        ("other: 1\n", 1, "detection"),
    ],
)
def test_a_rule_that_cannot_be_used_is_told_with_file_line_and_reason(detection: str, line: int, why: str) -> None:
    (problem,) = problems(HEAD + detection)
    place, _, told = problem.partition(": ")
    assert place == f"a.yml:{line}"
    assert why.lower() in told.lower()


def test_a_field_that_no_record_has_is_noted_with_the_one_that_may_be_meant() -> None:
    detection = "detection:\n  one:\n    eventNam: x\n    requestParameters.any.thing: y\n    errorCode: z\n"
    found = compile_rules(
        [RuleText("a.yml", HEAD + detection + "    identity_name: a\n  condition: one\n")]
    ).checked()
    assert [str(it) for it in found.notes] == [
        "a.yml:6: rule 'One': no record is known to have 'eventNam'; did you mean 'eventName'?"
    ]


def test_yaml_that_cannot_be_read_is_told_with_its_line() -> None:
    (problem,) = problems("title: One\nlogsource: [\n")
    assert problem.startswith("a.yml:3: no valid YAML")
    (problem,) = problems("- a\n- b\n")
    assert problem == "a.yml:1: no Sigma rule: the document is no map"


def test_the_line_is_that_of_the_document_in_the_file() -> None:
    good = HEAD + "detection: {one: {eventName: x}, condition: one}\n"
    (problem,) = problems(good + "---\n" + HEAD.replace("One", "Two").replace("0e95", "0e96") + "detection: {}\n")
    assert problem.startswith("a.yml:9: ")


def test_rules_for_other_logs_are_told_and_are_no_error() -> None:
    text = HEAD.replace("cloudtrail", "vpcflow") + "detection: {one: {a: x}, condition: one}\n"
    found = compile_rules([RuleText("a.yml", text)]).checked()
    assert found.rules == ()
    assert found.elsewhere == ("One",)


def test_two_rules_of_one_id_are_refused_and_a_copy_is_none() -> None:
    text = HEAD + "detection: {one: {eventName: x}, condition: one}\n"
    assert len(compile_rules([RuleText("a.yml", text), RuleText("b.yml", text)]).checked().rules) == 1
    other = text.replace("eventName: x", "eventName: y")
    (problem,) = compile_rules([RuleText("a.yml", text), RuleText("b.yml", other)]).problems
    assert str(problem) == "b.yml:2: rule '0e95725d-7320-415d-80f7-004da920fc10' is another one in a.yml"


def test_a_column_that_is_not_there_is_told() -> None:
    text = "title: One\nlogsource: {product: trailweave, service: cloud_audit_logs}\n"
    (problem,) = problems(text + "detection:\n  one: {identity_nam: x}\n  condition: one\n")
    assert problem == "a.yml:4: rule 'One': cloud_audit_logs has no column 'identity_nam'"


def test_a_filter_changes_the_rules_it_names() -> None:
    text = HEAD + "detection: {one: {eventName: x}, condition: one}\n"
    hidden = """---
title: Not the robots
logsource: {product: aws, service: cloudtrail}
filter:
    rules: [0e95725d-7320-415d-80f7-004da920fc10]
    robots: {userIdentity.userName: robot}
    condition: not robots
"""
    plain, filtered = (compile_rules([RuleText("a.yml", it)]).checked().rules for it in (text, text + hidden))
    assert filtered[0].fields == ("eventName", "userIdentity.userName")
    assert plain[0].version != filtered[0].version
    again = hidden.replace("userName", "arn").replace("robot", "other")
    many = [compile_rules([RuleText("a.yml", text + hidden + again)]).checked() for _ in range(3)]
    assert len({it.rules[0].version for it in many} - {filtered[0].version}) == 1
    assert not many[0].notes


def test_a_filter_that_changes_no_rule_is_told() -> None:
    text = HEAD + "detection: {one: {eventName: x}, condition: one}\n"
    filter_ = "---\ntitle: Not\nlogsource: {product: aws, service: cloudtrail}\nfilter:\n  one: {a: b}\n"
    found = compile_rules([RuleText("a.yml", text + filter_ + "  condition: not one\n  rules: [others]\n")]).checked()
    assert [str(it) for it in found.notes] == ["a.yml:11: filter 'Not': it changes none of the rules"]


def test_a_version_changes_with_what_decides_hits_and_with_nothing_else() -> None:
    text = HEAD + "detection: {one: {eventName: x}, condition: one}\n"
    versions = {
        compile_rules([RuleText(path, it)]).rules[0].version
        for path, it in [("a.yml", text), ("b.yml", text), ("a.yml", text + "author: somebody\n")]
    }
    assert len(versions) == 1
    asked = "---\ntitle: Many\ncorrelation: {type: event_count, rules: [One], group-by: [awsRegion], timespan: 1h, "
    more = compile_rules([RuleText("a.yml", text + asked + "condition: {gte: 3}}\n")]).checked().rules[0]
    assert more.group_fields == ("awsRegion",)
    assert not more.alerts
    assert more.version not in versions


def test_a_correlation_of_rules_for_other_logs_is_elsewhere_and_one_of_both_is_a_problem() -> None:
    own = HEAD + "name: own\ndetection: {one: {eventName: x}, condition: one}\n"
    other = "title: Two\nname: other\nlogsource: {product: azure}\ndetection: {one: {a: x}, condition: one}\n"
    asked = "title: Near\ncorrelation:\n  type: temporal\n  rules: [RULES]\n  timespan: 1h\n"
    away = compile_rules([RuleText("a.yml", "---\n".join([own, other, asked.replace("RULES", "other")]))]).checked()
    assert (away.correlations, sorted(away.elsewhere)) == ((), ["Near", "Two"])
    mixed = compile_rules([RuleText("a.yml", "---\n".join([own, other, asked.replace("RULES", "own, other")]))])
    assert mixed.correlations == ()
    assert mixed.rules[0].alerts
    assert [str(it) for it in mixed.problems] == [
        "a.yml:15: rule 'Near': it stands on 'Two', which is for logs that are not read here"
    ]


def test_a_field_of_a_group_that_nothing_has_is_told_as_one_of_a_detection() -> None:
    asked = "---\ntitle: Many\ncorrelation: {type: event_count, rules: [One], group-by: [FIELD], timespan: 1h, "
    text = HEAD + "detection: {one: {eventName: x}, condition: one}\n" + asked + "condition: {gte: 3}}\n"
    noted = compile_rules([RuleText("a.yml", text.replace("FIELD", "awsregion"))]).checked()
    assert "no record is known to have 'awsregion'; did you mean 'awsRegion'?" in str(noted.notes[0])
    columns = text.replace("product: aws, service: cloudtrail", "product: trailweave, service: cloud_audit_logs")
    columns = columns.replace("eventName", "operation_name_orig").replace("FIELD", "caller_ipp")
    wrong = compile_rules([RuleText("a.yml", columns)])
    assert "cloud_audit_logs has no column 'caller_ipp'" in str(wrong.problems[0])


def test_a_correlation_that_cannot_be_used_is_told_with_its_line() -> None:
    text = HEAD + "detection: {one: {eventName: x}, condition: one}\n"
    asked = "---\ntitle: Many\ncorrelation:\n  type: event_count\n  rules: [Other]\n  timespan: 1h\n"
    (problem,) = problems(text + asked + "  condition: {gte: 3}\n")
    assert problem.startswith("a.yml:9: correlation rule 'Many'")
    assert "no rule 'Other'" in problem


def test_folders_are_read_whole_and_hidden_files_are_not(tmp_path: Path) -> None:
    text = HEAD + "detection: {one: {eventName: x}, condition: one}\n"
    for name in ("a.yml", "below/b.yaml", ".git/c.yml", "notes.txt", ".d.yml"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert [Path(it.path).name for it in read_rules([tmp_path])] == ["a.yml", "b.yaml"]
    assert [Path(it.path).name for it in read_rules([tmp_path / "notes.txt"])] == ["notes.txt"]


def test_a_place_without_rules_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no rules at .*absent: no such file"):
        read_rules([tmp_path / "absent"])
    with pytest.raises(ConfigError, match=r"holds no \*\.yml file"):
        read_rules([tmp_path])
    (tmp_path / "bad.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"bad\.yml cannot be read"):
        read_rules([tmp_path])


def test_a_book_with_a_wrong_rule_is_refused_with_every_problem(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(HEAD + "detection:\n  one:\n    eventName|frob: x\n  condition: one\n")
    with pytest.raises(ConfigError, match=r"(?s)mend or remove them.*a\.yml:6: "):
        RuleBook.of([tmp_path])


def test_a_folder_of_rules_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.yml").write_text(HEAD)
    locked = lock(tmp_path / "more", monkeypatch)
    with pytest.raises(AccessError, match=f"{locked} cannot be listed: Permission denied; let this user read it"):
        read_rules([tmp_path])
