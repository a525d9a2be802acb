"""Tells others what has happened."""
