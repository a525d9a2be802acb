"""Which hidden object comes back for the rows that name its key."""

from collections.abc import Sequence
from datetime import timedelta

from reconciler.model import HiddenObject, Record


def object_for(
    hidden: Sequence[HiddenObject], rows: Sequence[Record], upload_window: timedelta, *, vouched: bool
) -> HiddenObject | None:
    """The object that the rows mean, among the hidden ones of their key, newest first; None if none fits.

    A row that a trigger let in is `vouched`: within the window of its upload only the newest object can be
    meant, whatever size and time the gateway wrote (R-48). Otherwise size and time have to fit.
    """
    if vouched:
        return next(iter(hidden), None)
    return next((each for each in hidden if fits(each, rows, upload_window)), None)


def fits(hidden: HiddenObject, rows: Sequence[Record], upload_window: timedelta) -> bool:
    """Whether the hidden object is what some row names, by size and time.

    A row written later than an upload takes after the object was deleted belongs to another upload.
    """
    latest = hidden.hidden_at + upload_window
    return any(
        row.size_bytes in {None, 0, hidden.hidden.size}
        and (row.created_at is None or row.created_at <= latest)
        for row in rows
    )
