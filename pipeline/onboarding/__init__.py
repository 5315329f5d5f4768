"""What an AWS account needs so that trailweave can read its trail, and `trailweave check`, which tries it."""
