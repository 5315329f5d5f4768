"""Class, activity and type of OCSF 1.1 for a call.

Source: schema.ocsf.io/1.1.0, classes 3001 Account Change, 3002 Authentication, 6003 API Activity. Against the
published reference mapping of CloudTrail: success has a status, every failure counts, and verbs are whole words.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from transforms.providers.cloudtrail import operations as op
from transforms.providers.cloudtrail.outcome import FAILURE, SUCCESS

ACCOUNT_CHANGE, AUTHENTICATION, API_ACTIVITY = 3001, 3002, 6003
OTHER = 99


class Ocsf(NamedTuple):
    """Columns of `cloud_audit_logs`; `type_uid` is `class_uid * 100 + activity_id`."""

    class_uid: int
    activity_id: int
    type_uid: int


_LOGON = 1
_AUTHENTICATION = frozenset(
    {
        "ConsoleLogin",
        "ExternalIdPDirectoryLogin",
        "CheckMfa",
        "CredentialChallenge",
        "CredentialVerification",
        "UserAuthentication",
        "AssumeRole",
        "AssumeRoleWithSAML",
        "AssumeRoleWithWebIdentity",
    }
)

# Operations of IAM on users, roles, groups, their policies and their credentials; 1 Create, 2 Enable, 3 Password
# Change, 4 Password Reset, 6 Delete, 7 Attach Policy, 8 Detach Policy, 10 MFA Factor Enable, 11 MFA Factor Disable.
_ACCOUNT_CHANGE: dict[str, int] = {
    name: activity
    for activity, names in {
        1: """CreateUser CreateRole CreateServiceLinkedRole CreateGroup CreateAccessKey CreateLoginProfile
            CreateServiceSpecificCredential CreatePolicy CreatePolicyVersion CreateInstanceProfile
            CreateVirtualMFADevice UploadSSHPublicKey UploadSigningCertificate""",
        3: "ChangePassword",
        4: "UpdateLoginProfile ResetServiceSpecificCredential",
        6: """DeleteUser DeleteRole DeleteServiceLinkedRole DeleteGroup DeleteAccessKey DeleteLoginProfile
            DeleteServiceSpecificCredential DeletePolicy DeletePolicyVersion DeleteInstanceProfile
            DeleteVirtualMFADevice DeleteSSHPublicKey DeleteSigningCertificate""",
        7: """AttachUserPolicy AttachRolePolicy AttachGroupPolicy PutUserPolicy PutRolePolicy PutGroupPolicy
            PutUserPermissionsBoundary PutRolePermissionsBoundary""",
        8: """DetachUserPolicy DetachRolePolicy DetachGroupPolicy DeleteUserPolicy DeleteRolePolicy
            DeleteGroupPolicy DeleteUserPermissionsBoundary DeleteRolePermissionsBoundary""",
        10: "EnableMFADevice",
        11: "DeactivateMFADevice",
        OTHER: """UpdateUser UpdateRole UpdateRoleDescription UpdateGroup UpdateAccessKey
            UpdateAssumeRolePolicy SetDefaultPolicyVersion AddUserToGroup RemoveUserFromGroup
            AddRoleToInstanceProfile RemoveRoleFromInstanceProfile ResyncMFADevice UpdateServiceSpecificCredential
            UpdateSSHPublicKey UpdateSigningCertificate TagUser UntagUser TagRole UntagRole""",
    }.items()
    for name in names.split()
}

# Of an API Activity; starting, stopping, attaching and detaching change what exists.
_ACTIVITIES = {
    op.CREATE: 1,
    op.READ: 2,
    op.LIST: 2,
    op.UPDATE: 3,
    op.ATTACH: 3,
    op.DETACH: 3,
    op.START: 3,
    op.STOP: 3,
    op.DELETE: 4,
}

_STATUS_IDS = {SUCCESS: 1, FAILURE: 2}


def ocsf(event_source: str | None, event_name: str | None, verb: str) -> Ocsf:
    """Class and activity of an operation of a service."""
    if event_name in _AUTHENTICATION:
        return _typed(AUTHENTICATION, _LOGON)
    if event_source == "iam.amazonaws.com" and event_name in _ACCOUNT_CHANGE:
        return _typed(ACCOUNT_CHANGE, _ACCOUNT_CHANGE[event_name])
    return _typed(API_ACTIVITY, _ACTIVITIES.get(verb, OTHER))


@cache
def _typed(class_uid: int, activity_id: int) -> Ocsf:
    return Ocsf(class_uid, activity_id, class_uid * 100 + activity_id)


OF_COUNTS = _typed(API_ACTIVITY, OTHER)
"""Of events that tell of many calls: none of them is a logon or an account change itself."""


def status_id(operation_status: str | None) -> int:
    """Success 1, Failure 2; Unknown 0 for what has no outcome."""
    return _STATUS_IDS.get(operation_status or "", 0)
