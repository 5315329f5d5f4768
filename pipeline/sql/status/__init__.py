"""What `trailweave status` asks of the tree."""
