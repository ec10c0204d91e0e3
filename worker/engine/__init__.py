"""Pure: what an event or a result changes. No SQL, no clock, no I/O."""
