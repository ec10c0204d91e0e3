"""Tradovate's alert signals become Kafka records: sockets in, `md.signed` and `admin.alert` out."""
