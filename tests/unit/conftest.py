"""Hypothesis without a deadline: the machine's speed is never asserted."""

from hypothesis import settings

settings.register_profile("unit", deadline=None)
settings.load_profile("unit")
