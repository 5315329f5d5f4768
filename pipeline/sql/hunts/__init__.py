"""Questions of the hunt command."""
