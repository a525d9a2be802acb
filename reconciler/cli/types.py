"""Types whose modules load slowly, for annotations: a type checker sees them, a running command none."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.app import Catalog, Undone
    from reconciler.cli.output import Output, Part
    from reconciler.operations.findings import Group
    from reconciler.operations.init import Looked
    from reconciler.operations.passes import Decided
    from reconciler.operations.status import Status

    __all__ = ["Catalog", "Decided", "Group", "Looked", "Output", "Part", "Status", "Undone"]
else:

    def __getattr__(_: str) -> object:
        return Any
