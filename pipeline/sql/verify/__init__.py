"""Questions of `verify`."""
