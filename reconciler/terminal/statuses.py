"""Exit statuses of the contract, and those that shells give to what is ended by a signal."""

from __future__ import annotations

DONE, FAILED, USAGE, STOPPED = 0, 1, 2, 3
"""STOPPED is halted or tripped."""
INTERRUPTED = 130
"""Ctrl-C, as shells report it (128 + SIGINT)."""
TERMINATED = 143
"""SIGTERM (128 + SIGTERM) of a command that only looks. `once` answers with its report, `run` with 0."""
NO_READER = 141
"""Whoever read our output has gone (128 + SIGPIPE)."""
