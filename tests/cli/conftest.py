"""Logging as it was: commands that run in the test's own process set it up for a captured stderr."""

from tests.support.own_logging import own_logging

__all__ = ["own_logging"]
