"""Postgres: the gateway's rows, and our own passes, marks, ledger and lease.

The only user of asyncpg, SQLAlchemy and Alembic. `open.open_catalog` gives the stores that
`reconciler.ports` asks for; `migrate` brings the schema to its head; `inspection.inspect` looks at
what is there.
"""
