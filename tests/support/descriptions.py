"""Botocore's descriptions of AWS, parsed once a program and not once a client: they are megabytes of JSON."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from botocore.loaders import JSONFileLoader

from reconciler.stores.s3.hooks import LeanFiles


def parse_once() -> None:
    """For all clients from here on. What each then does to the parsed files it may do again."""
    loader: Any
    for loader in (JSONFileLoader, LeanFiles):
        parse: Callable[..., Any] = loader._load_file
        cached = functools.cache(functools.partial(parse, loader()))
        loader._load_file = lambda _, path, opener, cached=cached: cached(path, opener)
