"""Deleted objects and rows that can be restored, until they are purged."""
