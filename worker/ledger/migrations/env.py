"""Alembic's entry: writes the migrations as SQL, which `schema.py` runs on a connection of the ledger's own."""

from alembic import context

context.configure(dialect_name="postgresql", transactional_ddl=False)  # `schema.py` has the transaction
context.run_migrations()
