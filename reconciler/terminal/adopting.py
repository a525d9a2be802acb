"""`adopt-bucket`: its arguments, and what it tells the person who has to decide."""

from __future__ import annotations

from typing import Any

from reconciler.terminal.keeping import Make

TEXT = """\
Bucket and database name each other, and each leader writes a new nonce to both. Where they do not agree,
everything halts: two copies of one database act on the bucket, or this one was restored from a backup or
failed over, or the bucket lost its marker, or the settings name another bucket than before. Only a person
can know which database is the right one.

Run this with the settings of the database that is to go on. Without --yes it says what it found and
changes nothing. With --yes the bucket becomes this database's under a new site id: every other database
that acted on it halts. All marks are withdrawn, and found anew by later passes after their delay. A database
restored from an old backup lacks newer rows, whose objects then look like orphans: see that its rows are
complete first, and keep RECONCILER_DRY_RUN on until `reconciler plan` shows what you expect.

Exits 0 when it was settled or nothing had to be, 1 where it could not be done now, 2 where --yes is
missing, 3 where the marker cannot be read."""


def add_adopt_bucket(commands: Any, make: Make) -> None:  # noqa: ANN401 - argparse's own type is private
    """`reconciler adopt-bucket [--yes] [--wait 60s]`."""
    made = make(
        commands,
        "adopt-bucket",
        "settle which database a bucket belongs to",
        TEXT,
        "  reconciler adopt-bucket\n  reconciler adopt-bucket --yes",
    )
    made.add_argument("--yes", action="store_true", help="do it; otherwise only say what was found")
    made.add_argument(
        "--wait", default="60s", metavar="60s", help="how long to wait for the lease (default 60s)"
    )
