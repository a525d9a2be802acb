"""Collect: claim due marks, delete, confirm, and purge what was hidden."""
