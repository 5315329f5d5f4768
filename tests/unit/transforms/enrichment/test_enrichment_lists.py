"""Lists of accounts and of sensitive resources, and the book that holds all files."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import ConfigError
from transforms.enrichment.accounts import Account, Caller, caller, read_accounts
from transforms.enrichment.book import NO_FILES, EnrichmentBook
from transforms.enrichment.sensitivity import Patterns

PAYMENTS = {"111122223333": Account("payments", "pay@example.com")}


@pytest.mark.parametrize(
    ("form", "content"),
    [
        (".json", '{"Accounts": [{"Id": "111122223333", "Name": "payments", "Email": "pay@example.com"}]}'),
        (".json", '[{"account_id": "1111-2222-3333", "name": "payments", "owner": "pay@example.com"}]'),
        (".csv", "Account,Name,Owner\n111122223333,payments,pay@example.com\n"),
        (".yaml", "- {name: payments, owner: pay@example.com, accounts: ['111122223333']}"),
    ],
)
def test_accounts_are_read_from_each_form(form: str, content: str) -> None:
    assert read_accounts(content.encode(), form) == PAYMENTS


def test_an_id_that_a_spreadsheet_made_a_number_has_its_zeros_again() -> None:
    assert list(read_accounts(b"id,name\n11122223333,a\n", ".csv")) == ["011122223333"]


@pytest.mark.parametrize(
    ("form", "content", "why"),
    [
        (".csv", "id,name\nabc,x\n", "'abc' is no account id"),
        (".csv", "id,name\n", "no account"),
        (".csv", "name\nx\n", "None is no account id"),
        (".json", '{"a": 1}', "no list of accounts"),
        (".json", "{", "JSON|truncated|end"),
        (".yaml", "a: [", "no YAML"),
    ],
)
def test_another_form_is_refused_with_the_reason(form: str, content: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_accounts(content.encode(), form)


def test_a_caller_is_external_only_where_the_own_accounts_are_known() -> None:
    vendors = {"777788889999": Account("Watcher")}
    assert caller("111122223333", PAYMENTS, vendors) == Caller("OWN", "payments", "pay@example.com")
    assert caller("777788889999", PAYMENTS, vendors) == Caller("VENDOR", "Watcher", None)
    assert caller("000000000000", PAYMENTS, vendors) == Caller("EXTERNAL")
    assert caller("000000000000", None, vendors) == Caller()


def sensitivity(text: str, *rows: tuple[list[str] | None, str | None]) -> list[str | None]:
    lists = pa.chunked_array([pa.array([it[0] for it in rows], pa.list_(pa.string()))])
    firsts = pa.chunked_array([pa.array([it[1] for it in rows], pa.string())])
    found: list[str | None] = Patterns(text.encode()).sensitivity(lists, firsts).to_pylist()
    return found


def test_the_pattern_that_stands_first_decides_over_all_resources_of_a_row() -> None:
    text = "# jewels\narn:aws:s3:::pay/secret*\narn:aws:s3:::pay/*,HIGH\narn:aws:iam::*:role/admin-?\n"
    assert sensitivity(
        text,
        (["arn:aws:s3:::pay/a", "arn:aws:s3:::pay/secret1"], None),
        (["arn:aws:s3:::pay/a"], "arn:aws:s3:::pay/a"),
        (["arn:aws:s3:::other/a"], None),
        (None, "arn:aws:iam::111122223333:role/admin-1"),
        ([], "arn:aws:iam::111122223333:role/admin-12"),
        (None, None),
    ) == ["CROWN_JEWEL", "HIGH", None, "CROWN_JEWEL", None, None]


def test_a_pattern_takes_brackets_and_case_as_they_are() -> None:
    assert sensitivity("a[b]*\n", (None, "a[b]c"), (None, "ab"), (None, "A[b]c")) == ["CROWN_JEWEL", None, None]


_TEXT = st.text(st.sampled_from("ab*?:/.[]()|\\^$\n"), max_size=6)


@given(
    st.lists(_TEXT.map(lambda it: f"a{it}".replace("\n", "")), min_size=1, max_size=4), st.lists(_TEXT, max_size=6)
)
def test_patterns_fit_what_a_plain_reading_of_them_fits(patterns: list[str], resources: list[str]) -> None:
    content = "\n".join(f'"{it}",{place}' for place, it in enumerate(patterns))

    def plain(resource: str) -> str | None:
        fitting = (str(place) for place, it in enumerate(patterns) if fnmatchcase(resource, it.replace("[", "[[]")))
        return next(fitting, None)

    asked = [f"a{it}" for it in resources]
    assert sensitivity(content, *[(None, it) for it in asked]) == [plain(it) for it in asked]
    assert sensitivity(content, *[([it], None) for it in asked]) == [plain(it) for it in asked]


def test_a_list_without_patterns_is_refused() -> None:
    with pytest.raises(ValueError, match="no pattern"):
        Patterns(b"# nothing\n")


def test_a_version_tells_each_file_and_changes_with_its_content_alone(tmp_path: Path) -> None:
    path, copy = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_text("id,name\n111122223333,a\n")
    copy.write_text(path.read_text())
    first = EnrichmentBook.of({"accounts": [path]}).data().version
    assert "accounts=" in first
    assert first != NO_FILES.data().version
    assert EnrichmentBook.of({"accounts": [copy]}).data().version == first
    path.write_text("id,name\n111122223333,b\n")
    assert EnrichmentBook.of({"accounts": [path]}).data().version != first


def test_of_an_account_in_several_files_the_first_tells(tmp_path: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        path.write_text(json.dumps([{"id": "111122223333", "name": path.stem}]))
    vendors = EnrichmentBook.of({"vendors": paths}).data().vendors
    assert vendors == {"111122223333": Account("a")}


def test_a_file_that_changes_during_a_run_is_refused_by_the_process_that_opens_it_then(tmp_path: Path) -> None:
    path = tmp_path / "tor.txt"
    path.write_text("8.8.8.8\n")
    book = EnrichmentBook.of({"tor": [path]})
    path.write_text("9.9.9.9\n")
    assert book.data().networks["tor"].find("8.8.8.8") is not None, "opened at the start"
    late = EnrichmentBook((*book.files, *EnrichmentBook.of({"vpn": [path]}).files))
    with pytest.raises(ConfigError, match=r"tor.txt has changed since the run began"):
        late.data()


@pytest.mark.parametrize("subject", ["country", "tor", "accounts", "sensitive"])
def test_a_file_that_is_absent_or_empty_is_refused_by_name(tmp_path: Path, subject: str) -> None:
    with pytest.raises(ConfigError, match=rf"absent cannot be used as {subject} of \[enrichment\]: No such file"):
        EnrichmentBook.of({subject: [tmp_path / "absent"]})
    (tmp_path / "empty.csv").touch()
    with pytest.raises(ConfigError, match=r"empty.csv"):
        EnrichmentBook.of({subject: [tmp_path / "empty.csv"]})
