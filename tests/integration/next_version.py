"""`python -m tests.integration.next_version REVISION DIRECTORY COMMAND…`: the program as a later version.

It is this one, with further migrations (written here into DIRECTORY) of which REVISION is the newest that it
knows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from alembic.config import Config

from reconciler.catalog.db import schema

NOW = schema.HEAD_REVISION
EXPANDED, CONTRACTED = "9001", "9002"

EXPAND = f"""
from alembic import op

revision, down_revision, oldest = "{EXPANDED}", "{NOW}", "{NOW}"


def upgrade():
    op.execute("ALTER TABLE reconciler.marks ADD COLUMN nullable text")
    op.execute("ALTER TABLE reconciler.ledger ADD COLUMN nullable text")
    op.execute("ALTER TABLE reconciler.passes ADD COLUMN defaulted integer NOT NULL DEFAULT 7")
    op.execute("CREATE TABLE reconciler.added (name text PRIMARY KEY)")
"""

CONTRACT = f"""
from alembic import op

revision, down_revision, oldest = "{CONTRACTED}", "{EXPANDED}", "{EXPANDED}"


def upgrade():
    op.execute("ALTER TABLE reconciler.marks DROP COLUMN nullable")
    op.execute("ALTER TABLE reconciler.ledger DROP COLUMN nullable")
    op.execute("ALTER TABLE reconciler.passes DROP COLUMN defaulted")
    op.execute("DROP TABLE reconciler.added")
"""

MIGRATIONS = {EXPANDED: EXPAND, CONTRACTED: CONTRACT}


def main(revision: str, directory: str, *command: str) -> int:
    for number, text in MIGRATIONS.items():
        if number <= revision:
            (Path(directory) / f"{number}_later.py").write_text(text)
    # Before anything else is imported that takes it over.
    schema.HEAD_REVISION = revision

    from reconciler import cli  # noqa: PLC0415
    from reconciler.catalog import migrate  # noqa: PLC0415

    ours = migrate.alembic_config

    def with_further() -> Config:
        made = ours()
        made.set_main_option("path_separator", "os")
        scripts = made.get_main_option("script_location")
        made.set_main_option("version_locations", f"{scripts}/versions:{directory}")
        return made

    vars(migrate)["alembic_config"] = with_further
    return cli.main(command)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
