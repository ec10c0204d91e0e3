"""The bridge for long: ten thousand signatures while connections are dropped at random."""
