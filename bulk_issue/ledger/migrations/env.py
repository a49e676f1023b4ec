"""Runs the migrations on the connection, and in the transaction, of `open_ledger`."""

from __future__ import annotations

from alembic import context

from bulk_issue.ledger.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
