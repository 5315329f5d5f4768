"""`trailweave status`: what has become of everything that was delivered."""
