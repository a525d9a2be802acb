"""Checks of the gateway's tables, and of what we may do to them."""

from collections.abc import Sequence

from reconciler.catalog.media_tables import matching
from reconciler.catalog.media_tables.inspection import SchemaReport
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.media_tables.trial import Trial
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.model import (
    Check,
    Mode,
    Policy,
)
from reconciler.operations.checks.results import fail, ok, warn
from reconciler.planning import formatting, group_policies
from reconciler.planning.formatting import counted


def database(report: SchemaReport) -> Sequence[Check]:
    """The server, our own schema, and the mapped tables, columns, index and privileges."""
    checks = [ok("database", f"Postgres {report.release}, connected as {report.role}")]
    refused = report.revision is None and report.rights is not None and not report.rights.own
    if refused:
        checks.append(fail("schema", "this role may not use our own schema, if it is there"))
    elif misfit := report.version.misfit:
        found, _, advice = misfit.partition(": ")
        checks.append(fail("schema", found, advice))
    else:
        newer = ", which a newer version made and this one may use" if report.version.newer else ""
        checks.append(ok("schema", f"at revision {report.revision}{newer}"))
    checks += [fail("mapped tables", *_advised(fault)) for fault in report.faults]
    checks += [warn("mapped tables", *_advised(warning)) for warning in report.warnings]
    if not report.faults:
        checks.append(ok("mapped tables", "every table and column that is mapped is there and readable"))
    checks += [warn("locks", *_advised(blocker)) for blocker in report.blockers]
    if report.byte_order_index:
        checks.append(ok("index", f"{report.byte_order_index} serves the sweep in byte order"))
    if not report.faults and not refused:
        checks.append(_triggers(report.triggers, generated=report.generated_key))
        if report.at_head:
            checks.append(_departures(report))
    return checks


MANY_DEPARTURES = 1_000_000
"""Notes of rows that left, some hundred bytes each."""

GUARDS = {
    Triggers.DISABLED: "disabled",
    Triggers.DEMOTED: "no longer ENABLE ALWAYS, so replicas' and loaders' sessions skip them",
    Triggers.OVERTAKEN: "followed by another trigger, which may change the row behind them",
    Triggers.OUTDATED: "not those of this version, of these column names, or not on every partition",
}


def _triggers(found: Triggers, *, generated: bool) -> Check:
    install = "run `reconciler migrate --install-triggers`"
    if generated:
        unseen = "none can watch a generated storage key; a deletion waits for open transactions instead"
        if found is Triggers.ABSENT:
            return ok("triggers", f"not installed: {unseen}")
        return warn("triggers", f"of another mapping: {unseen}", "run `reconciler migrate --remove-triggers`")
    if found is Triggers.INSTALLED:
        return ok("triggers", "installed: a row whose object is being deleted is refused, or restored")
    if found is Triggers.ABSENT:
        return ok("triggers", f"not installed: a deletion waits for open transactions instead; {install}")
    return warn("triggers", f"{GUARDS[found]}; until then a deletion waits for open transactions", install)


def _departures(report: SchemaReport) -> Check:
    waiting = f"; {report.departures:,} wait for a pass" if report.departures else ""
    install = "run `reconciler migrate --install-triggers`"
    if report.noting is None and report.generated_key:
        return ok("departures", f"not noted: the objects of deleted records are left to the sweep{waiting}")
    if report.noting is None:
        detail = f"not noted: the objects of deleted records are left to the sweep; {install}"
        return ok("departures", f"{detail}{waiting}")
    if not report.noting:
        what = "not noted on every partition, or not by the triggers of this version"
        return warn("departures", f"{what}; what is not noted is left to the sweep{waiting}", install)
    if report.departures > MANY_DEPARTURES:
        advice = "start the program: a pass takes them, 100,000 at once"
        return warn("departures", f"noted{waiting}, and the notes take room", advice)
    left = "what TRUNCATE or logical replication removes is left to the sweep"
    return ok("departures", f"noted: the objects of deleted records go within seconds, {left}{waiting}")


def adoption(report: SchemaReport) -> Sequence[Check]:
    """Whether sweeps that are to adopt can: only where each row that leaves the table is noted."""
    if report.noting:
        return [ok("adoption", "sweeps adopt objects without a row: the triggers note each row that leaves")]
    why = "RECONCILER_ADOPTION__ENABLED adopts nothing without the triggers: objects are only kept"
    return [warn("adoption", why, "run `reconciler migrate --install-triggers`")]


def rules(report: SchemaReport, policy: Policy) -> Sequence[Check]:
    """Whether rows can match each rule and be counted for each quota; what Conduit's policies leave open."""
    if report.policies is not None:
        number = formatting.counted(sum(bool(each.is_active) for each in report.policies), "active policy")
        found = [ok("rules", f"Conduit's retention policies hold: {number}")]
        return [*found, *(warn("rules", *_advised(line)) for line in group_policies.doubts(report.policies))]
    if report.types is None or report.tables is None or not (policy.rules or policy.quotas):
        return []
    misfits = matching.misfits(MediaTables(report.tables, report.types), policy)
    if misfits:
        return [fail("rules", *_advised(misfit)) for misfit in misfits]
    number = counted(len(policy.rules.each), "rule")
    quotas = f", {counted(len(policy.quotas), 'quota')}" if policy.quotas else ""
    return [ok("rules", f"{number} of retention{quotas}, which rows of these tables can match")]


def rights(report: SchemaReport, mode: Mode, *, undoable: bool) -> Sequence[Check]:
    """Whether the role may do all that deleting takes; a dry run only reads."""
    if report.rights is None:
        return []
    lacking = report.rights.lacking(undoable=undoable)
    if lacking is None:
        return [ok("rights", f"role {report.role} may lock and remove rows, and bring them back")]
    block = "\n".join(("run this as the owner of the tables, in psql:", *lacking.statements))
    if report.faults:
        return [fail("rights", lacking.what, block)]
    if mode is Mode.DRY_RUN:
        return [warn("rights", f"{lacking.what}: enough for a dry run, and live will not begin", block)]
    return [fail("rights", f"{lacking.what}: live does not begin", block)]


def tried(trial: Trial) -> Sequence[Check]:
    """What came of the gateway's own statements, which were rolled back."""
    checks = [fail("triggers", line, REINSTALL) for line in trial.broken]
    checks += [warn("triggers", f"not tried: {line}") for line in trial.untried]
    if checks:
        return checks
    return [ok("triggers", f"tried, and refused: {', '.join(trial.tried)}")]


REINSTALL = (
    "rows that your app writes fail, or pass unguarded: run `reconciler migrate --install-triggers`, or"
    " `--remove-triggers`"
)


def _advised(line: str) -> tuple[str, str]:
    """What is wrong, and what to do about it, where the line has both."""
    wrong, _, advice = line.partition("; ")
    return wrong, advice


def sides(
    table: str, rows: tuple[str | None, str | None], stored: str | None, *, made_here: bool
) -> Sequence[Check]:
    """Whether bucket and table seem to belong together: an example of each side, where there is one.

    `rows` are a storage key inside the managed prefixes and one outside, `stored` is an object's key;
    `made_here`: the table was made by `migrate`, and not by the gateway.
    """
    inside, outside = rows
    if inside is not None:
        return [ok("rows", f"there are some in the managed prefixes, such as {inside!r}")]
    example = f", and the bucket holds {stored!r}" if stored is not None else ""
    if outside is not None:
        return [
            warn(
                "rows",
                f"none is in the managed prefixes; rows are outside them, such as {outside!r}{example}",
                "correct RECONCILER_BUCKET__PREFIXES; where rows spell keys otherwise (a leading slash, an"
                " address), map a stored generated column that holds the object's key",
            )
        ]
    if stored is None:
        return [ok("rows", f"{table} is empty, and so are the managed prefixes of the bucket")]
    by_us = ", for `reconciler migrate` made it" if made_here else ""
    return [
        warn(
            "rows",
            f"{table} is empty{by_us}, and the bucket holds {stored!r}: every object would be an orphan",
            "name the table that your app writes with RECONCILER_CATALOG__MEDIA_TABLE, or its database with"
            " RECONCILER_DATABASE_URL",
        )
    ]
