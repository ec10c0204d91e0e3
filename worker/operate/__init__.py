"""What operators do, each action once, without printing (README.md)."""
