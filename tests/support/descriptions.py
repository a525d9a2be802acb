"""Botocore's descriptions of AWS, parsed once a program and not once a client: they are megabytes of JSON."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from botocore import hooks
from botocore.endpoint_provider import RuleCreator
from botocore.loaders import JSONFileLoader, Loader

from reconciler.stores.s3.hooks import LeanFiles


def parse_once() -> None:
    """For all clients from here on. What each then does to the parsed files it may do again.

    It also looks up the same names of events, reads the signatures of the same handlers, looks through the
    same folders and builds the same endpoint rules each time, which is most of what making it takes.
    """
    loader: Any
    for loader in (JSONFileLoader, LeanFiles):
        parse: Callable[..., Any] = loader._load_file
        cached = functools.cache(functools.partial(parse, loader()))
        loader._load_file = lambda _, path, opener, cached=cached: cached(path, opener)
    events: Any = hooks
    name_of: Callable[..., str] = events.EventAliaser._alias_event_name
    named = functools.cache(functools.partial(name_of, events.EventAliaser(None)))
    events.EventAliaser._alias_event_name = lambda _, name: named(name)
    plainly = events.accepts_kwargs

    def accepts_kwargs(function: Any) -> bool:
        code = getattr(function, "__code__", None)
        return bool(code.co_flags & inspect.CO_VARKEYWORDS if code else plainly(function))

    events.accepts_kwargs = accepts_kwargs
    folders: Any = Loader
    list_all = functools.cache(functools.partial(folders.list_available_services, Loader()))
    folders.list_available_services = lambda _, kind: list_all(kind)
    rule: Any = RuleCreator
    create, made = rule.create, dict[int, tuple[Any, Any]]()

    def created(**described: Any) -> Any:
        """Rules keep nothing of what they have judged. Descriptions are kept, so their ids stay their own."""
        conditions = described["conditions"]
        if id(conditions) not in made:
            made[id(conditions)] = conditions, create(**described)
        return made[id(conditions)][1]

    rule.create = created
