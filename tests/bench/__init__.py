"""Figures beside their targets; nothing is asserted on a clock. `make bench` measures them."""
