from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import NoCredentialsError
from support.proxy import Call, Forward, Reply
from support.together import at_once
from support.world import World

from schemas.errors import ConfigError
from transforms.stores import aws as module
from transforms.stores.aws import Access, client, partition, principal, sse_c_arguments


def test_a_customers_key_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)

    assert sse_c_arguments(Access()) == {}
    assert sse_c_arguments(Access(sse_c_key_file=str(path))) == {
        "SSECustomerAlgorithm": "AES256",
        "SSECustomerKey": b"k" * 32,
    }


def test_a_customers_key_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"short")

    with pytest.raises(ConfigError, match="holds 5 bytes; an AES-256 key has exactly 32"):
        sse_c_arguments(Access(sse_c_key_file=str(path)))
    with pytest.raises(ConfigError, match="cannot be read"):
        sse_c_arguments(Access(sse_c_key_file=str(path) + "-not"))


def test_an_access_never_shows_its_external_id() -> None:
    assert "hidden" not in repr(Access(role_arn="arn:aws:iam::111122223333:role/x", external_id="hidden"))


def test_a_role_is_assumed_with_external_id_and_session_name(faulty: World) -> None:
    role = Access(
        role_arn="arn:aws:iam::111122223333:role/reader",
        external_id="an-id",
        session_name="night",
        endpoint_url=faulty.endpoint_url,
    )
    faulty.put("x", b"1")

    assert client("s3", role).get_object(Bucket=faulty.bucket, Key="x")["Body"].read() == b"1"

    (call,) = faulty.proxy.calls("AssumeRole")
    body = call.body.decode()
    assert "RoleSessionName=night" in body
    assert "ExternalId=an-id" in body
    # One client a process and access, and its credentials are kept until they end.
    assert client("s3", role) is client("s3", role)
    client("s3", role).list_objects_v2(Bucket=faulty.bucket)
    assert len(faulty.proxy.calls("AssumeRole")) == 1


def test_threads_that_need_a_client_at_once_get_the_same_one() -> None:
    access = Access(region="eu-west-3", endpoint_url="http://127.0.0.1:9")
    assert len(set(map(id, at_once(lambda: client("s3", access))))) == 1


def test_the_principal_is_the_role_where_sts_gives_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Access) -> str:
        raise NoCredentialsError

    monkeypatch.setattr(module, "_principal", refuse)

    assert principal(Access(role_arn="arn:aws:iam::111122223333:role/x")) == "arn:aws:iam::111122223333:role/x"
    assert "unknown principal" in principal(Access())


def test_a_profile_that_is_not_there_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no-such-profile"):
        client("s3", Access(profile="no-such-profile"))


def test_credentials_that_live_seconds_are_refreshed_by_themselves(faulty: World) -> None:
    def short_lived(call: Call, forward: Forward) -> Reply:
        reply = forward(call)
        ends = (datetime.now(UTC) + timedelta(seconds=2)).strftime("%Y-%m-%dT%H:%M:%SZ").encode()
        return replace(reply, body=re.sub(rb"<Expiration>[^<]+<", b"<Expiration>" + ends + b"<", reply.body))

    assert faulty.proxy
    faulty.proxy.when("AssumeRole").do(short_lived)
    role = Access(role_arn="arn:aws:iam::111122223333:role/days", endpoint_url=faulty.endpoint_url)
    faulty.put("x", b"1")
    keys = set()
    for _ in range(3):
        assert client("s3", role).get_object(Bucket=faulty.bucket, Key="x")["Body"].read() == b"1"
        keys.add(module._session(role).get_credentials().get_frozen_credentials().access_key)
    assert len(faulty.proxy.calls("AssumeRole")) >= 3
    assert len(keys) >= 2


def test_partitions_and_endpoints_are_those_of_the_region() -> None:
    assert partition(Access(region="eu-west-1")) == "aws"
    assert partition(Access(region="us-gov-west-1")) == "aws-us-gov"
    assert partition(Access(region="cn-north-1")) == "aws-cn"


def test_fips_endpoints_are_used_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert "fips" in client("s3", Access(region="us-gov-west-1", fips=True)).meta.endpoint_url
    assert "fips" not in client("s3", Access(region="us-gov-west-1")).meta.endpoint_url


def test_accesses_share_what_botocore_knows_of_the_services() -> None:
    """13 MB each for hundreds of sources would be gigabytes."""
    loaders = {
        id(module._session(Access(endpoint_url=f"http://127.0.0.1:{port}"))._session.get_component("data_loader"))
        for port in (1, 2, 3)
    }

    assert len(loaders) == 1


def test_a_profile_may_stand_in_the_credentials_file_alone(tmp_path: Path) -> None:
    file = tmp_path / "credentials"
    file.write_text("[only-there]\naws_access_key_id = AKIDONLYTHERE\naws_secret_access_key = s\n")
    found = module._session(Access(profile="only-there", credentials_file=str(file))).get_credentials()
    assert found is not None
    assert found.access_key == "AKIDONLYTHERE"
