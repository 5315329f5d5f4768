"""`python -m pipeline` is `trailweave`."""

from pipeline.cli import main

main()
