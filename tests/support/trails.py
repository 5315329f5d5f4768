"""Small CloudTrail records, objects and notifications for tests, and an independent reading of objects."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote_plus

ACCOUNT = "111122223333"
REGION = "us-east-1"
DAY = "2026-01-12"


def record(number: int, *, account: str = ACCOUNT, day: str = DAY, **members: Any) -> dict[str, Any]:
    """A record whose id and time follow from its number."""
    second = number % 86_400
    return {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLE",
            "arn": f"arn:aws:iam::{account}:user/alice",
            "accountId": account,
            "userName": "alice",
        },
        "eventTime": f"{day}T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z",
        "eventSource": "s3.amazonaws.com",
        "eventName": "GetObject",
        "awsRegion": REGION,
        "sourceIPAddress": "203.0.113.7",
        "userAgent": "aws-cli/2.15",
        "requestParameters": {"bucketName": "b", "key": f"k{number}"},
        "responseElements": None,
        "requestID": f"R{number}",
        "eventID": f"{account}-{day}-{number:08}",
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": False,
        "recipientAccountId": account,
        "eventCategory": "Data",
        **members,
    }


def records(numbers: Iterable[int], **members: Any) -> list[dict[str, Any]]:
    return [record(number, **members) for number in numbers]


def trail_object(of: Sequence[dict[str, Any]]) -> bytes:
    """The gzipped document that CloudTrail delivers."""
    return gzip.compress(json.dumps({"Records": list(of)}).encode(), 1, mtime=0)


def trail_key(name: str, *, account: str = ACCOUNT, region: str = REGION, day: str = DAY, prefix: str = "") -> str:
    """A key as CloudTrail lays it out."""
    stamp = day.replace("-", "")
    folder = f"{prefix}AWSLogs/{account}/CloudTrail/{region}/{day.replace('-', '/')}"
    return f"{folder}/{account}_CloudTrail_{region}_{stamp}T0005Z_{name}.json.gz"


def s3_record(bucket: str, key: str, **members: Any) -> dict[str, Any]:
    """One record of an S3 event notification; its key is URL-encoded, as S3 does it."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": REGION,
        "eventTime": "2026-01-12T00:05:00.000Z",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key, safe="/"), "sequencer": "0055AED6DCD9"}},
        **members,
    }


def s3_event(bucket: str, *keys: str) -> str:
    return json.dumps({"Records": [s3_record(bucket, key) for key in keys]})


def in_sns(message: str) -> str:
    """The envelope of a topic without raw delivery."""
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": "arn:aws:sns:us-east-1:111122223333:trail",
            "Subject": "Amazon S3 Notification",
            "Message": message,
            "Timestamp": "2026-01-12T00:05:00.000Z",
            "SignatureVersion": "1",
            "Signature": "EXAMPLE",
            "SigningCertURL": "https://sns.us-east-1.amazonaws.com/cert.pem",
            "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
        }
    )


def eventbridge(bucket: str, key: str, **members: Any) -> str:
    """EventBridge's "Object Created" event; its key is not encoded."""
    return json.dumps(
        {
            "version": "0",
            "id": "17793124-05d4-b198-2fde-7ededc63b103",
            "detail-type": "Object Created",
            "source": "aws.s3",
            "account": ACCOUNT,
            "time": "2026-01-12T00:05:00Z",
            "region": REGION,
            "resources": [f"arn:aws:s3:::{bucket}"],
            "detail": {
                "version": "0",
                "bucket": {"name": bucket},
                "object": {"key": key, "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184", "sequencer": "00"},
                "reason": "PutObject",
            },
            **members,
        }
    )


def cloudtrail_notice(bucket: str, *keys: str) -> str:
    """CloudTrail's own notice, as it stands in the message of its topic."""
    return json.dumps({"s3Bucket": bucket, "s3ObjectKey": list(keys)})


def event_ids(body: bytes) -> list[str]:
    """The ids in an object, read with nothing of ours."""
    text = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    document = json.loads(text)
    found = document["Records"] if isinstance(document, dict) else document
    return [it["eventID"] for it in found]
