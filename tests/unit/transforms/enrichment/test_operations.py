"""What is known of operations: access levels and techniques."""

from __future__ import annotations

import re

import pytest

from transforms.enrichment.access_levels import access_level
from transforms.enrichment.techniques import _BY_OPERATION, techniques
from transforms.providers.cloudtrail.operations import operation


@pytest.mark.parametrize(
    ("source", "name", "level"),
    [
        ("s3.amazonaws.com", "GetObject", "READ"),
        ("s3.amazonaws.com", "ListObjectsV2", "LIST"),
        ("s3.amazonaws.com", "PutBucketPolicy", "PERMISSIONS_MANAGEMENT"),
        ("iam.amazonaws.com", "CreateUser", "WRITE"),
        ("iam.amazonaws.com", "AttachUserPolicy", "PERMISSIONS_MANAGEMENT"),
        ("ec2.amazonaws.com", "CreateTags", "TAGGING"),
        ("lambda.amazonaws.com", "CreateFunction20150331", "WRITE"),
        ("lambda.amazonaws.com", "Invoke", "WRITE"),
        ("monitoring.amazonaws.com", "PutMetricAlarm", "WRITE"),
        ("ec2.amazonaws.com.cn", "DescribeInstances", "LIST"),
        ("signin.amazonaws.com", "ConsoleLogin", None),
        ("s3.amazonaws.com", "NoSuchThing", None),
        ("../../etc/passwd", "GetObject", None),
        (None, "GetObject", None),
        ("s3.amazonaws.com", None, None),
    ],
)
def test_the_access_level_is_that_of_the_action_in_iams_reference(
    source: str | None, name: str | None, level: str | None
) -> None:
    assert access_level(source, name) == level


def test_an_operation_has_the_techniques_that_it_can_serve_in_order() -> None:
    assert techniques("iam.amazonaws.com", "CreateAccessKey") == ["T1098.001"]
    assert techniques("ec2.amazonaws.com", "TerminateInstances") == ["T1485", "T1578.003"]
    assert techniques("lambda.amazonaws.com", "UpdateFunctionCode20150331v2") == ["T1648"]
    assert techniques("ec2.amazonaws.com", "CreateAccessKey") is None
    assert techniques(None, "CreateAccessKey") is None


def test_the_table_names_techniques_by_their_form_and_operations_that_exist() -> None:
    for (service, name), found in _BY_OPERATION.items():
        assert all(re.fullmatch(r"T\d{4}(\.\d{3})?", it) for it in found), (service, name)
        assert len(set(found)) == len(found), (service, name)
        assert operation(name, None).verb != "OTHER" or name == "SharedSnapshotVolumeCreated", (service, name)
    # Events of services, and operations that IAM has under another name.
    elsewhere = {"signin", "sso", "bedrock"}
    unknown = [key for key in _BY_OPERATION if key[0] not in elsewhere and not access_level(key[0], key[1])]
    assert unknown == [("ec2", "SharedSnapshotVolumeCreated")]
