"""Lists in each format: what is taken, what is refused and why, and what several lists say together."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.locked import lock

from schemas.errors import AccessError, ConfigError
from transforms.indicators.lists import Lists, list_files, read_lists

END = datetime(2030, 1, 2, tzinfo=UTC)


def read(tmp_path: Path, name: str, content: str | bytes) -> Lists:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_lists([path])


def rows(lists: Lists) -> dict[tuple[str, str], tuple[Any, ...]]:
    return {
        (it["kind"], it["value"]): (
            it["confidence"],
            it["valid_until"],
            sorted({(lists.origins[place].name, lists.origins[place].tags) for place in it["origins"]}),
        )
        for it in lists.table.to_pylist()
    }


def values(lists: Lists) -> set[tuple[str, str]]:
    return set(rows(lists))


def test_a_csv_with_a_header_gives_kind_confidence_end_and_tags(tmp_path: Path) -> None:
    lists = read(
        tmp_path,
        "feed.csv",
        "# a feed\nType,Value,Confidence,valid_until,tags\n"
        'ip,203.0.113.9,90,2030-01-02,"tor;exit"\n'
        "cidr,198.51.100.77/24,,,\n"
        "domain,Bad[.]Example.ORG.,5,2030-01-02T00:00:00Z,\n"
        "user-agent,evil/1.0 *,,,\n"
        "aws-access-key-id,AKIAIOSFODNN7EXAMPLE,,,\n"
        "account,1111-2222-3333,,,\n",
    )
    plain = [("feed", ())]
    assert rows(lists) == {
        ("address", "203.0.113.9"): (90, END, [("feed", ("tor", "exit"))]),
        ("network", "198.51.100.0/24"): (None, None, plain),
        ("domain", "bad.example.org"): (5, END, plain),
        ("user_agent", "evil/1.0 *"): (None, None, plain),
        ("access_key", "AKIAIOSFODNN7EXAMPLE"): (None, None, plain),
        ("account", "111122223333"): (None, None, plain),
    }
    (tally,) = lists.tallies
    assert sum(tally.taken.values()) == 6
    assert tally.refused == {}


def test_a_plain_list_tells_kinds_by_their_looks(tmp_path: Path) -> None:
    lists = read(
        tmp_path,
        "plain.txt",
        "203.0.113.9  \n2001:DB8::1\n198.51.100.0/24\n111122223333\n"
        'AKIAIOSFODNN7EXAMPLE # of old\n\n# note\n"no such\nbad.example\n',
    )
    assert values(lists) == {
        ("address", "203.0.113.9"),
        ("address", "2001:db8::1"),
        ("network", "198.51.100.0/24"),
        ("account", "111122223333"),
        ("access_key", "AKIAIOSFODNN7EXAMPLE"),
        ("domain", "bad.example"),
    }
    (tally,) = lists.tallies
    assert tally.refused == {"no kind of value that is looked for": 1}
    assert list(tally.firsts.values()) == ["no such"]


def test_what_cannot_be_looked_for_is_counted_with_its_reason(tmp_path: Path) -> None:
    lists = read(
        tmp_path,
        "feed.csv",
        "type,value,confidence,valid_until,to_ids\n"
        "ip,203.0.113.9,,,1\n"
        "ip,203.0.113.10,,,0\n"
        "ip,999.0.0.1,,,1\n"
        "sha256,00ff,,,1\n"
        "sha512,00ff,,,1\n"
        "ip,203.0.113.11,101,,1\n"
        "ip,203.0.113.12,,soon,1\n"
        "ip,203.0.113.13,,9999-12-31T23:59:59-01:00,1\n"
        "ip,203.0.113.13\n",
    )
    assert values(lists) == {("address", "203.0.113.9")}
    (tally,) = lists.tallies
    assert tally.refused == {
        "not for detection (to_ids)": 1,
        "no address": 1,
        "no hash": 1,
        "type 'sha512' is not looked for": 1,
        "confidence '101' is not a number from 0 to 100": 1,
        "Invalid isoformat string: 'soon'": 1,
        "'9999-12-31T23:59:59-01:00' is beyond the year 9999": 1,
        "not 5 columns as in the header": 1,
    }
    assert tally.firsts["no address"] == "999.0.0.1"


def stix(*patterns: str, **rest: Any) -> str:
    indicators = [{"type": "indicator", "pattern_type": "stix", "pattern": it, **rest} for it in patterns]
    return json.dumps(
        {"type": "bundle", "id": "bundle--1", "objects": [{"type": "identity", "name": "x"}, *indicators]}
    )


def test_a_stix_bundle_gives_its_indicators(tmp_path: Path) -> None:
    lists = read(
        tmp_path,
        "bundle.json",
        stix(
            "[ipv4-addr:value = '203.0.113.9' OR ipv4-addr:value = '203.0.113.10']",
            "[ipv4-addr:value ISSUBSET '198.51.100.0/24']",
            "[ipv6-addr:value = '2001:db8::1']",
            "[domain-name:value = 'bad.example']",
            r"[network-traffic:extensions.'http-request-ext'.request_header.'User-Agent' = 'it\'s evil']",
            "[x-aws-iam:access_key_id = 'AKIAIOSFODNN7EXAMPLE']",
            "[x-aws:account_id = '111122223333']",
            valid_until="2030-01-02T00:00:00.000Z",
            confidence=80,
            labels=["apt"],
            indicator_types=["malicious-activity"],
        ),
    )
    told = (80, END, [("bundle", ("malicious-activity", "apt"))])
    assert rows(lists) == {
        ("address", "203.0.113.9"): told,
        ("address", "203.0.113.10"): told,
        ("network", "198.51.100.0/24"): told,
        ("address", "2001:db8::1"): told,
        ("domain", "bad.example"): told,
        ("user_agent", "it's evil"): told,
        ("access_key", "AKIAIOSFODNN7EXAMPLE"): told,
        ("account", "111122223333"): told,
    }


@pytest.mark.parametrize(
    "pattern",
    [
        "[ipv4-addr:value='203.0.113.9' OR domain-name:value='bad.example']",
        "[ipv4-addr:value = '203.0.113.9'] OR [domain-name:value = 'bad.example']",
        "[ipv4-addr:value = '203.0.113.9'\n  OR\n  domain-name:value = 'bad.example' ]",
    ],
)
def test_spaces_and_brackets_of_a_stix_pattern_do_not_matter(tmp_path: Path, pattern: str) -> None:
    assert values(read(tmp_path, "bundle.json", stix(pattern))) == {
        ("address", "203.0.113.9"),
        ("domain", "bad.example"),
    }


@pytest.mark.parametrize(
    ("pattern", "rest", "reason"),
    [
        ("[file:hashes.SSDEEP = 'ff']", {}, "file:hashes.SSDEEP is not looked for"),
        ("[a:b = 'x' AND c:d = 'y']", {}, "a pattern of more than values joined by OR"),
        ("[a:b = 'x'] FOLLOWEDBY [c:d = 'y']", {}, "a pattern of more than values joined by OR"),
        ("[domain-name:value != 'bad.example']", {}, "a pattern of more than values joined by OR"),
        ("[domain-name:value = 'bad.example' ORa:b = 'x']", {}, "a pattern of more than values joined by OR"),
        ("rule x {}", {"pattern_type": "yara"}, "pattern type 'yara' is not looked for"),
        ("[domain-name:value = 'bad.example']", {"revoked": True}, "revoked"),
        ("[domain-name:value = 'bad.example']", {"confidence": 101}, "confidence 101 is not from 0 to 100"),
    ],
)
def test_other_stix_patterns_are_refused_with_a_reason(
    tmp_path: Path, pattern: str, rest: dict[str, Any], reason: str
) -> None:
    bundle = json.loads(stix("[ipv4-addr:value = '203.0.113.9']"))
    bundle["objects"] += json.loads(stix(pattern, **rest))["objects"]
    lists = read(tmp_path, "bundle.json", json.dumps(bundle))
    assert values(lists) == {("address", "203.0.113.9")}
    assert lists.tallies[0].refused == {reason: 1}


EVENT = {
    "Event": {
        "info": "a campaign",
        "Tag": [{"name": "tlp:clear"}],
        "Attribute": [
            {"type": "ip-dst", "value": "203.0.113.9", "to_ids": True},
            {"type": "ip-dst", "value": "203.0.113.10", "to_ids": False},
            {"type": "ip-dst|port", "value": "203.0.113.11|443", "to_ids": "1"},
            {"type": "ssdeep", "value": "ff", "to_ids": True},
            {"type": "filename|md5", "value": f"a|b|{'AB' * 16}", "to_ids": True},
            {"type": "domain", "value": "gone.example", "to_ids": True, "deleted": True},
        ],
        "Object": [
            {
                "name": "domain-ip",
                "Attribute": [
                    {
                        "type": "domain|ip",
                        "value": "bad.example|203.0.113.12",
                        "to_ids": True,
                        "Tag": [{"name": 'misp:confidence-level="usually-confident"'}],
                    }
                ],
            }
        ],
    }
}


@pytest.mark.parametrize("content", [EVENT, [EVENT], {"response": [EVENT]}], ids=["event", "events", "search"])
def test_misp_events_give_their_attributes_for_detection(tmp_path: Path, content: Any) -> None:
    lists = read(tmp_path, "misp.json", json.dumps(content))
    plain = (None, None, [("misp", ("tlp:clear",))])
    sure = (75, None, [("misp", ('misp:confidence-level="usually-confident"', "tlp:clear"))])
    assert rows(lists) == {
        ("address", "203.0.113.9"): plain,
        ("address", "203.0.113.11"): plain,
        ("hash", "ab" * 16): plain,
        ("domain", "bad.example"): sure,
        ("address", "203.0.113.12"): sure,
    }
    assert lists.tallies[0].refused == {
        "not for detection (to_ids)": 1,
        "type 'ssdeep' is not looked for": 1,
        "deleted": 1,
    }


def test_misp_attributes_of_a_search_are_read(tmp_path: Path) -> None:
    content = {"response": {"Attribute": [{"type": "hostname", "value": "bad.example", "to_ids": True}]}}
    assert values(read(tmp_path, "found.json", json.dumps(content))) == {("domain", "bad.example")}


def test_several_lists_give_the_highest_confidence_and_the_latest_end(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("type,value,confidence,valid_until\nip,203.0.113.9,20,2030-01-02\n")
    (tmp_path / "b.csv").write_text("type,value,confidence,valid_until\nip,203.0.113.9/32,70,2029-01-02\n")
    assert rows(read_lists(list_files([tmp_path]))) == {("address", "203.0.113.9"): (70, END, [("a", ()), ("b", ())])}
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"203.0.113.9\n"))
    assert rows(read_lists(list_files([tmp_path]))) == {
        ("address", "203.0.113.9"): (70, None, [("a", ()), ("b", ()), ("c", ())])
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", "", r"no indicator in .*empty\.csv can be looked for \(it is empty\)"),
        ("words.txt", "no such thing\n", r"words\.txt .*'no such thing'"),
        ("broken.json", "{", r"broken\.json cannot be read"),
        ("other.json", "{}", r"other\.json cannot be read"),
        ("text.csv", b"\xff\xfe\x00", r"text\.csv cannot be read"),
        ("open.csv", 'type,value\nip,"' + "203.0.113.9\n" * 11_000, r"open\.csv cannot be read"),
        ("damaged.csv.gz", gzip.compress(b"203.0.113.9\n")[:10] + bytes(range(99, 0, -1)), "cannot be read"),
    ],
)
def test_a_file_without_indicators_is_an_error_that_names_it(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, name, content)


def test_a_place_without_lists_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        list_files([tmp_path / "none"])
    with pytest.raises(ConfigError, match="holds no"):
        list_files([tmp_path])


def test_a_folder_of_lists_that_cannot_be_listed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one.txt").write_text("198.51.100.1\n")
    locked = lock(tmp_path / "more", monkeypatch)
    with pytest.raises(AccessError, match=f"{locked} cannot be listed: Permission denied; let this user read it"):
        list_files([tmp_path])
