"""What it costs to compare an inventory with the rows, against others that join the whole.

`python -m tools.benchmarks.inventory FOLDER ranges|whole|ordered|daft|polars` compares the two sides that are
in the folder, and prints what it found.
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
MOST = 10_000_000
"""Keys that others are given: they hold them in memory, or spill."""
OTHERS = {"whole": "one join of the whole", "daft": "Daft", "polars": "Polars"}
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

    The export has the rows in key order. Others take them as they were inserted, and DuckDB's join takes them
    in key order as well. Beyond `MOST` keys it is the comparison by ranges alone that is measured.
    """
    with tempfile.TemporaryDirectory(prefix="inventory-") as name:
        folder = Path(name)
        for number, some in enumerate(_keys(min(keys, MOST))):
            _write(folder, number, some)
        figures = _beside_others(folder, min(keys, MOST))
        if keys > MOST:
            for number, some in enumerate(_keys(keys)):
                if number >= MOST // FILE:
                    _write(folder, number, some, heap=False)
            figures += _grown(folder, keys)
    return figures


def _beside_others(folder: Path, keys: int) -> list[Figure]:
    title = _title(keys)
    ours, ordered = (_compared(folder, how) for how in ("ranges", "ordered"))
    others = {name: _compared(folder, how) for how, name in OTHERS.items()}
    found = _findings(ours)
    if any(each.report() != found for each in (ordered, *others.values())):
        return [Figure(benchmark=title, name="the same findings", measured=f"{found}", met=False)]
    whole = others["one join of the whole"]
    return [
        at_most(title, "CPU by ranges, against one join of the whole", ours.cpu / whole.cpu, 0.8, TIMES),
        at_most(title, "the same, rows in key order", ours.cpu / ordered.cpu, 0.8, TIMES),
        at_most(title, "peak memory by ranges", ours.peak_mib, 1024, " MiB"),
        for_comparison(title, "CPU by ranges", ours.cpu, " s"),
        for_comparison(title, "time by ranges", ours.seconds, " s"),
        *(for_comparison(title, f"CPU, {name}", each.cpu, " s") for name, each in others.items()),
        *(
            for_comparison(title, f"peak memory, {name}", each.peak_mib, " MiB")
            for name, each in others.items()
        ),
        for_comparison(title, "findings each way", found["orphans"]),
    ]


def _grown(folder: Path, keys: int) -> list[Figure]:
    """The comparison of all keys, against that of `MOST`, for each key."""
    title, part = _title(keys), folder / "part"
    part.mkdir()
    for path in folder.glob("*-00[0-9].parquet"):
        (part / path.name).hardlink_to(path)
    some, every = _compared(part, "ranges"), _compared(folder, "ranges")
    each = every.cpu / some.cpu / keys * MOST
    return [
        at_most(title, f"CPU for a key, against {MOST:,}", each, 1.15, TIMES),
        at_most(title, "peak memory by ranges", every.peak_mib, 700, " MiB"),
        at_most(title, "ranges that spilled", every.report()["spilled"], 0),
        for_comparison(title, "CPU by ranges", every.cpu, " s"),
        for_comparison(title, "time by ranges", every.seconds, " s"),
        for_comparison(title, "findings each way", _findings(every)["orphans"]),
    ]


def _title(keys: int) -> str:
    return f"an inventory of {keys:,} objects, against as many rows"


def _compared(folder: Path, how: str) -> Run:
    command = [sys.executable, "-m", "tools.benchmarks.inventory", str(folder), how]
    return measure(command, {"RECONCILER_LOG_LEVEL": "warning"})


def _findings(run: Run) -> dict[str, int]:
    return {name: run.report()[name] for name in ("orphans", "missing")}


def _keys(count: int) -> Iterator[list[str]]:
    """Ascending keys of 60 bytes, a file's worth at a time."""
    for start in range(0, count, FILE):
        numbers = range(start, min(start + FILE, count))
        hashes = (hashlib.md5(str(number).encode()).hexdigest() for number in numbers)
        yield [f"{PREFIX}{number:010}/{each}.png"[:60] for number, each in zip(numbers, hashes, strict=True)]


def _write(folder: Path, number: int, keys: list[str], *, heap: bool = True) -> None:
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
    named = pa.table({"key": pa.array(rows, pa.string()), "ripe": pa.array([True] * len(rows), pa.bool_())})
    path = folder / f"rows-{number:03}.parquet"
    pq.write_table(named, path, row_group_size=GROUP, compression="zstd", use_dictionary=False)
    if heap:
        random.Random(number).shuffle(rows)
        shuffled = named.set_column(0, "key", pa.array(rows, pa.string()))
        path = folder / f"heap-{number:03}.parquet"
        pq.write_table(shuffled, path, row_group_size=GROUP, compression="zstd")


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
        found, spilled = [], 0
        for span in ranges.cut(ranges.managed([PREFIX]), (sides.listed, sides.rows)):
            found.append(compare(span))
            spilled += (folder / "spill").exists()
    return {
        "orphans": sum(each.orphans for each in found),
        "missing": sum(each.missing for each in found),
        "spilled": spilled,
    }


def _whole(folder: Path, rows: str = "heap") -> dict[str, int]:
    targets = {name: folder / f"{name}.parquet" for name in ("orphans", "missing")}
    query = WHOLE.format(
        listed=engine.files(sorted(folder.glob("listed-*"))),
        rows=engine.files(sorted(folder.glob(f"{rows}-*"))),
        **{name: engine.text(str(path)) for name, path in targets.items()},
    )
    config: dict[str, Any] = {"memory_limit": "2GB", "threads": engine.threads(8 * MEMORY)}
    with duckdb.connect(":memory:", config={**config, "temp_directory": str(folder / "whole")}) as connection:
        connection.execute(query)
    return {name: pq.read_metadata(path).num_rows for name, path in targets.items()}


def _ordered(folder: Path) -> dict[str, int]:
    return _whole(folder, "rows")


def _daft(folder: Path) -> dict[str, int]:
    import daft  # noqa: PLC0415 - not in the process of the others

    listed = daft.read_parquet(str(folder / "listed-*"))
    rows = daft.read_parquet(str(folder / "heap-*"))
    alone = listed.join(rows, on="key", how="anti").write_parquet(str(folder / "daft-orphans"))
    missing = rows.join(listed, on="key", how="anti").write_parquet(str(folder / "daft-missing"))
    return {
        name: sum(pq.read_metadata(path).num_rows for path in written.to_pydict()["path"])
        for name, written in (("orphans", alone), ("missing", missing))
    }


def _polars(folder: Path) -> dict[str, int]:
    import polars as pl  # noqa: PLC0415 - not in the process of the others

    listed = pl.scan_parquet(str(folder / "listed-*"))
    rows = pl.scan_parquet(str(folder / "heap-*"))
    found = {}
    for name, one, other in (("orphans", listed, rows), ("missing", rows, listed)):
        path = folder / f"polars-{name}.parquet"
        one.join(other, on="key", how="anti").sink_parquet(path)
        found[name] = pq.read_metadata(path).num_rows
    return found


HOW = {"ranges": _by_ranges, "whole": _whole, "ordered": _ordered, "daft": _daft, "polars": _polars}

if __name__ == "__main__":
    print(json.dumps(HOW[sys.argv[2]](Path(sys.argv[1]))))
