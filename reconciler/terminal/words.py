"""What people say in an argument, for others to read: it has to be text that a database can keep."""

from __future__ import annotations

import argparse


def words(given: str) -> str:
    """The argument as it is. Raises for bytes that are not UTF-8."""
    try:
        given.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError(
            "it is not UTF-8: write it with the characters of a terminal"
        ) from None
    return given
