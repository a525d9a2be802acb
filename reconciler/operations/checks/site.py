"""Checks of the site: its settings, its pause, to whom the bucket belongs, its clocks."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from reconciler.errors import Untold
from reconciler.model import (
    Check,
    Identity,
    InventoryUsed,
    Lineage,
    Mode,
    Pause,
    SeenTable,
    SwitchedOff,
)
from reconciler.model.moments import moment
from reconciler.operations.checks.results import fail, ok, warn
from reconciler.planning import formatting, inventories
from reconciler.planning.clocks import STORE, WARN_APART, Compared
from reconciler.settings import SettingReport, Source, origin_text, overridden, pinned

LATE = "sweeps fail until the next one is delivered: are inventories still made?"
CLOCKS_ADVICE = "keep all three in step with NTP; ages and due times go by the database's"


def configuration(mode: Mode, prefixes: Sequence[str]) -> Sequence[Check]:
    """The settings were read, so they are valid; what they will do is worth a line."""
    shown = ", ".join(repr(prefix) for prefix in prefixes)
    if mode is Mode.DRY_RUN:
        return [ok("configuration", f"valid; dry run, nothing will be deleted; managed prefixes {shown}")]
    return [ok("configuration", f"valid; live, what is due will be deleted; managed prefixes {shown}")]


def settings(reports: Sequence[SettingReport]) -> Sequence[Check]:
    """Where each value came from, and what of the environment is not in force."""
    given: dict[str, list[str]] = {}
    for each in reports:
        if each.origin.source is not Source.DEFAULT:
            given.setdefault(origin_text(each.origin), []).append(each.name.removeprefix("RECONCILER_"))
    rest = len(reports) - sum(map(len, given.values()))
    checks = [ok("settings", f"from {where}: {', '.join(names)}") for where, names in given.items()]
    checks.append(ok("settings", f"the other {rest} have their defaults; `reconciler config` prints all"))
    checks += [ok("settings", line) for line in pinned(reports)]
    return [*checks, *(warn("settings", line, "unset one of the two") for line in overridden(reports))]


def cdn_urls(template: str | None, column: str | None, media: SeenTable | None) -> Sequence[Check]:
    """Whether anything tells the URLs that a CDN is to forget, as far as the table was seen."""
    if template or media is None or not media.readable or media.column(column or "") is not None:
        return []
    where = f"the media table has no column {column}" if column else "no column has them"
    return [
        fail(
            "cdn",
            f"no URL is ever purged: {where}, and RECONCILER_CDN__URL is not set",
            "set RECONCILER_CDN__URL to what makes a URL of a key, such as https://cdn.example/{key}",
        )
    ]


async def cdn(verify: Callable[[], Awaitable[str]], provider: str) -> Sequence[Check]:
    """What the provider says of our token, asked without purging anything."""
    advice = "until it is mended, what was deleted is still served from the CDN's caches"
    try:
        return [ok("cdn", f"{provider}: {await verify()}")]
    except Untold as error:
        return [fail("cdn", f"{provider}: {error}", advice)]


def pause(standing: Pause) -> Sequence[Check]:
    """Whether an operator has stopped every deletion."""
    if standing.paused:
        resume = "run `reconciler resume` when they may go on"
        return [warn("pause", f"{formatting.pause(standing)}: nothing is deleted", resume)]
    return [ok("pause", "deletions are not paused")]


async def webhook(ask: Callable[[], Awaitable[str]], off: SwitchedOff | None) -> Sequence[Check]:
    """Whether the receiver of events answers, asked for its options; and whether it wants events at all."""
    if off is not None:
        advice = "mend the receiver, then `reconciler events resume webhook`"
        return [fail("webhook", f"switched off since {moment(off.at)}: {off.reason}", advice)]
    try:
        return [ok("webhook", await ask())]
    except ValueError as error:
        return [fail("webhook", str(error), "events wait in the database until they can be sent")]


def queue(waiting: int, *, sets_aside: bool) -> Sequence[Check]:
    """The queue of the store's events, which answers."""
    says = f"it can be read; about {formatting.counted(waiting, 'message')} wait"
    if sets_aside:
        return [ok("queue", says)]
    advice = "give it a dead-letter queue, where they could be looked at"
    return [warn("queue", f"{says}; messages that cannot be read will be deleted", advice)]


def identity(tie: Identity | None, fault: str, lineage: Lineage) -> Sequence[Check]:
    """Whose bucket it is: a foreign one has raised Halt before. And by what a restore would be noticed."""
    if fault:
        checks = [fail("identity", fault, "complete the rows first, then run `reconciler adopt-bucket`")]
    elif tie is None:
        checks = [ok("identity", "bucket and database are not tied yet; the first `once` or `run` ties them")]
    else:
        checks = [ok("identity", f"bucket and database are tied as site {tie.site_id}")]
    untold = [UNTOLD[name] for name in UNTOLD if getattr(lineage, name) is None]
    if untold:
        advice = "grant this role EXECUTE on what tells it, or mind that after a restore (docs/safety.md)"
        return [*checks, warn("restores", f"the server does not tell {', '.join(untold)}", advice)]
    return [*checks, ok("restores", "noticed by system identifier, oids, timeline and position in the log")]


UNTOLD = {
    "cluster": "its system identifier (pg_control_system), which another server would not share",
    "timeline": "its timeline (pg_walfile_name), which a recovery to a point in time raises",
    "wal": "its position in the log (pg_current_wal_flush_lsn), which a snapshot puts back",
}
"""What a role or a provider may keep from us, and what goes unnoticed then."""


def inventory(used: InventoryUsed, now: datetime, max_age: timedelta) -> Sequence[Check]:
    """The newest inventory, of a configuration that was found to do."""
    if reason := inventories.out_of_date(used, None, now, max_age):
        return [fail("inventory", reason.partition(":")[0], LATE)]
    age = formatting.age(now - used.began_at)
    return [ok("inventory", f"sweeps take {used.name}, which began {age} ago")]


def clocks(compared: Compared) -> Sequence[Check]:
    """The database's clock, by which everything is decided, the store's and this machine's."""
    if compared.halts:
        return [fail("clocks", f"{compared.line}: nothing will be claimed", CLOCKS_ADVICE)]
    if compared.warns:
        return [warn("clocks", compared.line, CLOCKS_ADVICE)]
    which = "database, store and this machine" if STORE in compared.ahead else "database and this machine"
    return [ok("clocks", f"{which} agree within {WARN_APART.total_seconds():.0f} s")]
