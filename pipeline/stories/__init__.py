"""`trailweave story` and `stitch`: who did it, how they got there, what they did."""
