"""What operators use: the console and doctor."""
