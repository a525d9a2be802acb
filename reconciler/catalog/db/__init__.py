"""Postgres itself: connections, errors, configuration, intervals of keys."""
