"""The key ranges that are listed side by side."""

from collections.abc import Sequence

from reconciler.model import KeyRange
from reconciler.model.keys import merge_prefixes
from reconciler.planning import ranges
from reconciler.ports import Records

ROWS_A_RANGE = 10_000
RANGES_A_WORKER = 4
"""More ranges than workers, so that uneven ones even out; few enough that partial pages cost little."""

SAMPLES_A_RANGE = 32


async def planned(records: Records, prefixes: Sequence[str], workers: int) -> list[KeyRange]:
    """Draw the bounds from the rows' own keys, so that each range holds about the same number of rows."""
    found: list[KeyRange] = []
    most = RANGES_A_WORKER * workers
    for prefix in merge_prefixes(prefixes):
        count = await records.count([prefix])
        wanted = max(1, min(most, count // ROWS_A_RANGE))
        samples: Sequence[str] = ()
        if wanted > 1:
            samples = await records.sample_keys(prefix, wanted * SAMPLES_A_RANGE)
        found += ranges.split(prefix, samples, wanted)
    return found
