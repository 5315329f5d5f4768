"""What the maker of profiles asks."""
