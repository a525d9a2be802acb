"""How fast hidden objects come back from quarantine, and how fast their copies are purged."""

from __future__ import annotations

from reconciler.embedded.seaweedfs import EmbeddedS3
from tests.servers import execute
from tools.benchmarks.corpus import PREFIX
from tools.benchmarks.deletion import LIVE
from tools.benchmarks.figures import TIMES, Figure, at_least, at_most, for_comparison
from tools.benchmarks.programs import ProgramFailed, Run
from tools.benchmarks.site import BUCKET, RECONCILER, Site, once, reconcile
from tools.benchmarks.store import opened, s5cmd, upload

SETTINGS = {**LIVE, "DELETE_MODE": "quarantine", "MAX_DELETES_PER_SECOND": "unlimited"}


def undo(site: Site, keys: int) -> list[Figure]:
    """`undo` of everything in quarantine, its start included, against `s5cmd mv` of as many objects."""
    with opened() as store, site.database(0) as database:
        upload(store, "other", keys)
        moved = s5cmd(store, "mv", f"s3://other/{PREFIX}*", "s3://other/back/")
        _hide(database, store, keys)
        command = [*RECONCILER, "undo", "--since", "1d", "--json"]
        back = reconcile(database, store.endpoint_url, SETTINGS, store.environment(), command)
    if (report := back.report())["objects"] != keys:
        raise ProgramFailed(f"{keys:,} objects should have come back: {report}")
    title = f"undo of {keys:,} objects in quarantine"
    return [
        at_least(title, "against s5cmd mv, start included", moved.seconds / back.seconds, 1, TIMES),
        at_most(title, "processor time of its own against s5cmd mv", back.cpu / moved.cpu, 1, TIMES),
        for_comparison(title, "keys a second", keys / back.seconds),
        for_comparison(title, "keys a second, s5cmd mv", keys / moved.seconds),
    ]


def purge(site: Site, keys: int) -> list[Figure]:
    """Purge of everything in quarantine, by a pass that finds nothing else, against `s5cmd rm`."""
    with opened() as store, site.database(0) as database:
        upload(store, "other", keys)
        removal = s5cmd(store, "rm", f"s3://other/{PREFIX}*")
        _hide(database, store, keys)
        execute(database, "UPDATE reconciler.hidden SET hidden_at = hidden_at - interval '30 days'")
        run = once(database, store.endpoint_url, SETTINGS, store.environment())
        left = s5cmd(store, "ls", f"s3://{BUCKET}/*").lines()
    duration = run.report()["duration_seconds"]
    if left > keys // 10:
        raise ProgramFailed(f"every copy should have gone; {left:,} objects are left")
    title = f"purge of {keys:,} copies"
    return [
        at_least(title, "against s5cmd rm, the whole pass", removal.seconds / duration, 0.9, TIMES),
        at_most(title, "processor time of its own against s5cmd rm", run.cpu / removal.cpu, 1.5, TIMES),
        for_comparison(title, "keys a second", keys / duration),
        for_comparison(title, "keys a second, s5cmd rm", keys / removal.seconds),
    ]


def _hide(database: str, store: EmbeddedS3, keys: int) -> Run:
    """Move as many objects into quarantine."""
    upload(store, BUCKET, keys)
    run = once(database, store.endpoint_url, SETTINGS, store.environment())
    if (report := run.report())["deleted"]["objects"] != keys:
        raise ProgramFailed(f"{keys:,} objects should be in quarantine: {report}")
    return run
