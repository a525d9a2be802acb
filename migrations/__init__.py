"""Alembic's environment and the migrations; in the wheel they lie at `reconciler/migrations`."""
