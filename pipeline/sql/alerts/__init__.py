"""Questions of the alert commands."""
