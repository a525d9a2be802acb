"""Whether this database knows every erasure of its bucket. One that was restored from a backup may not."""

from collections.abc import Sequence

from reconciler.engine.runtime.context import Ports
from reconciler.errors import Halt
from reconciler.planning import certificates
from reconciler.planning.formatting import counted

NAMED = 3


async def newer(ports: Ports) -> Sequence[str]:
    """The certificates in the bucket that this database does not know, as the keys of their copies."""
    return certificates.unknown(await ports.certificates.names(), await ports.erasures.digests())


async def require_known(ports: Ports) -> None:
    """Raise Halt where what was erased may have come back with a backup."""
    if names := await newer(ports):
        raise Halt(come_back(names))


def come_back(names: Sequence[str]) -> str:
    """What a person has to know, and to do."""
    told = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
    return (
        f"the bucket has {counted(len(names), 'certificate')} of erasures that this database does not know:"
        f" {told}. It was restored from before them, so what was erased may be back; nothing is deleted or"
        " brought back until `reconciler erase --replay` erases it again"
    )
