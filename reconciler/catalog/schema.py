"""The name and the version of our own schema: apart from the tables, since SQLAlchemy is slow to load."""

from __future__ import annotations

SCHEMA = "reconciler"

HEAD_REVISION = "0002"
"""The newest migration, so that readiness can be told without loading Alembic (a test compares)."""
