"""Access logs of files and buckets, brought to the rows."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from reconciler.app import wiring
from reconciler.app.commands import open_database
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import Imported, Uncounted
from reconciler.operations.access_import import ImportTerms, Told, import_logs
from reconciler.operations.log_files import Log, of_bucket, of_file
from reconciler.planning.access_logs import Address
from reconciler.settings import Settings
from reconciler.stores.s3 import open_bucket

BUCKET = "s3://"


async def import_accesses(
    settings: Settings, sources: Sequence[str], address: Address, told: Told
) -> Imported:
    """Read files, folders of files and `s3://BUCKET/PREFIX`, in that order. Raises as `import_logs` does."""
    terms = ImportTerms(
        address=address,
        prefixes=tuple(settings.bucket.prefixes),
        uncounted=Uncounted(agents=settings.media.uncounted_agents),
        now=time.time,
    )
    async with AsyncExitStack() as stack:
        catalog = await stack.enter_async_context(open_database(settings))
        return await import_logs(catalog.access_logs, _logs(settings, sources, stack), terms, told)


async def _logs(
    settings: Settings, sources: Sequence[str], stack: AsyncExitStack
) -> AsyncIterator[Sequence[Log]]:
    for source in sources:
        if not source.startswith(BUCKET):
            yield [of_file(path) for path in _files(Path(source))]
            continue
        name, _, prefix = source.removeprefix(BUCKET).partition("/")
        if not name:
            message = f"{source}: write s3://BUCKET/PREFIX"
            raise NotDone(ErrorKind.INVALID, "no_such_log", message, log=source)
        config = replace(wiring.bucket_config(settings), name=name, setting=source, quarantine=None)
        bucket = await stack.enter_async_context(open_bucket(config))
        async for page in of_bucket(bucket, name, prefix):
            yield page


def _files(path: Path) -> Sequence[Path]:
    """The file, or those in a folder by their names."""
    return sorted(each for each in path.iterdir() if each.is_file()) if path.is_dir() else [path]
