"""`import`: what a firm has at Tradovate already, out of a file into the ledger."""
