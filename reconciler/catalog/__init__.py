"""Postgres: the gateway's rows, and our own passes, marks, ledger and lease.

The only user of asyncpg, SQLAlchemy and Alembic. `open.open_catalog` makes the stores that
`reconciler.ports` declares; `migrate` brings the schema to its head; `inspection.inspect` checks
the schema that is there.
"""
