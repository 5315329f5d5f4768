"""Detection rules: read, checked, compiled, and matched against a slice's records column by column."""
