"""The partner's API: the only place that talks to Tradovate."""
