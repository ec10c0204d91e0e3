"""Kafka in: a record becomes an event or a reason, never an exception; what cannot be read is parked."""
