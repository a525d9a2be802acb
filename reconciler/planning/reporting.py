"""How findings are counted, and how a run ends."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from reconciler.model import Finding, KeepReason, Outcome, Tally, Verdict
from reconciler.model.keys import prefix_of


def outcome(*, failed: bool, halted: bool, tripped: bool, waiting: int) -> Outcome:
    """The first outcome that applies, in the contract's order; `waiting` counts marks not yet due."""
    if failed:
        return Outcome.FAILED
    if halted:
        return Outcome.HALTED
    if tripped:
        return Outcome.TRIPPED
    return Outcome.PENDING if waiting else Outcome.CONVERGED


def tally_of(
    findings: Iterable[Finding] = (),
    keeps: Iterable[KeepReason] = (),
    *,
    objects: int = 0,
    records: int = 0,
    size: int = 0,
    missing: int = 0,
) -> Tally:
    """Count a part of a pass. `size` is the bytes listed.

    A finding that is kept counts as found *and* under the reason why it is kept.
    """
    findings = list(findings)
    found: Counter[Verdict] = Counter()
    found_bytes: Counter[Verdict] = Counter()
    kept = Counter(keeps)
    for finding in findings:
        found[finding.verdict] += 1
        found_bytes[finding.verdict] += finding.bytes
        if finding.kept is not None:
            kept[finding.kept] += 1
    return Tally(
        objects=objects,
        records=records,
        bytes=size,
        missing=missing,
        expired_by_store=sum(finding.by_store for finding in findings),
        found=dict(found),
        found_bytes=dict(found_bytes),
        kept=dict(kept),
    )


def newly_of(findings: Iterable[Finding]) -> Tally:
    """Findings to be deleted that the settings of the last released pass would have kept."""
    return Tally(newly=Counter(each.verdict for each in findings if each.newly and each.kept is None))


def found_by_prefix(findings: Iterable[Finding], prefixes: Sequence[str]) -> Tally:
    """What was found under each of the prefixes, which do not lie inside one another."""
    found: defaultdict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        prefix = prefix_of(finding.storage_key, prefixes)
        if prefix is not None:
            found[prefix].append(finding)
    return Tally(by_prefix={prefix: tally_of(under) for prefix, under in found.items()})


def named_by_prefix(keys: Collection[str], prefixes: Sequence[str]) -> Tally:
    """Objects that only further columns name, under each of the prefixes and in all."""
    counts = Counter(prefix_of(key, prefixes) for key in keys)
    by_prefix = {prefix: Tally(named=number) for prefix, number in counts.items() if prefix is not None}
    return Tally(named=len(keys), by_prefix=by_prefix)


def rows_by_prefix(rows: Mapping[str, int]) -> Tally:
    """Rows of each prefix, and of all of them."""
    by_prefix = {prefix: Tally(records=number) for prefix, number in rows.items()}
    return Tally(records=sum(rows.values()), by_prefix=by_prefix)
