-- The hits that a correlation asks for; a version of a rule that kept no field of its group is passed over there.
SELECT DISTINCT rule_id, event_id, event_time, group_fields, group_values FROM told_versions
SEMI JOIN bases USING (rule_id)
