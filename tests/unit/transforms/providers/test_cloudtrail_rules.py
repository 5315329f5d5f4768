"""The rules by themselves: verbs, outcomes, times, tolerant reading, sizes."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime

import botocore.session
import golden
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.providers.cloudtrail.lenient import members
from transforms.providers.cloudtrail.operations import OTHER, Operation, operation, words
from transforms.providers.cloudtrail.outcome import by_code
from transforms.providers.cloudtrail.resources import short_name
from transforms.providers.cloudtrail.times import (
    MICROS_UTC,
    canonical,
    canonical_texts,
    parse_expiration,
    parse_time,
    parse_times,
)

VERB_OF_WORD = {
    "Create": "CREATE",
    "Delete": "DELETE",
    "Describe": "READ",
    "Get": "READ",
    "List": "LIST",
    "Update": "UPDATE",
    "Put": "UPDATE",
    "Attach": "ATTACH",
    "Detach": "DETACH",
    "Start": "START",
    "Stop": "STOP",
    "Assume": "ASSUME",
}
EXACT = {"GetSessionToken", "GetFederationToken", "GetRoleCredentials"}


def aws_operations() -> list[str]:
    session = botocore.session.get_session()
    services = (
        "ec2",
        "s3",
        "iam",
        "sts",
        "lambda",
        "dynamodb",
        "kms",
        "rds",
        "elbv2",
        "cognito-idp",
        "organizations",
    )
    return sorted({name for service in services for name in session.get_service_model(service).operation_names})


def test_nearly_every_operation_of_aws_has_a_verb_and_the_first_word_decides() -> None:
    names = aws_operations()
    for name in names:
        expected = VERB_OF_WORD.get(words(name)[0])
        if expected and name not in EXACT:
            assert operation(name, None).verb == expected, name
    unknown = Counter(words(name)[0] for name in names if operation(name, None).verb == OTHER)
    assert sum(unknown.values()) < len(names) / 200, unknown


@pytest.mark.parametrize(
    ("name", "read_only", "expected"),
    [
        ("DeleteListener", False, Operation("DELETE", "LISTENER")),
        ("ListBuckets", True, Operation("LIST", "BUCKET")),
        ("GetBucketCors", True, Operation("READ", "BUCKET_CORS")),
        ("DescribeDBInstances", True, Operation("READ", "DB_INSTANCE")),
        ("GetEC2InstanceRecommendations", True, Operation("READ", "EC2_INSTANCE_RECOMMENDATION")),
        ("DescribeS3Buckets", True, Operation("READ", "S3_BUCKET")),
        ("CreateFunction20150331", False, Operation("CREATE", "FUNCTION")),
        ("ListAliases20150331", True, Operation("LIST", "ALIAS")),
        ("GetDistributionConfig2020_05_31", True, Operation("READ", "DISTRIBUTION_CONFIG")),
        ("ListTagsForResource", True, Operation("LIST", "TAG")),
        ("TerminateInstanceInAutoScalingGroup", False, Operation("DELETE", "INSTANCE")),
        ("DescribeStatuses", True, Operation("READ", "STATUS")),
        ("ListPolicies", True, Operation("LIST", "POLICY")),
        ("BatchDeleteImage", False, Operation("DELETE", "IMAGE")),
        ("Batch", None, Operation("OTHER", "BATCH")),
        ("AssumeRoleWithWebIdentity", True, Operation("ASSUME", "ROLE")),
        ("ConsoleLogin", False, Operation("LOGIN", "CONSOLE")),
        ("Invoke", None, Operation("EXECUTE", None)),
        ("Frobnicate", True, Operation("READ", "FROBNICATE")),
        ("日本語", None, Operation("OTHER", "日本語")),
        ("", True, Operation("OTHER", None)),
        (None, None, Operation("OTHER", None)),
    ],
)
def test_verb_and_noun(name: str | None, read_only: bool | None, expected: Operation) -> None:
    assert operation(name, read_only) == expected


@pytest.mark.parametrize(
    ("code", "status", "error_class"),
    [
        ("AccessDeniedException", "FAILURE", "DENIED"),
        ("UnauthorizedOperation", "FAILURE", "DENIED"),
        ("NotAuthorizedException", "FAILURE", "DENIED"),
        ("KMS.AccessDenied", "FAILURE", "DENIED"),
        ("AuthFailure", "FAILURE", "DENIED"),
        ("SlowDown", "FAILURE", "THROTTLED"),
        ("TooManyRequestsException", "FAILURE", "THROTTLED"),
        ("ProvisionedThroughputExceededException", "FAILURE", "THROTTLED"),
        ("InvalidParameterValue", "FAILURE", "INVALID"),
        ("ResourceNotFoundException", "FAILURE", "INVALID"),
        ("EntityAlreadyExists", "FAILURE", "INVALID"),
        ("DryRunOperation", "FAILURE", "DRY_RUN"),
        ("InternalError", "FAILURE", "ERROR"),
        ("200", "SUCCESS", None),
        ("404", "FAILURE", "INVALID"),
        ("429", "FAILURE", "THROTTLED"),
        ("503", "FAILURE", "THROTTLED"),
        ("2000", "FAILURE", "ERROR"),
    ],
)
def test_outcome_of_a_code(code: str, status: str, error_class: str | None) -> None:
    assert by_code(code) == (status, error_class)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-03-05T09:10:11Z", "2024-03-05T09:10:11Z"),
        ("20240305T091011Z", "2024-03-05T09:10:11Z"),
        ("2024-03-05T09:10:11.000Z", "2024-03-05T09:10:11Z"),
        ("2024-03-05T09:10:11.120Z", "2024-03-05T09:10:11.12Z"),
        ("2024-03-05T09:10:11.123456789Z", "2024-03-05T09:10:11.123456Z"),
        ("2024-03-05T11:10:11+02:00", "2024-03-05T09:10:11Z"),
        ("2024-03-05T00:10:11-0900", "2024-03-05T09:10:11Z"),
        ("2024-03-05 09:10:11", "2024-03-05T09:10:11Z"),
        ("2024-03-05 09:10:11.000000000", "2024-03-05T09:10:11Z"),
        ("2024-03-05 09:10:11 UTC", "2024-03-05T09:10:11Z"),
        ("2024-02-30T09:10:11Z", None),
        ("2024-03-05T24:10:11Z", None),
        ("2024-W10-2T09:10:11Z", None),
        ("2024-03-05", None),
        ("0001-01-01T00:00:00+01:00", None),
        ("\uff12\uff10\uff12\uff14-03-05T09:10:11Z", None),
        ("", None),
        (None, None),
    ],
)
def test_one_text_for_each_time(text: str | None, expected: str | None) -> None:
    assert canonical(text, parse_time(text)) == expected
    column = pa.chunked_array([pa.array([parse_time(text)], MICROS_UTC)])
    assert canonical_texts(column) == [expected]


digits = st.integers(0, 99).map("{:02d}".format)
clocks = st.builds("T{}:{}:{}".format, digits, digits, digits) | st.builds(" {}{}{}".format, digits, digits, digits)
zones = st.sampled_from(["Z", "", "+02:00", "-0930", "+24:00", "+0160", "+01", " Z", "z"])
fractions = st.sampled_from(["", ".1", ".123", ".123456", ".1234567", ".", ",5"])
days = st.builds("{}{}-{}-{}".format, digits, digits, digits, digits) | st.dates().map(str)
time_texts = st.builds("{}{}{}{}".format, days, clocks, fractions, zones)


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:s3:::bucket", "bucket"),
        ("arn:aws:s3:::bucket/a/b:c", "b:c"),
        ("arn:aws:s3:::bucket/folder/", "folder"),
        ("arn:aws:iam::111122223333:role/path/Deploy", "Deploy"),
        ("arn:aws:iam::111122223333:root", "root"),
        ("arn:aws:sns:eu-west-1:111122223333:topic", "topic"),
        ("arn:aws:rds:eu-west-1:111122223333:db:orders", "orders"),
        ("arn:aws:lambda:eu-west-1:111122223333:function:resize:$LATEST", "resize:$LATEST"),
        ("arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf", "db-AbCdEf"),
        ("vol-0a0a", "vol-0a0a"),
        (None, None),
    ],
)
def test_the_short_name_of_an_asset_is_without_its_type_and_path(arn: str | None, name: str | None) -> None:
    assert short_name(arn) == name


@given(st.lists(time_texts | st.none() | st.text(max_size=25), max_size=4))
def test_a_column_of_times_reads_each_as_if_it_were_alone(texts: list[str | None]) -> None:
    alone = [pa.array([parse_time(text)], MICROS_UTC)[0] for text in texts]
    assert parse_times(texts).to_pylist() == [scalar.as_py() for scalar in alone]


@given(time_texts)
def test_what_arrow_reads_is_read_alike(text: str) -> None:
    try:
        (expected,) = pc.cast(pa.array([text]), MICROS_UTC).to_pylist()
    except pa.ArrowInvalid:
        return
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Aug 1, 2024, 11:45:22 AM", datetime(2024, 8, 1, 11, 45, 22, tzinfo=UTC)),
        ("Nov 30, 2024 12:43:17 AM", datetime(2024, 11, 30, 0, 43, 17, tzinfo=UTC)),
        ("Nov 30, 2024, 12:43:17\u202fPM", datetime(2024, 11, 30, 12, 43, 17, tzinfo=UTC)),
        ("2024-08-01T11:45:22Z", datetime(2024, 8, 1, 11, 45, 22, tzinfo=UTC)),
        ("Feb 30, 2024, 1:00:00 AM", None),
        ("Aug 1, 2024, 11:45 AM", None),
        ("Foo 1, 2024, 11:45:22 AM", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_expirations(text: str | None, expected: datetime | None) -> None:
    assert parse_expiration(text) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1).filter(lambda name: "\ud800" not in name), json_values), st.booleans())
def test_members_of_an_object_are_its_values(record: dict, is_spaced: bool) -> None:
    text = json.dumps(record, indent=2 if is_spaced else None).encode()
    assert {name: json.loads(part) for name, part in members(text).items()} == record


def wrapped(name: str, part: str) -> bytes:
    (case,) = [case for case in golden.cases(golden.FOLDER / "versions.json") if case["title"].startswith("1.07")]
    record = dict(case["record"]) | {name: "PART"}
    return json.dumps(record).replace('"PART"', part).encode()


@pytest.mark.parametrize(
    "part",
    [
        json.dumps({"policy": "x" * 40_000}),
        json.dumps({"items": list(range(20_000))}),
        "[" * 10_000 + "]" * 10_000,
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        "9" * 5_000,
        '{"n":1' + "0" * 400 + "}",
        '"\\ud800"',
        '{"a":1,"a":{"b":[]}}',
    ],
    ids=["32,766 bytes", "many items", "deep arrays", "deep objects", "digits", "integer", "surrogate", "repeated"],
)
@pytest.mark.parametrize(
    "name", ["requestParameters", "responseElements", "additionalEventData", "serviceEventDetails"]
)
def test_nothing_in_a_free_form_part_makes_a_record_fail(name: str, part: str) -> None:
    (expected,) = golden.results([wrapped(name, "null")])
    assert golden.results([wrapped(name, part)]) == [expected]


@pytest.mark.parametrize("name", ["userIdentity", "resources", "tlsDetails", "addendum", "readOnly", "userAgent"])
def test_deep_nesting_in_a_part_that_is_read_costs_that_part_alone(name: str) -> None:
    (result,) = golden.results([wrapped(name, "[" * 10_000 + "]" * 10_000)])
    assert result["row"]["operation_name_orig"] == "DescribeInstances"
    assert result["row"]["normalize_problems"] == [f"{name} is nested too deeply"]
