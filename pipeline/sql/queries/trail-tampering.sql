-- Calls that blind the defenders: trails, flow logs, detectors, configuration recorders and their destinations
-- stopped, deleted or narrowed. Failed attempts count too.
-- $since = '1970-01-01': first UTC day of the events
-- $until = '9999-12-31': last UTC day of the events
SELECT
    _time,
    account_id,
    region,
    operation_name_orig AS operation,
    operation_status AS outcome,
    coalesce(identity_name, identity_uuid) AS identity,
    access_key_id,
    coalesce(caller_ip, caller_ip_orig) AS source,
    referenced_resource AS resource
FROM cloud_audit_logs
WHERE day BETWEEN $since::DATE AND $until::DATE
    AND operation_name_orig IN (
        'StopLogging', 'DeleteTrail', 'UpdateTrail', 'PutEventSelectors', 'PutInsightSelectors',
        'DeleteEventDataStore', 'StopEventDataStoreIngestion', 'DeregisterOrganizationDelegatedAdmin',
        'DeleteFlowLogs', 'DeleteLogGroup', 'DeleteLogStream', 'PutRetentionPolicy', 'DeleteAlarms',
        'DisableAlarmActions', 'StopConfigurationRecorder', 'DeleteConfigurationRecorder', 'DeleteDeliveryChannel',
        'DeleteDetector', 'UpdateDetector', 'DeletePublishingDestination', 'DisassociateFromMasterAccount',
        'DisassociateFromAdministratorAccount', 'CreateFilter', 'DisableSecurityHub', 'DisableMacie',
        'DeleteAnalyzer', 'DeleteWebACL', 'DeleteLoggingConfiguration', 'LeaveOrganization'
    )
ORDER BY _time, event_id
