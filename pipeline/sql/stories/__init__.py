"""Questions of the story commands."""
