"""The lanes: what is due leaves the ledger here, in batches, within one budget, and comes back as results."""
