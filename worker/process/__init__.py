"""What `run` and `bridge` need as processes: checks at the start, upkeep, the deadline of an exit."""
