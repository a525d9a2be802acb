"""What it costs to compare an inventory with the rows, against DuckDB's own join of the whole.

`python -m tools.benchmarks.inventory FOLDER ranges|whole` compares the two sides that are in the folder.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from reconciler.sources import engine, ranges
from reconciler.sources.comparing import Comparison, Sides
from tools.benchmarks.corpus import PREFIX
from tools.benchmarks.figures import TIMES, Figure, at_most, for_comparison
from tools.benchmarks.programs import Run, measure

MEMORY = 1024**3
DRIFT_EVERY = 1_000
FILE = 1_000_000
GROUP = 250_000
MODIFIED = 1_700_000_000_000
LISTED = "SELECT key, size, epoch_ms(last_modified_date) AS modified, e_tag AS etag FROM {source}"

# As much as one join can be told: the two sides whole, both ways, findings to disk.
WHOLE = """
CREATE TEMP VIEW listed AS SELECT key, size, last_modified_date, e_tag FROM read_parquet({listed});
CREATE TEMP VIEW named AS SELECT key, ripe FROM read_parquet({rows});
COPY (SELECT * FROM listed l WHERE NOT EXISTS (SELECT 1 FROM named r WHERE r.key = l.key))
    TO {orphans} (FORMAT parquet);
COPY (SELECT key FROM named r WHERE NOT EXISTS (SELECT 1 FROM listed l WHERE l.key = r.key))
    TO {missing} (FORMAT parquet);
"""


def inventory(keys: int) -> list[Figure]:
    """Both sides of that many keys of 60 bytes, 0.1 % of drift each way.

    The export has the rows in key order; the join of the whole takes them as they were inserted.
    """
    with tempfile.TemporaryDirectory(prefix="inventory-") as name:
        folder = Path(name)
        for number, some in enumerate(_keys(keys)):
            _write(folder, number, some)
        by_range, whole = (_compared(folder, how) for how in ("ranges", "whole"))
    title = f"an inventory of {keys:,} objects, against as many rows"
    found = by_range.report()
    if found != whole.report():
        return [Figure(benchmark=title, name="the same findings", measured=f"{found}", met=False)]
    return [
        at_most(title, "CPU by ranges, against one join of the whole", by_range.cpu / whole.cpu, 0.8, TIMES),
        at_most(title, "peak memory by ranges", by_range.peak_mib, 1024, " MiB"),
        for_comparison(title, "peak memory of the join", whole.peak_mib, " MiB"),
        for_comparison(title, "CPU by ranges", by_range.cpu, " s"),
        for_comparison(title, "time by ranges", by_range.seconds, " s"),
        for_comparison(title, "findings each way", found["orphans"]),
    ]


def _compared(folder: Path, how: str) -> Run:
    command = [sys.executable, "-m", "tools.benchmarks.inventory", str(folder), how]
    return measure(command, {"RECONCILER_LOG_LEVEL": "warning"})


def _keys(count: int) -> Iterator[list[str]]:
    """Ascending keys of 60 bytes, a file's worth at a time."""
    for start in range(0, count, FILE):
        numbers = range(start, min(start + FILE, count))
        hashes = (hashlib.md5(str(number).encode()).hexdigest() for number in numbers)
        yield [f"{PREFIX}{number:010}/{each}.png"[:60] for number, each in zip(numbers, hashes, strict=True)]


def _write(folder: Path, number: int, keys: list[str]) -> None:
    listed = [key for place, key in enumerate(keys) if place % DRIFT_EVERY != 1]
    rows = [key for place, key in enumerate(keys) if place % DRIFT_EVERY != 2]
    etags = [hashlib.md5(key.encode()).hexdigest() for key in listed]
    table = pa.table(
        {
            "key": pa.array(listed, pa.string()),
            "size": pa.array([number] * len(listed), pa.int64()),
            "last_modified_date": pa.array([MODIFIED] * len(listed), pa.timestamp("ms", tz="UTC")),
            "e_tag": pa.array(etags, pa.string()),
        }
    )
    pq.write_table(table, folder / f"listed-{number:03}.parquet", row_group_size=GROUP)
    random.Random(number).shuffle(rows)
    heap = pa.table({"key": pa.array(rows, pa.string()), "ripe": pa.array([True] * len(rows), pa.bool_())})
    pq.write_table(heap, folder / f"heap-{number:03}.parquet", row_group_size=GROUP, compression="zstd")
    rows.sort()
    named = pa.table({"key": pa.array(rows, pa.string()), "ripe": pa.array([True] * len(rows), pa.bool_())})
    path = folder / f"rows-{number:03}.parquet"
    pq.write_table(named, path, row_group_size=GROUP, compression="zstd", use_dictionary=False)


def _by_ranges(folder: Path) -> dict[str, int]:
    listed, rows = sorted(folder.glob("listed-*")), sorted(folder.glob("rows-*"))
    with engine.connected(MEMORY, folder / "spill", 10 * MEMORY) as connection:
        sides = Sides(
            listed=ranges.groups(listed, "key"),
            listed_sql=LISTED,
            rows=ranges.groups(rows, "key"),
            young=MODIFIED + 1,
        )
        compare = Comparison(connection, sides, folder).compare
        found = [compare(span) for span in ranges.cut(ranges.managed([PREFIX]), (sides.listed, sides.rows))]
    return {
        "orphans": sum(each.orphans for each in found),
        "missing": sum(each.missing for each in found),
    }


def _whole(folder: Path) -> dict[str, int]:
    targets = {name: folder / f"{name}.parquet" for name in ("orphans", "missing")}
    query = WHOLE.format(
        listed=engine.files(sorted(folder.glob("listed-*"))),
        rows=engine.files(sorted(folder.glob("heap-*"))),
        **{name: engine.text(str(path)) for name, path in targets.items()},
    )
    config: dict[str, Any] = {"memory_limit": "2GB", "threads": engine.threads(8 * MEMORY)}
    with duckdb.connect(":memory:", config={**config, "temp_directory": str(folder / "whole")}) as connection:
        connection.execute(query)
    return {name: pq.read_metadata(path).num_rows for name, path in targets.items()}


if __name__ == "__main__":
    ran = {"ranges": _by_ranges, "whole": _whole}[sys.argv[2]]
    print(json.dumps(ran(Path(sys.argv[1]))))
