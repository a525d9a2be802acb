"""The name and version of our own schema. Kept apart from the tables, since SQLAlchemy is slow to load."""

from dataclasses import dataclass

SCHEMA = "reconciler"

HEAD_REVISION = "0022"
"""The newest migration, so that readiness is known without loading Alembic (a test compares the two)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaVersion:
    """Version of our own schema: its `revision` (None before the first migration), and the `oldest`
    program that may use it, by that program's newest migration; None where the schema declares none.

    Revisions are numbers of four digits, so they compare as text.
    """

    revision: str | None = None
    oldest: str | None = None

    @property
    def newer(self) -> bool:
        """Whether a newer program has migrated it."""
        return self.revision is not None and self.revision > HEAD_REVISION

    @property
    def misfit(self) -> str | None:
        """Why this program cannot use it, in one line that says what to do; None where it can.

        A newer schema is used where its migrations allow it: while replicas are replaced one by one, old
        and new ones work at the same time (expand first, contract later).
        """
        if self.revision == HEAD_REVISION:
            return None
        if self.newer and self.oldest is not None and self.oldest <= HEAD_REVISION:
            return None
        if self.newer:
            return (
                f"the database's schema is at revision {self.revision}, which this version"
                f" ({HEAD_REVISION}) cannot use any more: run a newer version of the program"
            )
        found = f"at revision {self.revision}" if self.revision else "not there"
        return (
            f"the database's schema is {found}, and this version needs {HEAD_REVISION}:"
            " run `reconciler migrate`"
        )


def declaration(oldest: str | None) -> str:
    """The SQL by which a migration declares the programs that may use the schema it leaves."""
    comment = "NULL" if oldest is None else f"'{OLDEST}{oldest}'"
    return f"COMMENT ON TABLE {SCHEMA}.alembic_version IS {comment}"


OLDEST = "oldest program that may use this schema: "


def declared(comment: str | None) -> str | None:
    """The revision in that comment."""
    return comment.removeprefix(OLDEST) if comment and comment.startswith(OLDEST) else None
