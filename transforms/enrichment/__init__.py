"""What an event's values mean beyond the record: who owns an address, which tool called, what an operation can do."""
