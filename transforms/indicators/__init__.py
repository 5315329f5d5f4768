"""Indicators of compromise: lists of addresses, domains, keys and the like by others, and events that show one."""
