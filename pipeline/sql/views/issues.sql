-- One row per event that issued a credential or began a session; `issuer_session_id` is the session that asked for it.
CREATE OR REPLACE VIEW issues AS
SELECT
    first_event_id AS issuing_event_id,
    first_seen AS issued_time,
    operation,
    session_id AS issuer_session_id,
    identity_type AS issuer_type,
    identity_sub_type AS issuer_sub_type,
    identity_name AS issuer_name,
    identity_arn AS issuer_arn,
    on_behalf_of_user_id AS issuer_user_id,
    invoked_by AS issuer_service,
    issued_access_key_id,
    issued_principal_id,
    issued_arn,
    issued_session_id AS expected_session_id,
    issued_user_name,
    issued_expiration_time,
    issued_source_identity,
    issued_session_tags,
    issued_account_id,
    issued_role_name,
    switched_from_arn,
    shared_event_id,
    account_id,
    day
FROM tree.sessions
WHERE kind = 'link';
