"""What live mode needs besides the settings: the rights of the database role."""

from reconciler.engine.runtime.context import Ports, RuntimeSettings
from reconciler.model import DeleteMode, Mode


async def require_rights(ports: Ports, settings: RuntimeSettings) -> None:
    """Raise Halt in live mode if the role may not remove rows, or may not bring back what it removed."""
    if settings.mode is Mode.LIVE:
        undoable = settings.policy.delete_mode is not DeleteMode.DIRECT
        await ports.marks.require_rights(undoable=undoable)
