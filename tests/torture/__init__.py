"""The whole system under faults, and an oracle that reads only what can be seen from outside."""
