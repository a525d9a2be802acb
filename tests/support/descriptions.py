"""Botocore's descriptions of AWS, parsed once a program and not once a client: they are megabytes of JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from botocore.loaders import JSONFileLoader


def parse_once() -> None:
    """For all clients from here on. What each then does to the parsed files it may do again."""
    loader: Any = JSONFileLoader
    parse: Callable[..., Any] = loader._load_file
    cached = functools.cache(functools.partial(parse, loader()))
    loader._load_file = lambda _, path, opener: cached(path, opener)
