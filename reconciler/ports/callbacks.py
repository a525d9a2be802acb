"""The decisions that the catalog asks of planning in the middle of a transaction."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from reconciler.model import Backlog, Decision, Mark, PassKind, Record, Tally

Decide = Callable[[Mark, Sequence[Record], datetime], Decision]
"""Pure. Given the mark, every row that names its key now, and the server's time."""


Cap = Callable[[Backlog, Mapping[PassKind, Tally]], Mapping[PassKind, str]]
"""Pure. Given the batch (`pending`) with what was claimed in 24 h (`gone`), and what the last released
pass of each kind saw. Returns why the marks of a kind must not be claimed now."""
