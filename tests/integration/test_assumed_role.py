"""A role is assumed with its external id, and its credentials serve every call; by moto, which enforces IAM."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT_ID
from moto.core import set_initial_no_auth_action_count
from moto.moto_api._internal import moto_api_backend
from moto.server import ThreadedMotoServer
from moto.sts.models import sts_backends
from support.world import forget_clients

from schemas.errors import AccessError
from schemas.values import ObjectRef
from transforms.stores.aws import Access, Role, client, principal
from transforms.stores.faults import CallFault
from transforms.stores.objects import read_object

ROLE = "trailweave"
EXTERNAL_ID = "from-our-records"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"AWS": "*"},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"sts:ExternalId": EXTERNAL_ID}},
        }
    ],
}
READ = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::trail/*"}],
}


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """moto on loopback, with a bucket, and the environment of somebody who may start from a key."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "emulated",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield f"http://{host}:{port}"
    moto_api_backend.reset()
    server.stop()
    forget_clients()


def make_role(policy: dict[str, object]) -> str:
    iam, s3 = client("iam", Access()), client("s3", Access())
    s3.create_bucket(Bucket="trail")
    s3.put_object(Bucket="trail", Key="key", Body=b"text")
    role = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(TRUST))["Role"]
    iam.put_role_policy(RoleName=ROLE, PolicyName="read", PolicyDocument=json.dumps(policy))
    return str(role["Arn"])


def test_a_role_reads_what_its_policy_allows(endpoint: str) -> None:
    access = Access(role_arn=make_role(READ), external_id=EXTERNAL_ID, session_name="collector")
    assert principal(access).endswith(f"assumed-role/{ROLE}/collector")
    assert read_object(ObjectRef("trail", "key"), access).body == b"text"


def test_a_denial_names_the_call_the_resource_and_the_role(endpoint: str) -> None:
    nothing = {"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "*"}]}
    access = Access(role_arn=make_role(nothing), external_id=EXTERNAL_ID, session_name="collector")
    principal(access)  # assumes the role before authorisation is enforced
    read_authorised = set_initial_no_auth_action_count(0)(read_object)
    with pytest.raises(CallFault) as told:
        read_authorised(ObjectRef("trail", "key"), access)
    assert told.value.kind in ("denied", "denied_or_missing")
    for part in ("s3:GetObject", "arn:aws:s3:::trail/key", f"assumed-role/{ROLE}/collector"):
        assert part in str(told.value)


def test_a_role_without_credentials_to_start_from_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_clients()
    with pytest.raises(AccessError, match="needs credentials to start from"):
        client("s3", Access(role_arn="arn:aws:iam::111122223333:role/trailweave", region="us-east-1")).list_buckets()
    forget_clients()


def assumed() -> list[tuple[str, str | None]]:
    """Every role that was assumed since the start, in order, with the external id that was given."""
    backend = sts_backends[ACCOUNT_ID]["aws"]
    return [(it.arn, it.external_id) for it in backend.assumed_roles]


def test_roles_are_assumed_one_after_another_each_with_its_external_id(endpoint: str) -> None:
    last = make_role(READ)
    first = last.replace(ROLE, "first")
    second = last.replace(ROLE, "second")
    via = (Role(first, "id-1"), Role(second, None))
    access = Access(role_arn=last, external_id=EXTERNAL_ID, session_name="collector", via=via)
    assert principal(access).endswith(f"assumed-role/{ROLE}/collector")
    assert [it[1] for it in assumed()[-3:]] == ["id-1", None, EXTERNAL_ID]
    assert [it[0].split("/")[-2] for it in assumed()[-3:]] == ["first", "second", ROLE]
    assert "id-1" not in repr(access)
