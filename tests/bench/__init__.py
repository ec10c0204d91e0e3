"""Numbers, printed beside their marks and never asserted on a clock. `make bench` runs them all."""
