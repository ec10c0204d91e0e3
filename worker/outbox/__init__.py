"""Ledger out: what ended flows have to tell, onto the outcome topics."""
