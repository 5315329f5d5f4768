"""`trailweave repair`, `verify` and `redrive`: what an operator does when something was lost, or may have been."""
