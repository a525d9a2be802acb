"""Erasures with proof: written down before the first deletion, carried on by whoever leads, and certified."""

from reconciler.catalog.recovery.cases.carrying_out import PostgresErasures

__all__ = ["PostgresErasures"]
