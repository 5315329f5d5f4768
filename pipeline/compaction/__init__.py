"""`trailweave compact`: the small files of quiet partitions become few large ones."""
