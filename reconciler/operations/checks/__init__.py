"""Checks: one for each thing that a pass needs, made of what was found, with what mends it."""

from reconciler.operations.checks.media import links, served
from reconciler.operations.checks.neighbours import collectors, namesakes, others
from reconciler.operations.checks.results import attempt, fail, skip
from reconciler.operations.checks.site import (
    cdn,
    cdn_urls,
    clocks,
    configuration,
    identity,
    inventory,
    pause,
    queue,
    settings,
    webhook,
)
from reconciler.operations.checks.store import abilities, lifecycle, listed, quarantine, scratch
from reconciler.operations.checks.tables import adoption, database, rights, rules, sides, tried

__all__ = [
    "abilities",
    "adoption",
    "attempt",
    "cdn",
    "cdn_urls",
    "clocks",
    "collectors",
    "configuration",
    "database",
    "fail",
    "identity",
    "inventory",
    "lifecycle",
    "links",
    "listed",
    "namesakes",
    "others",
    "pause",
    "quarantine",
    "queue",
    "rights",
    "rules",
    "scratch",
    "served",
    "settings",
    "sides",
    "skip",
    "tried",
    "webhook",
]
