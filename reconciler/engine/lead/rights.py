"""What live mode needs besides the settings: the rights of the database role."""

from reconciler.engine.runtime.context import Ports, Steering
from reconciler.model import DeleteMode, Mode


async def require_rights(ports: Ports, steering: Steering) -> None:
    """Raise Halt in live mode if the role may not remove rows, or may not bring back what it removed."""
    if steering.mode is Mode.LIVE:
        undoable = steering.policy.delete_mode is not DeleteMode.DIRECT
        await ports.marks.require_rights(undoable=undoable)
