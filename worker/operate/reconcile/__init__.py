"""`reconcile`: where the ledger and Tradovate differ (README.md)."""
