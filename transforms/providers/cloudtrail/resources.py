"""What a call acted on: the kind of service in words that hold for every cloud, and the assets it names.

Source of the service names: AWS service authorization reference and CloudTrail's supported services; an event
source that is not listed is OTHER. The noun decides for EC2, whose API spans three kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from transforms.providers.cloudtrail.lenient import REFUSED, Text, UnreadableError, fit, kind, loads
from transforms.providers.cloudtrail.record import Part

OTHER = "OTHER"

_TYPES: dict[str, str] = {
    service: resource_type
    for resource_type, services in {
        "COMPUTE": """ec2 autoscaling autoscaling-plans application-autoscaling elasticbeanstalk lightsail batch
            imagebuilder outposts ec2-instance-connect compute-optimizer pcs evs drs mgn""",
        "CONTAINER": "ecs eks eks-auth ecr ecr-public apprunner appmesh",
        "FUNCTION": "lambda states serverlessrepo swf",
        "STORAGE": """s3 s3-outposts s3-object-lambda s3express s3tables s3vectors glacier elasticfilesystem fsx ebs
            storagegateway backup backup-gateway backup-search datasync snowball importexport transfer dlm rbin""",
        "DATABASE": """rds rds-data dynamodb dax elasticache memorydb redshift redshift-data redshift-serverless
            neptune-db neptune-graph docdb docdb-elastic cassandra timestream timestream-influxdb qldb dms dsql sdb
            odb""",
        "NETWORK": """elasticloadbalancing route53 route53domains route53resolver route53profiles cloudfront
            cloudfront-keyvaluestore directconnect globalaccelerator network-firewall networkmanager vpc-lattice
            servicediscovery apigateway execute-api arc-zonal-shift""",
        "IDENTITY": """iam sts signin sso sso-directory sso-oauth identitystore identitystore-scim cognito-idp
            cognito-identity cognito-sync ds ds-data organizations account access-analyzer rolesanywhere
            verifiedpermissions ram""",
        "KEY": "kms cloudhsm cloudhsmv2 acm acm-pca pca-connector-ad pca-connector-scep payment-cryptography signer",
        "SECRET": "secretsmanager",
        "MESSAGING": """sns sqs events eventbridge schemas scheduler pipes kinesis kinesisvideo firehose kafka
            kafkaconnect mq ses sms-voice social-messaging pinpoint iot iotwireless iotsitewise iotfleetwise
            greengrass""",
        "MONITORING": """cloudtrail cloudtrail-data logs monitoring config xray oam synthetics rum health aps grafana
            applicationinsights application-signals internetmonitor networkmonitor networkflowmonitor devops-guru
            observabilityadmin""",
        "SECURITY": """guardduty securityhub inspector inspector2 inspector-scan macie macie2 detective shield waf
            waf-regional wafv2 fms securitylake auditmanager security-ir artifact""",
        "AI": """bedrock bedrock-agent bedrock-agentcore bedrock-runtime sagemaker comprehend comprehendmedical
            rekognition textract translate transcribe polly lex q qbusiness qapps codewhisperer forecast personalize
            kendra frauddetector healthlake""",
        "ANALYTICS": """athena glue databrew elasticmapreduce emr-serverless emr-containers es aoss osis quicksight
            kinesisanalytics lakeformation datazone dataexchange cleanrooms cloudsearch finspace airflow""",
        "DEPLOYMENT": """cloudformation cloudcontrolapi codebuild codecommit codedeploy codepipeline codeartifact
            codecatalyst codestar codestar-connections codeconnections codeguru-reviewer amplify cloudshell cloud9
            servicecatalog proton appconfig fis""",
        "MANAGEMENT": """ssm ssmmessages ec2messages ssm-incidents ssm-contacts ssm-quicksetup ssm-guiconnect support
            trustedadvisor resource-groups resource-explorer-2 tagging opsworks license-manager controltower
            servicequotas wellarchitected resiliencehub notifications""",
        "APPLICATION": """appsync appflow appstream workspaces workspaces-web workdocs workmail chime connect wisdom
            gamelift geo chatbot""",
        "BILLING": """billing billingconductor billingconsole ce cur bcm-data-exports budgets payments tax invoicing
            aws-marketplace freetier savingsplans pricing cost-optimization-hub""",
    }.items()
    for service in services.split()
}

_EC2_TYPES: dict[str, str] = {
    first: resource_type
    for resource_type, nouns in {
        "NETWORK": """VPC SUBNET SECURITY ROUTE NETWORK INTERNET NAT ADDRESS VPN CUSTOMER TRANSIT FLOW PEERING
            DHCP EGRESS MANAGED TRAFFIC CARRIER LOCAL CLIENT""",
        "STORAGE": "VOLUME SNAPSHOT EBS",
        "KEY": "KEY",
    }.items()
    for first in nouns.split()
}


class Resource(Part):
    """An element of `resources`; its ARN is spelt `ARN`, in some events `arn`, or is a prefix of many."""

    arn: str | None = msgspec.field(default=None, name="ARN")
    arn_lower: str | None = msgspec.field(default=None, name="arn")
    arn_prefix: str | None = msgspec.field(default=None, name="ARNPrefix")
    type: str | None = None


_decode = msgspec.json.Decoder(list[Resource]).decode


def resource_type(event_source: str | None, noun: str | None) -> str | None:
    """The kind of service, the same word for every cloud; None without an event source."""
    if not event_source:
        return None
    service = event_source.removesuffix(".cn").removesuffix(".amazonaws.com")
    if service == "ec2" and noun:
        return _EC2_TYPES.get(noun.partition("_")[0], _TYPES["ec2"])
    return _TYPES.get(service, OTHER)


def sub_type(resource_type_orig: str | None) -> str | None:
    """The last part of a type such as `AWS::S3::Object`, as UPPER case."""
    return resource_type_orig.rpartition("::")[2].upper() if resource_type_orig else None


def reference_columns(parts: Sequence[list[Resource]]) -> dict[str, list[Any]]:
    """Columns of `cloud_audit_logs` about the assets that each part `resources` names."""
    ids = [[arn for one in part if (arn := one.arn or one.arn_lower or one.arn_prefix)] for part in parts]
    firsts = [arns[0] if arns else None for arns in ids]
    return {
        "referenced_resource": firsts,
        "referenced_resource_name": list(map(short_name, firsts)),
        "referenced_resources": [arns or None for arns in ids],
        "referenced_resources_count": [len(arns) or None for arns in ids],
        "resource_sub_type_orig": [part[0].type or None if part else None for part in parts],
    }


def short_name(arn: str | None) -> str | None:
    """The asset's own name: what an ARN has after its account, type and path.

    The type ends with a slash or, as in `function:Name:Version`, with the first colon.
    """
    if not arn or not arn.startswith("arn:"):
        return arn
    resource = arn.split(":", 5)[-1].rstrip("/")
    _, _, name = resource.rpartition("/") if "/" in resource else resource.partition(":")
    return name or resource


def read_resources(text: Text, name: str, notes: list[str]) -> list[Resource]:
    """The assets that the part `name` lists."""
    try:
        return _decode(text)
    except REFUSED:
        pass
    try:
        value = loads(text) if bytes(text) else None
    except UnreadableError as error:
        notes.append(f"{name} is {error}")
        return []
    if isinstance(value, list):
        return [fit(Resource, item, f"{name}[]", notes) for item in value]
    if value is not None:
        notes.append(f"{name} is {kind(value)}, not an array")
    return []
