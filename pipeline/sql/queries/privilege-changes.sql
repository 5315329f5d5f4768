-- Changes to who may do what: policies attached or written, trust changed, people put into groups, keys and logins
-- made, boundaries removed.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    _time,
    account_id,
    coalesce(identity_name, identity_uuid) AS identity,
    caller_ip,
    operation_name_orig AS operation,
    operation_status AS outcome,
    referenced_resource AS resource
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND operation_name_orig IN (
        'AttachUserPolicy', 'AttachRolePolicy', 'AttachGroupPolicy', 'PutUserPolicy', 'PutRolePolicy',
        'PutGroupPolicy', 'CreatePolicyVersion', 'SetDefaultPolicyVersion', 'UpdateAssumeRolePolicy',
        'AddUserToGroup', 'CreateUser', 'CreateRole', 'CreateAccessKey', 'UpdateAccessKey', 'CreateLoginProfile',
        'UpdateLoginProfile', 'AddRoleToInstanceProfile', 'DeleteUserPermissionsBoundary',
        'DeleteRolePermissionsBoundary', 'DeactivateMFADevice', 'CreateSAMLProvider', 'UpdateSAMLProvider',
        'CreateOpenIDConnectProvider', 'CreateAccountAssignment', 'AttachManagedPolicyToPermissionSet',
        'PutInlinePolicyToPermissionSet', 'PutBucketPolicy', 'PutKeyPolicy', 'CreateGrant'
    )
ORDER BY _time, event_id
