"""What tests stand on: waiting on conditions, free ports, a real broker, the program as a user starts it."""
