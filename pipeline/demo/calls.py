"""The catalogue of calls that an organisation makes on an ordinary day."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random

from pipeline.demo.records import Call, Json, Kind, Scene, base32, base64, hexadecimal, iso, uuid

Details = Callable[[Scene], Json]

PEOPLE: tuple[Kind, ...] = ("person", "pipeline")
WORKLOADS: tuple[Kind, ...] = ("workload", "pipeline")
SERVICES: tuple[Kind, ...] = ("service",)
BUCKETS = ("exampleorg-artifacts", "exampleorg-customer-exports", "exampleorg-web-assets", "exampleorg-data-lake")
SECRETS = ("prod/orders/database", "prod/payments/api", "prod/crm/oauth", "shared/mail/smtp", "prod/lake/reader")
TABLES = ("orders", "carts", "sessions", "inventory")
FUNCTIONS = ("orders-api", "image-resize", "nightly-report", "webhook-intake")


@lru_cache(maxsize=4096)
def stable_id(*parts: str) -> str:
    """The id of one thing, the same in every record that names it."""
    return uuid(Random("/".join(parts)))  # noqa: S311


def kms_key(account: str, region: str) -> str:
    """The arn of an account's key in a region."""
    return f"arn:aws:kms:{region}:{account}:key/{stable_id(account, region, 'key')}"


def s3(parameters: Details, *, sent: int = 2_000, received: int = 0) -> Details:
    """Details of an S3 call: its parameters, and what S3 adds to each of its records (bytes up to the limits)."""

    def details(scene: Scene) -> Json:
        rng, asked = scene.rng, parameters(scene)
        made: Json = {
            "additionalEventData": {
                "SignatureVersion": "SigV4",
                "CipherSuite": "TLS_AES_128_GCM_SHA256",
                "bytesTransferredIn": int(rng.random() * received),
                "SSEApplied": "Default_SSE_S3",
                "AuthenticationMethod": "AuthHeader",
                "x-amz-id-2": base64(rng, 56),
                "bytesTransferredOut": int(rng.random() * sent),
            },
            "requestID": base32(rng, 16),
        }
        host = f"s3.{scene.region}.amazonaws.com"
        if bucket := asked.get("bucketName"):
            host = f"{bucket}.{host}"
            made["resources"] = _bucket_and_object(scene.account, bucket, asked.get("key"))
        made["requestParameters"] = {"bucketName": bucket, "Host": host} | asked
        return made

    return details


def _bucket_and_object(account: str, bucket: str, key: str | None) -> list[Json]:
    arn = f"arn:aws:s3:::{bucket}"
    owner = {"accountId": account, "type": "AWS::S3::Bucket", "ARN": arn}
    return [owner] if key is None else [{"type": "AWS::S3::Object", "ARN": f"{arn}/{key}"}, owner]


def object_in(bucket: str | None = None) -> Details:
    """Parameters that name one object of a bucket."""

    def parameters(scene: Scene) -> Json:
        rng = scene.rng
        folder = f"{rng.choice(TABLES)}/year=2026/{hexadecimal(rng, 8)}"
        return {
            "bucketName": bucket or rng.choice(BUCKETS),
            "key": f"{folder}/part-{int(rng.random() * 64):05}.parquet",
            "x-id": "GetObject",
        }

    return parameters


def _bucket(scene: Scene) -> Json:
    return {"bucketName": scene.rng.choice(BUCKETS), "acl": ""}


def _decrypt(scene: Scene) -> Json:
    key = kms_key(scene.account, scene.region)
    context = {"aws:s3:arn": f"arn:aws:s3:::{scene.rng.choice(BUCKETS)}"}
    return {
        "requestParameters": {"encryptionContext": context, "encryptionAlgorithm": "SYMMETRIC_DEFAULT", "keyId": key},
        "additionalEventData": {"keyMaterialId": stable_id(key)},
        "resources": [{"accountId": scene.account, "type": "AWS::KMS::Key", "ARN": key}],
    }


def _instances(scene: Scene) -> Json:
    chosen = [{"instanceId": f"i-0{hexadecimal(scene.rng, 16)}"} for _ in range(int(scene.rng.random() * 4))]
    return {"requestParameters": {"instancesSet": {"items": chosen} if chosen else {}, "filterSet": {}}}


def _run_instances(scene: Scene) -> Json:
    rng = scene.rng
    instance = {
        "instanceId": f"i-0{hexadecimal(rng, 16)}",
        "imageId": f"ami-0{hexadecimal(rng, 16)}",
        "instanceState": {"code": 0, "name": "pending"},
        "privateIpAddress": "192.0.2.17",
        "instanceType": "t3.medium",
        "placement": {"availabilityZone": f"{scene.region}a", "tenancy": "default"},
    }
    asked = {
        "instancesSet": {"items": [{"imageId": instance["imageId"], "minCount": 1, "maxCount": 1}]},
        "instanceType": "t3.medium",
        "monitoring": {"enabled": False},
        "disableApiTermination": False,
    }
    answer = {
        "requestId": uuid(rng),
        "reservationId": f"r-0{hexadecimal(rng, 16)}",
        "ownerId": scene.account,
        "instancesSet": {"items": [instance]},
    }
    return {"requestParameters": asked, "responseElements": answer}


def _security_group(scene: Scene) -> Json:
    rng = scene.rng
    group, rule = f"sg-0{hexadecimal(rng, 16)}", {"ipProtocol": "tcp", "fromPort": 443, "toPort": 443}
    ranges = {"items": [{"cidrIp": "198.51.100.0/24", "description": "office"}]}
    permission = rule | {"groups": {}, "ipRanges": ranges, "ipv6Ranges": {}, "prefixListIds": {}}
    answer = rule | {
        "groupOwnerId": scene.account,
        "groupId": group,
        "securityGroupRuleId": f"sgr-0{hexadecimal(rng, 16)}",
        "isEgress": False,
        "cidrIpv4": "198.51.100.0/24",
    }
    return {
        "requestParameters": {"groupId": group, "ipPermissions": {"items": [permission]}},
        "responseElements": {"requestId": uuid(rng), "_return": True, "securityGroupRuleSet": {"items": [answer]}},
    }


def _attach_policy(scene: Scene) -> Json:
    name = scene.rng.choice(FUNCTIONS)
    return {
        "requestParameters": {
            "roleName": f"{name}-role",
            "policyArn": "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",
        }
    }


def _create_role(scene: Scene) -> Json:
    rng, name = scene.rng, f"{scene.rng.choice(FUNCTIONS)}-role-{hexadecimal(scene.rng, 6)}"
    trust = (
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":'
        '{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}'
    )
    role = {
        "path": "/",
        "roleName": name,
        "roleId": f"AROA{base32(rng, 10)}EXAMPLE",
        "arn": f"arn:aws:iam::{scene.account}:role/{name}",
        "createDate": iso(scene.at),
        "assumeRolePolicyDocument": trust.replace('"', "%22"),
    }
    return {
        "requestParameters": {"roleName": name, "assumeRolePolicyDocument": trust, "description": "Büro Köln ✓"},
        "responseElements": {"role": role},
    }


def _update_function(scene: Scene) -> Json:
    rng, name = scene.rng, scene.rng.choice(FUNCTIONS)
    arn = f"arn:aws:lambda:{scene.region}:{scene.account}:function:{name}"
    answer = {
        "functionName": name,
        "functionArn": arn,
        "runtime": "python3.12",
        "role": f"arn:aws:iam::{scene.account}:role/{name}-role",
        "handler": "app.handler",
        "codeSize": int(rng.random() * 5_000_000),
        "timeout": 30,
        "memorySize": 512,
        "codeSha256": base64(rng, 32),
        "revisionId": uuid(rng),
        "environment": {},
        "architectures": ["x86_64"],
    }
    asked = {"functionName": name, "s3Bucket": BUCKETS[0], "s3Key": f"{name}/{hexadecimal(rng, 12)}.zip"}
    return {"requestParameters": asked, "responseElements": answer}


def _secret(scene: Scene) -> Json:
    name = scene.rng.choice(SECRETS)
    return {
        "requestParameters": {
            "secretId": f"arn:aws:secretsmanager:{scene.region}:{scene.account}:secret:{name}-a1B2c3",
            "versionStage": "AWSCURRENT",
        }
    }


def _log_stream(scene: Scene) -> Json:
    group = f"/aws/lambda/{scene.rng.choice(FUNCTIONS)}"
    stream = f"{iso(scene.at)[:10].replace('-', '/')}/[$LATEST]{hexadecimal(scene.rng, 32)}"
    return {"requestParameters": {"logGroupName": group, "logStreamName": stream}}


def _table(scene: Scene) -> Json:
    rng, table = scene.rng, scene.rng.choice(TABLES)
    arn = f"arn:aws:dynamodb:{scene.region}:{scene.account}:table/{table}"
    asked = {"tableName": table, "key": {"id": hexadecimal(rng, 24)}, "consistentRead": rng.random() < 0.2}
    return {
        "requestParameters": asked,
        "requestID": base32(rng, 52),
        "resources": [{"accountId": scene.account, "type": "AWS::DynamoDB::Table", "ARN": arn}],
    }


def _data_key(scene: Scene) -> Json:
    key = kms_key(scene.account, scene.region)
    trail = f"arn:aws:cloudtrail:{scene.region}:{scene.account}:trail/organisation"
    return {
        "requestParameters": {
            "keyId": key,
            "keySpec": "AES_256",
            "encryptionContext": {
                "aws:cloudtrail:arn": trail,
                "aws:s3:arn": f"arn:aws:s3:::exampleorg-trail/{hexadecimal(scene.rng, 16)}.json.gz",
            },
        },
        "resources": [{"accountId": scene.account, "type": "AWS::KMS::Key", "ARN": key}],
        "sharedEventID": uuid(scene.rng),
    }


def _delivery(scene: Scene) -> Json:
    key = f"AWSLogs/{scene.account}/vpcflowlogs/{scene.region}/{hexadecimal(scene.rng, 16)}.log.gz"
    return {"bucketName": "exampleorg-flow-logs", "key": key, "x-amz-acl": "bucket-owner-full-control"}


def asking(**parameters: object) -> Details:
    """Details of a call whose parameters are always the same; none at all gives null."""
    return lambda _scene: {"requestParameters": parameters or None}


def _shared(details: Details) -> Details:
    return lambda scene: details(scene) | {"sharedEventID": uuid(scene.rng)}


GET_OBJECT = Call("s3", "GetObject", s3(object_in(), sent=5_000_000), weight=22, data_event=True, kinds=WORKLOADS)
DESCRIBE_INSTANCES = Call("ec2", "DescribeInstances", _instances, weight=12)
CALLER = Call("sts", "GetCallerIdentity", asking(), weight=6)
LIST_BUCKETS = Call("s3", "ListBuckets", s3(lambda _scene: {}), kinds=PEOPLE, weight=2)
LIST_ROLES = Call("iam", "ListRoles", asking(maxItems=100), kinds=PEOPLE, weight=2, everywhere=False)
LIST_USERS = Call("iam", "ListUsers", asking(maxItems=100), kinds=PEOPLE, weight=2, everywhere=False)
LIST_SECRETS = Call("secretsmanager", "ListSecrets", asking(maxResults=50), kinds=PEOPLE)
GET_SECRET = Call("secretsmanager", "GetSecretValue", _secret, kinds=WORKLOADS, weight=5)
DECRYPT = Call("kms", "Decrypt", _decrypt, kinds=WORKLOADS, weight=12)
LIST_FUNCTIONS = Call("lambda", "ListFunctions20150331", asking(maxItems=50), kinds=PEOPLE, weight=3)
DESCRIBE_TRAILS = Call("cloudtrail", "DescribeTrails", asking(trailNameList=[], includeShadowTrails=True), weight=2)

ORDINARY = (
    GET_OBJECT, DESCRIBE_INSTANCES, CALLER, LIST_BUCKETS, LIST_ROLES, LIST_USERS, LIST_SECRETS, GET_SECRET, DECRYPT,
    LIST_FUNCTIONS, DESCRIBE_TRAILS,
    Call("s3", "PutObject", s3(object_in(), received=9_000_000), False, WORKLOADS, 9, data_event=True),
    Call("s3", "GetBucketAcl", s3(_bucket), weight=4),
    Call("s3", "GetBucketLocation", s3(_bucket), kinds=PEOPLE, weight=2),
    Call("ec2", "DescribeSecurityGroups", asking(securityGroupSet={}, filterSet={}), weight=6),
    Call("ec2", "DescribeVpcs", asking(vpcSet={}, filterSet={}), kinds=PEOPLE, weight=4),
    Call("ec2", "RunInstances", _run_instances, False, PEOPLE, 2),
    Call("ec2", "AuthorizeSecurityGroupIngress", _security_group, False, PEOPLE, 1),
    Call("iam", "GetRole", asking(roleName="orders-api-role"), kinds=PEOPLE, weight=4, everywhere=False),
    Call("iam", "AttachRolePolicy", _attach_policy, False, PEOPLE, 1, everywhere=False),
    Call("iam", "CreateRole", _create_role, False, ("pipeline",), 1, everywhere=False),
    Call("lambda", "UpdateFunctionCode20150331v2", _update_function, False, ("pipeline",), 3),
    Call("logs", "CreateLogStream", _log_stream, False, WORKLOADS, 7),
    Call("logs", "DescribeLogGroups", asking(limit=50), kinds=PEOPLE, weight=4),
    Call("dynamodb", "GetItem", _table, kinds=("workload",), weight=14, data_event=True),
    Call("dynamodb", "DescribeTable", _table, weight=3),
    Call("cloudtrail", "LookupEvents", asking(maxResults=50, endTime="Jan 13, 2026, 8:00:00 AM"), kinds=("person",)),
    Call("monitoring", "DescribeAlarms", asking(maxRecords=100), kinds=("person", "workload"), weight=4),
    Call("kms", "GenerateDataKey", _data_key, kinds=SERVICES, weight=6),
    Call("s3", "PutObject", _shared(s3(_delivery, received=900_000)), False, SERVICES, 8, data_event=True),
    Call("s3", "GetBucketAcl", _shared(s3(_bucket)), kinds=SERVICES, weight=6),
)  # fmt: skip


def more(count: int) -> tuple[Call, ...]:
    """Further services and operations that only describe things: what a large organisation uses now and then."""
    verbs, nouns = ("Describe", "List", "Get", "BatchGet"), ("Fleets", "Domains", "Pipelines", "Policies", "Streams")
    return tuple(
        Call(f"service{n % 150}", f"{verbs[n % 4]}{nouns[n % 5]}{n}", asking(maxResults=50, filters=[f"tag:{n}"]))
        for n in range(count)
    )
