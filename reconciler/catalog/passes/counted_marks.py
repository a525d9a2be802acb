"""How many marks the passes have that one decision covers."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from reconciler.catalog.db.connections import AnyConnection
from reconciler.catalog.db.schema import SCHEMA
from reconciler.model import Pass, PassState, Verdict
from reconciler.model.keys import merge_prefixes, prefix_end

TOGETHER = f"""
SELECT id, both_sides FROM {SCHEMA}.passes WHERE kind = $1 AND state = 'tripped' AND id <= $2 ORDER BY id
"""

COUNTS = f"""
SELECT m.pass_id, m.verdict, b.prefix, count(*) AS keys, coalesce(sum(m.bytes), 0)::bigint AS bytes
FROM {SCHEMA}.marks m
LEFT JOIN unnest($2::text[], $3::text[]) AS b (prefix, high)
    ON m.storage_key >= b.prefix AND (b.high IS NULL OR m.storage_key < b.high)
WHERE m.pass_id = ANY($1::bigint[])
GROUP BY 1, 2, 3
"""


async def together(connection: AnyConnection, current: Pass) -> Mapping[int, bool]:
    """The passes that one decision covers, this one and tripped ones before it: is each of both sides?"""
    if current.state is not PassState.TRIPPED:
        return {current.id: current.both_sides}
    rows = await connection.fetch(TOGETHER, current.kind.value, current.id)
    return {row["id"]: row["both_sides"] for row in rows}


def marked(counts: Mapping[int, Mapping[tuple[str, Verdict], int]]) -> set[int]:
    return {pass_id for pass_id, marks in counts.items() if sum(marks.values())}


async def by_pass(
    connection: AnyConnection, ids: Sequence[int], prefixes: Sequence[str]
) -> tuple[Mapping[int, Mapping[tuple[str, Verdict], int]], Mapping[tuple[str, Verdict], int]]:
    """Marks by pass, and within it by prefix and verdict; and the bytes of all by the latter."""
    names = merge_prefixes(prefixes)
    ends = [prefix_end(name) for name in names]
    counts: dict[int, Counter[tuple[str, Verdict]]] = defaultdict(Counter)
    sizes: Counter[tuple[str, Verdict]] = Counter()
    for row in await connection.fetch(COUNTS, ids, list(names), ends):
        part = row["prefix"] or "", Verdict(row["verdict"])
        counts[row["pass_id"]][part] += row["keys"]
        sizes[part] += row["bytes"]
    return counts, sizes


def added_up(counts: Iterable[Mapping[tuple[str, Verdict], int]]) -> Mapping[tuple[str, Verdict], int]:
    total: Counter[tuple[str, Verdict]] = Counter()
    for each in counts:
        total.update(each)
    return total
