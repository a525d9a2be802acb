"""Keeps an S3-compatible bucket and its index table in Postgres in agreement."""

__version__ = "0.1.0"
