"""From the bytes of an object to the bytes of its records: inflate, cut, split. Pure, and bounded in memory."""
