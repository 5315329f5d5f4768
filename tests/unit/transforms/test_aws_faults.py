from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError
from botocore.parsers import ResponseParserError
from support.fault_proxy import KMS_KEY

from transforms.stores import aws as module
from transforms.stores.aws import Access
from transforms.stores.aws_faults import calling
from transforms.stores.faults import CallFault

RESOURCE = "arn:aws:s3:::b/k"
ME = "arn:aws:iam::111122223333:user/me"


@pytest.fixture(autouse=True)
def me(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_principal", lambda _: ME)


def fault(code: str, message: str = "", status: int = 400, action: str = "s3:GetObject") -> CallFault:
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(CallFault) as told, calling(action, RESOURCE, Access()):
        raise ClientError(answer, "Operation")  # type: ignore[arg-type]
    return told.value


KINDS = [
    ("NoSuchKey", "", 404, "missing"),
    ("NoSuchVersion", "", 404, "missing"),
    ("404", "Not Found", 404, "missing"),
    ("MethodNotAllowed", "a delete marker", 405, "missing"),
    ("NoSuchBucket", "", 404, "denied"),
    ("PreconditionFailed", "", 412, "taken"),
    ("ConditionalRequestConflict", "", 409, "transient"),
    ("OperationAborted", "", 409, "transient"),
    ("SlowDown", "", 503, "transient"),
    ("Throttling", "", 400, "transient"),
    ("RequestThrottled", "", 400, "transient"),
    ("ThrottlingException", "", 400, "transient"),
    ("TooManyRequestsException", "", 429, "transient"),
    ("RequestLimitExceeded", "", 503, "transient"),
    ("InternalError", "", 500, "transient"),
    ("ServiceUnavailable", "", 503, "transient"),
    ("RequestTimeout", "", 400, "transient"),
    ("ExpiredToken", "", 400, "transient"),
    ("ExpiredTokenException", "", 400, "transient"),
    ("503", "", 503, "transient"),
    ("whatever", "", 502, "transient"),
    ("KMS.DisabledException", f"{KMS_KEY} is disabled.", 400, "kms"),
    ("KMS.NotFoundException", "", 400, "kms"),
    ("KMSInvalidStateException", "", 400, "kms"),
    ("AccessDenied", f"not authorized to perform: kms:Decrypt on resource: {KMS_KEY}", 403, "kms"),
    ("AccessDenied", "not authorized to perform: s3:ListBucket on resource", 403, "denied_or_missing"),
    ("AccessDenied", "not authorized to perform: s3:GetObject on resource", 403, "denied"),
    ("AccessDenied", "with an explicit deny in a service control policy", 403, "denied"),
    ("AccessDenied", "Access Denied", 403, "denied_or_missing"),
    ("403", "Forbidden", 403, "denied_or_missing"),
    ("InvalidObjectState", "", 403, "denied"),
    ("InvalidAccessKeyId", "", 403, "denied"),
    ("SignatureDoesNotMatch", "", 403, "denied"),
]


@pytest.mark.parametrize(("code", "message", "status", "kind"), KINDS)
def test_each_answer_is_of_the_kind_that_a_stage_decides_by(code: str, message: str, status: int, kind: str) -> None:
    found = fault(code, message, status)

    assert (found.kind, found.code) == (kind, code)
    assert RESOURCE in str(found)


def test_what_is_denied_names_call_resource_principal_and_remedy() -> None:
    told = str(fault("AccessDenied", "", 403, action="sqs:ReceiveMessage"))

    assert told == (
        f"sqs:ReceiveMessage on {RESOURCE} was refused to {ME} (AccessDenied);"
        " allow sqs:ReceiveMessage in the identity policy and in the resource's own policy"
    )


def test_a_fault_of_kms_names_key_object_and_principal() -> None:
    told = str(fault("KMS.DisabledException", f"{KMS_KEY} is disabled."))

    assert told.startswith(f"kms:Decrypt on {KMS_KEY} for {RESOURCE} failed (KMS.DisabledException) as {ME}")


@pytest.mark.parametrize(
    "error",
    [
        EndpointConnectionError(endpoint_url="https://x"),
        ReadTimeoutError(endpoint_url="https://x"),
        NoCredentialsError(),
        ResponseParserError("no XML"),
    ],
)
def test_what_never_reached_aws_or_made_no_sense_is_transient(error: Exception) -> None:
    with (
        pytest.raises(CallFault, match=f"s3:GetObject on {RESOURCE} failed") as told,
        calling("s3:GetObject", RESOURCE, Access()),
    ):
        raise error

    assert told.value.kind == "transient"


def test_without_credentials_it_is_told_where_to_give_them() -> None:
    with pytest.raises(CallFault) as told, calling("s3:ListBucket", "s3://trail", Access()):
        raise NoCredentialsError

    assert str(told.value) == (
        "s3:ListBucket on s3://trail failed: Unable to locate credentials; give a key in the environment, a profile"
        " or credentials_file, or run where a role gives them"
    )


def test_errors_that_are_none_of_awss_pass() -> None:
    with pytest.raises(ZeroDivisionError), calling("s3:GetObject", RESOURCE, Access()):
        raise ZeroDivisionError
