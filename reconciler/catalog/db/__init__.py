"""Postgres itself: connections, errors, configuration, key ranges."""
