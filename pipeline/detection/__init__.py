"""`trailweave rule`, `hunt` and `enrich`: what events are looked at with, and searching history."""
