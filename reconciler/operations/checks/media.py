"""What the media service needs of the tables, for those who run it."""

from collections.abc import Sequence

from reconciler.catalog.media_tables.served_columns import ServedColumns
from reconciler.model import Check
from reconciler.operations.checks.results import ok, warn
from reconciler.planning.formatting import counted

NAME = "media service"


def served(found: ServedColumns) -> Sequence[Check]:
    """Whether it knows who asks, and can write down what is looked at."""
    return [_callers(found), _accesses(found)]


def links(secrets: int, told: Sequence[str]) -> Sequence[Check]:
    """Whether links can be signed, where they are to be; `told` is what is wrong with the file."""
    checks = [warn(NAME, f"the links' secrets: {each}") for each in told]
    if not secrets and not told:
        checks.append(warn(NAME, "the links' secrets: there is none, so no link can be made"))
    return checks or [ok(NAME, f"links are signed; {counted(secrets, 'secret')} known")]


def _callers(found: ServedColumns) -> Check:
    setting = "RECONCILER_CATALOG__KEY_COLUMNS__KEY_HASH"
    if not found.hashed:
        return ok(
            NAME, f"no column has the virtual keys' SHA-256 ({setting}), so it could serve only to everybody"
        )
    if found.odd:
        return warn(
            NAME,
            f"{found.hashed}: {found.odd:,} of {counted(found.sampled, 'value')} looked at are no SHA-256 in"
            " lower-case hexadecimal digits, and whoever presents such a virtual key gets nothing",
            f"name the column that has it: {setting}",
        )
    return ok(NAME, f"who presents a virtual key is known by {found.hashed}")


def _accesses(found: ServedColumns) -> Check:
    if not found.accesses:
        return ok(NAME, "no column is mapped for accesses, so none is written")
    named = " and ".join(found.accesses)
    if found.grant:
        return warn(NAME, f"this role may not write accesses to {named}", found.grant)
    return ok(NAME, f"accesses are written to {named}")
