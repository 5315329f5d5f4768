"""Whose an address is, by lists; its country and network, by databases."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from schemas.errors import ConfigError
from transforms.enrichment.addresses import Address, address
from transforms.enrichment.geography import Asn, Database, Place
from transforms.enrichment.networks import Network, Networks, entry, read_networks

AWS = {
    "syncToken": "1",
    "prefixes": [
        {"ip_prefix": "3.0.0.0/8", "region": "GLOBAL", "service": "AMAZON"},
        {"ip_prefix": "3.5.0.0/16", "region": "us-east-1", "service": "AMAZON"},
        {"ip_prefix": "3.5.0.0/16", "region": "us-east-1", "service": "EC2"},
        {"ip_prefix": "3.5.0.0/16", "region": "us-east-1", "service": "S3"},
        {"ip_prefix": "3.6.0.0/16", "region": "eu-west-1", "service": "AMAZON"},
        {"ip_prefix": "3.6.0.0/16", "region": "eu-west-1", "service": "EC2"},
    ],
    "ipv6_prefixes": [{"ipv6_prefix": "2600:1f00::/24", "region": "us-east-1", "service": "EC2"}],
}
GOOGLE = {
    "prefixes": [
        {"ipv4Prefix": "34.1.0.0/16", "service": "Google Cloud", "scope": "us-east1"},
        {"ipv6Prefix": "2600:1900::/32", "service": "Google Cloud", "scope": "europe-west1"},
    ]
}
AZURE = {
    "values": [
        {
            "name": "AzureCloud.westeurope",
            "properties": {"region": "westeurope", "systemService": "", "addressPrefixes": ["20.1.0.0/16"]},
        }
    ]
}


def lists(**contents: Any) -> dict[str, Networks]:
    texts = {kind: it if isinstance(it, str) else json.dumps(it) for kind, it in contents.items()}
    return {kind: Networks(read_networks(text.encode())) for kind, text in texts.items()}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("3.5.1.1", Address("AWS", "AWS", "S3", "us-east-1")),
        ("3.6.1.1", Address("AWS", "AWS", "EC2", "eu-west-1")),
        ("3.9.1.1", Address("AWS", "AWS", "AMAZON", "GLOBAL")),
        ("2600:1f00::5", Address("AWS", "AWS", "EC2", "us-east-1")),
        ("8.8.8.8", Address("PUBLIC")),
    ],
)
def test_of_awss_list_the_longest_prefix_and_the_narrowest_service_decide(text: str, told: Address) -> None:
    assert address(text, lists(aws=AWS)) == told
    backwards = {**AWS, "prefixes": AWS["prefixes"][::-1]}  # type: ignore[index]
    assert address(text, lists(aws=backwards)) == told


def test_other_clouds_lists_are_read() -> None:
    google, azure = lists(cloud=GOOGLE), lists(cloud=AZURE)
    assert address("34.1.2.3", google) == Address("CLOUD", "GCP", "Google Cloud", "us-east1")
    assert address("2600:1900::1", google) == Address("CLOUD", "GCP", "Google Cloud", "europe-west1")
    assert address("20.1.2.3", azure) == Address("CLOUD", "AZURE", None, "westeurope")


def test_a_list_of_lines_may_name_who_has_a_network() -> None:
    text = "# known\n8.8.8.0/24, Example VPN\n9.9.9.9\n2620:fe::/48,Other # note\n\n"
    assert address("8.8.8.8", lists(vpn=text)) == Address("VPN", "Example VPN")
    assert address("9.9.9.9", lists(vpn=text)) == Address("VPN")
    assert address("2620:fe::9", lists(vpn=text)) == Address("VPN", "Other")


def test_an_address_in_several_lists_is_of_the_kind_that_says_most() -> None:
    assert address("3.5.1.1", lists(aws=AWS, tor="3.5.1.1", hosting="3.0.0.0/8")).caller_ip_class == "TOR"
    assert address("3.5.1.1", lists(aws=AWS, hosting="3.0.0.0/8")).caller_ip_class == "AWS"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("10.0.0.1", "PRIVATE"),
        ("172.31.255.255", "PRIVATE"),
        ("172.32.0.0", "PUBLIC"),
        ("100.64.0.1", "PRIVATE"),
        ("fd00::1", "PRIVATE"),
        ("203.0.113.4", "RESERVED"),
        ("2001:db8::1", "RESERVED"),
        ("2606:4700::1111", "PUBLIC"),
    ],
)
def test_without_lists_the_registries_decide(text: str, kind: str) -> None:
    assert address(text, {}) == Address(kind)


ADDRESSES = st.one_of(
    st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address), st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address)
)


@given(ADDRESSES, st.lists(st.tuples(ADDRESSES, st.integers(0, 128)), max_size=8), st.integers(0, 128))
def test_the_network_found_is_the_longest_that_holds_the_address(
    asked: Any, drawn: list[tuple[Any, int]], near: int
) -> None:
    networks = [
        ipaddress.ip_network((it, min(length, it.max_prefixlen)), strict=False)
        for it, length in [*drawn, (asked, near)]
    ]
    table = Networks(entry(str(it), Network(str(it))) for it in networks)
    holding = [it for it in networks if it.version == asked.version and asked in it]
    found = table.find(str(asked))
    if asked.version == 4 or asked.ipv4_mapped is None:
        wide = {str(it) for it in networks if it.version == 6 and it.prefixlen <= 96}
        best = max(holding, key=lambda it: it.prefixlen)
        assert found is not None
        assert found.provider == str(best) or (asked.version == 4 and found.provider in wide)


@pytest.mark.parametrize(
    "content",
    ["", "# nothing\n", "300.1.1.1/8\n", '{"a": 1}', '{"prefixes": [{"region": "x"}]}', '{"prefixes": [1]}', "[1]"],
)
def test_a_list_of_another_form_is_refused(content: str) -> None:
    with pytest.raises(ValueError, match=r"network|prefixes|lacks"):
        read_networks(content.encode())


def database(path: Path, entries: dict[str, Any], kind: str = "Test-Country", version: int = 6) -> Path:
    writer = MMDBWriter(ip_version=version, ipv4_compatible=version == 6, database_type=kind)
    for network, told in entries.items():
        writer.insert_network(IPSet([network]), told)
    writer.to_db_file(str(path))
    return path


def test_a_database_tells_country_and_network(tmp_path: Path) -> None:
    told = Database(
        database(
            tmp_path / "country.mmdb",
            {
                "8.8.8.0/24": {"country": {"iso_code": "US"}, "registered_country": {"iso_code": "CA"}},
                "9.9.9.0/24": {"registered_country": {"iso_code": "CH"}},
                "2620:fe::/48": {"country_code": "FR", "asn": "AS19281", "as_name": "Quad9"},
                "1.1.1.0/24": {"autonomous_system_number": 13335, "autonomous_system_organization": "Cloudflare"},
            },
        )
    )
    asked = ("8.8.8.8", "9.9.9.9", "2620:fe::1", "7.7.7.7")
    assert [told.place(it) for it in asked] == [Place("US"), Place("CH"), Place("FR"), Place()]
    assert told.asn("1.1.1.1") == Asn(13335, "Cloudflare")
    assert told.asn("2620:fe::1") == Asn(19281, "Quad9")
    assert told.asn("7.7.7.7") == Asn()
    assert told.version == f"Test-Country/{told.built.date().isoformat()}"


def test_a_database_of_version_4_knows_no_address_of_version_6(tmp_path: Path) -> None:
    told = Database(database(tmp_path / "four.mmdb", {"8.8.8.0/24": {"country_code": "US"}}, version=4))
    assert told.place("8.8.8.8") == Place("US")
    assert told.place("2620:fe::1") == Place()


def test_a_database_of_cities_tells_where_an_address_is_if_it_has_both_degrees(tmp_path: Path) -> None:
    entries = {
        "8.8.8.0/24": {"country": {"iso_code": "US"}, "location": {"latitude": 37.75, "longitude": -97.5}},
        "9.9.9.0/24": {"country": {"iso_code": "CH"}, "location": {"latitude": 47.0}},
        "7.7.7.0/24": {"country_code": "FR", "location": "Paris"},
    }
    told = Database(database(tmp_path / "city.mmdb", entries, "Test-City"))
    assert told.place("8.8.8.8") == Place("US", 37.75, -97.5)
    assert told.place("9.9.9.9") == Place("CH")
    assert told.place("7.7.7.7") == Place("FR")


def test_another_file_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "text.mmdb").write_text("no database")
    with pytest.raises(ConfigError, match=r"text.mmdb is no database"):
        Database(tmp_path / "text.mmdb")
