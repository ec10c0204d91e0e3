"""The only place that creates clients, pools and brokers: a replica and a bridge, made of their settings."""
