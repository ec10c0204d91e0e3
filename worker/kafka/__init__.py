"""Kafka as every room needs it: topic names, security, administration, and records that aiokafka alone cannot carry."""
