"""Checks of other tables: namesakes, other collectors, and what refers to media."""

from collections.abc import Sequence

from reconciler.catalog.db.config import split_table
from reconciler.model import (
    Check,
    SeenTable,
)
from reconciler.operations.checks.results import ok, skip, warn
from reconciler.operations.other_tables import OtherTables
from reconciler.planning.conventions import plainly
from reconciler.planning.formatting import counted


def namesakes(tables: Sequence[SeenTable], *mapped: str) -> Sequence[Check]:
    """Tables that have a mapped one's name, in another schema or another case: a warning where they have
    rows, or may have.
    """
    checks = []
    for name in filter(None, mapped):
        ours = ".".join(split_table(name))
        alike = [
            table
            for table in tables
            if table.name != ours and plainly(_bare(table.name)) == plainly(_bare(ours))
        ]
        shown = ", ".join(f"{table.name} ({_rows(table)})" for table in alike[:SHOWN])
        if any(table.rows or not table.readable for table in alike):
            have = next((_rows(table) for table in tables if table.name == ours), "not there")
            advice = "map the one that your app writes; where several are in use, name the others too"
            checks.append(warn("tables", f"{ours} ({have}) has namesakes: {shown}", advice))
        elif alike:
            checks.append(ok("tables", f"{ours} has namesakes: {shown}"))
    return checks or [ok("tables", "no other table has the name of a mapped one, in any schema or case")]


def _rows(table: SeenTable) -> str:
    """About how many: the statistics count where there are many."""
    if not table.rows:
        return "no row" if table.readable else "not readable"
    return f"about {counted(table.rows, 'row')}"


CONDUITS_OWN = "mediacleanupapprovals"
"""A table that Conduit makes for its cleaner, as `plainly` gives its name."""


def collectors(tables: Sequence[SeenTable], quarantine: str | None = None) -> Sequence[Check]:
    """Another collector on this bucket, by the tables that it makes. The only one known is Conduit's.

    `quarantine`: the other bucket for copies, which are out of its reach there.
    """
    found = [table.name for table in tables if plainly(_bare(table.name)) == CONDUITS_OWN]
    if not found:
        return [ok("collectors", "no table of another collector that is known")]
    detail = (
        f"{found[0]}: Conduit has a cleaner of its own, which deletes what has no row after 48 h, without a"
        " second look; to it, what is written under .reconciler/"
        f" ({'identity' if quarantine else 'identity, quarantine'}) has no row"
    )
    advice = "switch its reconciliation off"
    if quarantine is None:
        advice += ", or put the copies out of its reach with RECONCILER_QUARANTINE__BUCKET"
    return [warn("collectors", detail, f"{advice}; where it takes the identity object, everything halts")]


SHOWN = 5
"""Names that a line shows."""


def _bare(name: str) -> str:
    """A table's name without its schema."""
    return name.partition(".")[2]


def others(found: OtherTables) -> Sequence[Check]:
    """Columns that name objects of the managed prefixes and are not mapped."""
    checks = []
    for name, example in found.named.items():
        column = name.rpartition(".")[2]
        if column in found.variants:
            advice = f"add {column} to RECONCILER_CATALOG__VARIANT_COLUMNS, unless it names the same object"
        else:
            advice = f"add {name} to RECONCILER_CATALOG__ALSO_REFERENCED, and it is kept"
        detail = f"{name} names objects too, such as {example!r}: what it alone names is an orphan"
        checks.append(warn("other tables", detail, advice))
    for name, (example, statement, column) in found.held.items():
        detail = f"{name} names objects too, such as by {example!r}: what it alone names is an orphan"
        advice = f"run the next line in psql, and add {column} to RECONCILER_CATALOG__ALSO_REFERENCED"
        checks.append(warn("other tables", detail, f"{advice}:\n{statement}"))
    if not checks:
        looked = counted(found.looked, "table")
        detail = f"samples of {looked} name no object of the managed prefixes that the mapping does not"
        checks.append(ok("other tables", detail))
    if found.unreadable:
        names = ", ".join(found.unreadable[:SHOWN]) + (" …" if len(found.unreadable) > SHOWN else "")
        unread = counted(len(found.unreadable), "table")
        checks.append(skip("other tables", f"{unread} could not be read, as by this role's rights: {names}"))
    return checks
