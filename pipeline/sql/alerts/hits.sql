SELECT rule_id, event_id, event_time, group_fields, group_values FROM told
SEMI JOIN bases USING (rule_id)
