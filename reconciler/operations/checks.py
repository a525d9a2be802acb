"""Checks: one for each thing that a pass needs, made of what was found, with what mends it."""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from uuid import uuid4

from reconciler.catalog.db.config import split_table
from reconciler.catalog.media_tables import matching
from reconciler.catalog.media_tables.inspection import SchemaReport
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.media_tables.trial import Trial
from reconciler.catalog.media_tables.triggers import Triggers
from reconciler.errors import ReconcilerError
from reconciler.model import (
    QUARANTINE_PREFIX,
    RESERVED_PREFIX,
    Capabilities,
    Check,
    CheckStatus,
    DeleteMode,
    Deletion,
    Identity,
    Lineage,
    ListingOrder,
    Mode,
    ObjectResult,
    Pause,
    Policy,
    PutCondition,
    QuarantineBucket,
    SeenTable,
    Versioning,
)
from reconciler.operations.other_tables import OtherTables
from reconciler.planning import formatting, group_policies
from reconciler.planning.clocks import STORE, WARN_APART, Compared
from reconciler.planning.conventions import plainly
from reconciler.planning.formatting import counted
from reconciler.planning.lifecycle import early_removals, too_early
from reconciler.ports import Listing, ObjectStore, Versions
from reconciler.settings import SettingReport, Source, origin_text, overridden, pinned

ALLOW_VERSIONS = "allow these credentials s3:DeleteObjectVersion on the managed prefixes"
CLOCKS_ADVICE = "keep all three in step with NTP; ages and due times go by the database's"


def ok(name: str, detail: str) -> Check:
    return Check(name=name, status=CheckStatus.OK, detail=detail)


def warn(name: str, detail: str, advice: str = "") -> Check:
    return Check(name=name, status=CheckStatus.WARN, detail=detail, advice=advice)


def fail(name: str, detail: str, advice: str = "") -> Check:
    return Check(name=name, status=CheckStatus.FAIL, detail=detail, advice=advice)


def skip(name: str, why: str) -> Check:
    return Check(name=name, status=CheckStatus.SKIP, detail=f"not looked at: {why}")


async def attempt(name: str, act: Callable[[], Awaitable[Sequence[Check]]]) -> Sequence[Check]:
    """The checks that `act` makes; an error of the program becomes a failed one, and the rest goes on."""
    try:
        return await act()
    except ReconcilerError as error:
        return [fail(name, line) for line in str(error).splitlines()]


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


async def listed(listing: Listing, prefixes: Sequence[str]) -> Sequence[Check]:
    """Listing each prefix: permissions may differ by prefix."""
    checks = []
    for prefix in prefixes:
        page = await listing.list_page(prefix)
        more = " or more" if page.next_token else ""
        found = f"{counted(len(page.keys), 'object')}{more}"
        checks.append(ok("list", f"{prefix!r}: {found}"))
        if not page.keys:
            checks.append(
                warn(
                    "list", f"{prefix!r} is empty", "correct RECONCILER_BUCKET__PREFIXES if it should not be"
                )
            )
    return checks


async def scratch(
    store: ObjectStore, versions: Versions | None, elsewhere: QuarantineBucket | None = None
) -> Sequence[Check]:
    """HEAD and DELETE on a scratch key that does not exist: on the managed ones it could do harm.

    `versions` where the bucket keeps or kept any: there the DELETE leaves a marker, which goes again.
    `elsewhere`: in that bucket.
    """
    folder, where = f"{RESERVED_PREFIX}doctor", RESERVED_PREFIX
    if elsewhere is not None:
        folder, where = f"{elsewhere.folder}{uuid4()}", f"{elsewhere.folder} in bucket {elsewhere.name!r}"
    key = f"{folder}/{secrets.token_hex(8)}"
    await store.head(key)
    checks = [ok("head", f"allowed under {where}")]
    (answer,) = await store.delete([Deletion(key=key)])
    if versions is not None:
        await versions.remove(await versions.of(key), reveals=True)
    if answer.result is ObjectResult.FAILED:
        advice = "allow these credentials s3:DeleteObject on the bucket"
        return [*checks, fail("delete", f"refused under {where}: {answer.detail}", advice)]
    return [*checks, ok("delete", f"allowed under {where}")]


def abilities(
    found: Capabilities, declared: ListingOrder | None, mode: DeleteMode = DeleteMode.DIRECT
) -> Sequence[Check]:
    """What the probe saw, what that means for a sweep, and for deleting for good."""
    if not found.probed:
        return [_unprobed(found), _deletion(mode, found)]
    seen = [*_listing(found, declared), *_deleting(found), *_writing(found), *_recovering(found)]
    return [*seen, _deletion(mode, found)]


def _unprobed(found: Capabilities) -> Check:
    """Nothing is said of what was not looked at."""
    nothing = f"nothing could be found out on scratch keys under {RESERVED_PREFIX}"
    if found.refusal:
        advice = "no live pass can begin until the store takes an object there"
        return fail("probe", f"{nothing}: {found.refusal}", advice)
    advice = "if these credentials may not write there, allow them s3:PutObject; without it nothing is tied"
    return warn("probe", nothing, advice)


def _listing(found: Capabilities, declared: ListingOrder | None) -> Sequence[Check]:
    if not found.lists:
        unseen = "the listing does not show what was put: HEAD finds it, and a page of its prefix is empty"
        advice = (
            "use a bucket with an index (Ceph: another placement); on this one every row looks as if its"
            " object was missing, and no orphan is found"
        )
        return [fail("listing", unseen, advice)]
    order = found.order_under(declared)
    listed = (
        "in byte order: key ranges are compared side by side"
        if order is ListingOrder.BYTES
        else "without an order: the listing is copied into the database and joined there"
    )
    checks = [ok("listing order", listed + (" (declared)" if declared is order else ""))]
    if declared is ListingOrder.BYTES and found.order is ListingOrder.NONE:
        advice = "set RECONCILER_BUCKET__LISTING_ORDER to probe or none"
        checks.append(warn("listing order", "declared as bytes, but the probe saw another order", advice))
    if found.rewrites_keys:
        taken = "some keys do not come back as they were put (`a//b` as `a/b`): a row protects both"
        checks.append(ok("listed names", taken))
    return checks


def _deleting(found: Capabilities) -> Sequence[Check]:
    """The ladder's rung, and what compares ETags."""
    if found.batch_digest is None:
        slow = "no batch was answered for in full and in time: each key goes in a call of its own, slowly"
        checks = [warn("batches", slow)]
    else:
        checks = [ok("batches", f"{found.batch_size:,} keys a call, vouched for by {found.batch_digest}")]
    if found.conditional_batch_delete or found.conditional_delete:
        how = f"{found.batch_size:,} at a time" if found.conditional_batch_delete else "one by one"
        parts = "" if found.compares_parts else "; of objects in parts it refuses them: HEAD compares these"
        checks.append(ok("conditional delete", f"the store compares the ETag, {how}{parts}"))
    else:
        checks.append(
            warn(
                "conditional delete",
                "the store does not compare the ETag: each key is looked at first (HEAD)",
            )
        )
    return checks


def _writing(found: Capabilities) -> Sequence[Check]:
    """What the bucket's identity, which says who leads, is written with; and what tells two uploads apart."""
    how = {
        PutCondition.COMPARED: "the store compares the ETag when the marker is written",
        PutCondition.UNQUOTED: "the store compares an ETag without quotes, and refuses the right one with"
        " them: the marker is written with what it takes",
        PutCondition.REFUSED: "the store refuses every ETag, the right one too: the marker is written without"
        " one, and read back",
        PutCondition.IGNORED: "the store does not compare the ETag: the marker is written, and read back",
    }[found.conditional_put]
    checks = [ok("conditional put", how)]
    if not found.etags:
        checks.append(
            warn(
                "etags",
                "objects have no ETag: one that is uploaded again is recognised by its size, and by its time"
                " to the second",
                "have the store keep ETags, if it can (JuiceFS: gateway --keep-etag), before going live",
            )
        )
    return checks


def _recovering(found: Capabilities) -> Sequence[Check]:
    """What could bring a deleted object back, and what keeps one from going."""
    where = f" in {', '.join(map(repr, found.undelete_unseen))}" if found.undelete_unseen else ""
    versions = {
        Versioning.ENABLED: "kept, and seen to come back when the delete marker goes"
        if found.undelete
        else f"kept, but a deleted object was not seen to come back when its delete marker went{where}",
        Versioning.SUSPENDED: "suspended: the bucket keeps no versions of what is deleted now",
        Versioning.OFF: "the bucket keeps no versions",
    }[found.versioning]
    copies = "compare the source's ETag" if found.copy_conditional else "do not compare the source's ETag"
    if not found.multipart_copy:
        copies += "; nothing above 5 GB can be copied"
    elif not found.multipart_copy_encoded:
        copies += "; nothing above 5 GB can be copied whose key has a percent sign or a plus"
    if found.copy and not found.copy_only_new:
        copies += (
            "; If-None-Match is ignored: an undo looks at the key just before it copies (docs/safety.md)"
        )
    uploads = "are listed and can be aborted" if found.multipart_listing else "cannot be listed"
    checks = [
        ok("versions", versions)
        if found.undelete or not found.versioned
        else warn("versions", versions, ALLOW_VERSIONS),
        ok("copies", copies if found.copy else "the store copies nothing by itself"),
        ok("unfinished uploads", uploads),
    ]
    if found.object_lock:
        checks.append(ok("object lock", "on: versions that are locked cannot be deleted for good"))
    return checks


def _deletion(mode: DeleteMode, found: Capabilities) -> Check:
    if mode is DeleteMode.VERSIONED:
        return _versioned(found)
    if mode is DeleteMode.QUARANTINE:
        return _quarantine(found)
    if found.versioned:
        return warn(
            "delete mode",
            "direct, and the bucket keeps versions: deleted objects are hidden, and their bytes stay",
            "expire noncurrent versions by a lifecycle rule, or the bucket never shrinks",
        )
    return warn(
        "delete mode",
        "direct: objects are deleted for good, and a row that a writer inserts between the last look and"
        " the deletion loses its object",
        "keep RECONCILER_GRACE_PERIOD above the longest time from upload to row, and do not reuse keys",
    )


def _versioned(found: Capabilities) -> Check:
    if found.undelete:
        return ok("delete mode", "versioned: a delete marker hides each object until its version is purged")
    return warn(
        "delete mode",
        "versioned, and no deleted object was seen to come back: an undo has to copy versions over markers",
        f"{ALLOW_VERSIONS}, or take RECONCILER_DELETE_MODE=auto",
    )


def _quarantine(found: Capabilities) -> Check:
    if found.copies_nothing:
        return fail(
            "delete mode",
            "quarantine, and the store makes no copies, or the credentials may not: a dry run works, live"
            " halts",
            f"allow CopyObject {_place(found)}, switch versioning on, or name"
            " RECONCILER_DELETE_MODE=direct, which deletes for good",
        )
    if found.versioned:
        return warn(
            "delete mode",
            "quarantine, though the bucket keeps versions: no deleted object was seen to come back, so each"
            " is copied first, and its version stays behind a delete marker",
            f"{ALLOW_VERSIONS}; without it nothing that is deleted is ever freed",
        )
    return ok("delete mode", f"quarantine: each object is copied {_place(found)} before it is deleted")


def _place(found: Capabilities) -> str:
    """Where copies go."""
    if found.quarantine is None:
        return f"under {QUARANTINE_PREFIX}"
    return f"into bucket {found.quarantine.bucket.name!r}"


def quarantine(found: Capabilities, mode: DeleteMode) -> Sequence[Check]:
    """The other bucket for copies, if there is one: what it keeps of copies that are purged."""
    if found.quarantine is None:
        return []
    there = found.quarantine
    if mode is not DeleteMode.QUARANTINE:
        unused = "RECONCILER_QUARANTINE__BUCKET has no effect: the bucket keeps versions, nothing is copied"
        return [warn("quarantine", unused, "unset it")]
    name = f"bucket {there.bucket.name!r}"
    if there.object_lock:
        locked = f"{name} can lock objects: copies that it locks are not purged before their locks end"
        return [warn("quarantine", locked, "let no default retention there exceed RECONCILER_UNDO_WINDOW")]
    kept = "no versions" if there.versioning is Versioning.OFF else "versions, which are purged as well"
    return [ok("quarantine", f"copies go under {there.bucket.folder} in {name}, which keeps {kept}")]


def lifecycle(
    found: Capabilities, prefixes: Sequence[str], mode: DeleteMode, window: timedelta
) -> Sequence[Check]:
    """The bucket's own rules: which of them take what an undo needs, or what the records name."""
    if found.lifecycle is None or found.rules_for_copies is None:
        whose = "the bucket's" if found.lifecycle is None else "of the bucket for copies, the"
        unknown = f"{whose} rules may not be read: they may take copies or versions early"
        return [warn("lifecycle", unknown, "allow these credentials s3:GetLifecycleConfiguration")]
    advice = "leave .reconciler/ and hidden versions to the purge, or shorten RECONCILER_UNDO_WINDOW"
    checks = [
        fail("lifecycle", f"{line}: live halts", advice) for line in too_early(found, prefixes, mode, window)
    ]
    checks += [warn("lifecycle", line) for line in early_removals(found, prefixes)]
    return checks or [ok("lifecycle", "no rule of the bucket takes what an undo needs, or what records name")]


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


def pause(standing: Pause) -> Sequence[Check]:
    """Whether an operator has stopped every deletion."""
    if standing.paused:
        resume = "run `reconciler resume` when they may go on"
        return [warn("pause", f"{formatting.pause(standing)}: nothing is deleted", resume)]
    return [ok("pause", "deletions are not paused")]


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


def clocks(compared: Compared) -> Sequence[Check]:
    """The database's clock, by which everything is decided, the store's and this machine's."""
    if compared.halts:
        return [fail("clocks", f"{compared.line}: nothing will be claimed", CLOCKS_ADVICE)]
    if compared.warns:
        return [warn("clocks", compared.line, CLOCKS_ADVICE)]
    which = "database, store and this machine" if STORE in compared.ahead else "database and this machine"
    return [ok("clocks", f"{which} agree within {WARN_APART.total_seconds():.0f} s")]
