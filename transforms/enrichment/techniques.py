"""Which techniques of MITRE ATT&CK (Enterprise) calls of an operation can serve.

A property of the operation, not a finding: most such calls are an administrator's. Source: attack.mitre.org, the
techniques' descriptions, of which several name the operation.
"""

from __future__ import annotations

import re

VERSION = "1"

_TABLE: dict[str, dict[str, str]] = {
    "iam": {
        "T1136.003": "CreateUser",
        "T1098.001": "CreateAccessKey UpdateAccessKey CreateLoginProfile UpdateLoginProfile UploadSSHPublicKey "
        "CreateServiceSpecificCredential UploadSigningCertificate",
        "T1098.003": "AttachUserPolicy AttachRolePolicy AttachGroupPolicy PutUserPolicy PutRolePolicy PutGroupPolicy "
        "AddUserToGroup CreatePolicyVersion SetDefaultPolicyVersion DeleteUserPermissionsBoundary "
        "DeleteRolePermissionsBoundary UpdateAssumeRolePolicy",
        "T1556.006": "DeactivateMFADevice DeleteVirtualMFADevice",
        "T1484.002": "CreateSAMLProvider UpdateSAMLProvider CreateOpenIDConnectProvider "
        "AddClientIDToOpenIDConnectProvider UpdateOpenIDConnectProviderThumbprint",
        "T1087.004": "ListUsers ListRoles GetAccountAuthorizationDetails GetUser GenerateCredentialReport "
        "GetCredentialReport",
        "T1069.003": "ListGroups ListGroupsForUser ListAttachedUserPolicies ListAttachedRolePolicies "
        "ListAttachedGroupPolicies ListUserPolicies ListRolePolicies ListPolicies GetPolicyVersion "
        "SimulatePrincipalPolicy",
        "T1201": "GetAccountPasswordPolicy",
        "T1531": "DeleteUser DeleteLoginProfile DeleteAccessKey",
    },
    "sts": {
        "T1078.004": "AssumeRole AssumeRoleWithSAML AssumeRoleWithWebIdentity",
        "T1550.001": "GetFederationToken GetSessionToken",
        "T1087.004": "GetCallerIdentity",
    },
    "signin": {
        "T1078.004": "ConsoleLogin SwitchRole",
        "T1550.001": "GetSigninToken",
    },
    "cloudtrail": {
        "T1562.008": "StopLogging DeleteTrail UpdateTrail PutEventSelectors StopEventDataStoreIngestion "
        "DeleteEventDataStore",
    },
    "logs": {"T1562.008": "DeleteLogGroup DeleteLogStream PutRetentionPolicy DeleteSubscriptionFilter"},
    "config": {"T1562.008": "StopConfigurationRecorder DeleteConfigurationRecorder DeleteDeliveryChannel"},
    "monitoring": {"T1562.008": "DeleteAlarms DisableAlarmActions"},
    "guardduty": {
        "T1562.001": "DeleteDetector UpdateDetector CreateFilter CreateIPSet UpdateIPSet StopMonitoringMembers "
        "DisassociateFromMasterAccount DisassociateFromAdministratorAccount DisassociateMembers DeleteMembers",
    },
    "securityhub": {"T1562.001": "DisableSecurityHub BatchDisableStandards"},
    "access-analyzer": {"T1562.001": "DeleteAnalyzer"},
    "macie2": {"T1562.001": "DisableMacie"},
    "wafv2": {"T1562.007": "DeleteWebACL DeleteRuleGroup DisassociateWebACL"},
    "organizations": {
        "T1666": "LeaveOrganization CreateAccount InviteAccountToOrganization RemoveAccountFromOrganization "
        "MoveAccount DetachPolicy DeletePolicy DisablePolicyType",
        "T1087.004": "ListAccounts DescribeOrganization",
    },
    "ec2": {
        "T1578.001": "CreateSnapshot CreateSnapshots CopySnapshot CreateImage",
        "T1578.002": "RunInstances",
        "T1578.003": "TerminateInstances",
        "T1578.005": "ModifyInstanceAttribute",
        "T1537": "ModifySnapshotAttribute ModifyImageAttribute SharedSnapshotVolumeCreated",
        "T1485": "DeleteSnapshot DeleteVolume DeregisterImage TerminateInstances",
        "T1562.007": "AuthorizeSecurityGroupIngress AuthorizeSecurityGroupEgress ModifySecurityGroupRules "
        "CreateNetworkAclEntry ReplaceNetworkAclEntry DeleteNetworkAcl",
        "T1562.008": "DeleteFlowLogs",
        "T1552": "GetPasswordData DescribeInstanceAttribute GetConsoleOutput GetLaunchTemplateData",
        "T1098.004": "CreateKeyPair ImportKeyPair",
        "T1580": "DescribeInstances DescribeSnapshots DescribeVolumes DescribeVpcs DescribeSubnets DescribeImages "
        "DescribeSecurityGroups DescribeRegions",
        "T1040": "CreateTrafficMirrorSession",
        "T1525": "CreateImage",
    },
    "account": {"T1535": "EnableRegion"},
    "ec2-instance-connect": {"T1021.004": "SendSSHPublicKey", "T1021.008": "SendSerialConsoleSSHPublicKey"},
    "ssm": {
        "T1651": "SendCommand StartAutomationExecution",
        "T1021.007": "StartSession ResumeSession",
        "T1555.006": "GetParameter GetParameters GetParametersByPath GetParameterHistory",
    },
    "secretsmanager": {
        "T1555.006": "GetSecretValue BatchGetSecretValue",
        "T1485": "DeleteSecret",
        "T1098": "PutResourcePolicy",
    },
    "kms": {"T1485": "ScheduleKeyDeletion DeleteImportedKeyMaterial", "T1098": "PutKeyPolicy CreateGrant"},
    "s3": {
        "T1530": "GetObject",
        "T1580": "ListBuckets",
        "T1619": "ListObjects ListObjectsV2",
        "T1485": "DeleteBucket DeleteObject DeleteObjects",
        "T1485.001": "PutBucketLifecycle PutBucketLifecycleConfiguration",
        "T1537": "PutBucketPolicy PutBucketReplication PutBucketAcl PutObjectAcl",
        "T1562.008": "PutBucketLogging",
        "T1490": "PutBucketVersioning",
        "T1486": "CopyObject",
    },
    "rds": {
        "T1537": "ModifyDBSnapshotAttribute ModifyDBClusterSnapshotAttribute StartExportTask",
        "T1578.001": "CreateDBSnapshot CreateDBClusterSnapshot",
        "T1485": "DeleteDBInstance DeleteDBCluster DeleteDBSnapshot DeleteDBClusterSnapshot",
    },
    "backup": {"T1490": "DeleteBackupVault DeleteRecoveryPoint DeleteBackupPlan"},
    "lambda": {
        "T1648": "CreateFunction UpdateFunctionCode UpdateFunctionConfiguration Invoke CreateEventSourceMapping",
        "T1098": "AddPermission",
    },
    "ecr": {"T1525": "PutImage", "T1098": "SetRepositoryPolicy"},
    "ecs": {"T1610": "RunTask", "T1609": "ExecuteCommand"},
    "eks": {"T1098.006": "CreateAccessEntry AssociateAccessPolicy"},
    "ses": {"T1496.004": "SendEmail SendRawEmail UpdateAccountSendingEnabled PutAccountDetails"},
    "bedrock": {"T1496.004": "InvokeModel InvokeModelWithResponseStream Converse ConverseStream"},
    "route53domains": {"T1584.001": "TransferDomainToAnotherAwsAccount DisableDomainTransferLock"},
    "sso": {"T1098.003": "AttachManagedPolicyToPermissionSet PutInlinePolicyToPermissionSet CreateAccountAssignment"},
}

_BY_OPERATION: dict[tuple[str, str], list[str]] = {}
for _service, _techniques in _TABLE.items():
    for _technique, _names in _techniques.items():
        for _name in _names.split():
            _BY_OPERATION.setdefault((_service, _name), []).append(_technique)

_API_VERSION = re.compile(r"20\d{6}(?:v\d+)?$")


def techniques(event_source: str | None, operation: str | None) -> list[str] | None:
    """Ids of techniques in order, such as `T1098.001`; None where the table has none."""
    if not event_source or not operation:
        return None
    service = event_source.partition(".amazonaws.com")[0]
    found = _BY_OPERATION.get((service, _API_VERSION.sub("", operation)))
    return sorted(found) if found else None
