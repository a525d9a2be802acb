"""The array types of our statements, as the driver needs to know them.

It would ask each new connection for each of them otherwise: three round trips, and 5 ms of the server's
processor time. Their numbers are Postgres's own (`pg_type.dat`), the same everywhere.
"""

from collections.abc import Iterable
from typing import Any

from asyncpg.protocol import protocol

_ARRAYS = {"bool": (1000, 16), "int2": (1005, 21), "int4": (1007, 23), "int8": (1016, 20)}
_ARRAYS |= {"timestamptz": (1185, 1184), "interval": (1187, 1186)}
"""By the element's name: the oids of the array's type and of the element's."""

_TYPES = [
    {
        "oid": oid,
        "name": f"_{name}",
        "ns": "pg_catalog",
        "kind": b"b",
        "elemtype": element,
        "elemdelim": ",",
        "basetype": None,
        "range_subtype": None,
        "attrtypoids": None,
    }
    for name, (oid, element) in _ARRAYS.items()
]
"""As the driver's own query answers."""


# The driver asks of each element whether it is an array itself, by two abstract classes: a third of what a
# batch takes here. Our arrays are lists and tuples, and hold none of these.
protocol.IterableABC = protocol.SizedABC = (list, tuple)


def written(texts: Iterable[str]) -> str:
    """The texts as Postgres writes an array, to be cast to `text[]`: an array cannot hold arrays that differ
    in length.
    """
    quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return "{" + ",".join(f'"{text}"' for text in quoted) + "}"


def make_known(connection: Any) -> None:  # noqa: ANN401 - the driver has no name for what we reach into
    connection._protocol.get_settings().register_data_types(_TYPES)  # noqa: SLF001 - no other way in
