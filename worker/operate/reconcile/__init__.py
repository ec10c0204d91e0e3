"""`reconcile`: where the ledger and Tradovate differ. See README.md."""
