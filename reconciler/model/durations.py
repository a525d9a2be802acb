"""Durations as they are written in the settings."""

from datetime import timedelta
from functools import lru_cache


@lru_cache(maxsize=64)
def duration_text(duration: timedelta) -> str:
    """The duration in the settings' notation: "90d", "48h", "15m", "30s", "500ms"."""
    seconds, milliseconds = divmod(round(duration / timedelta(milliseconds=1)), 1000)
    if milliseconds:
        return f"{seconds}s{milliseconds}ms" if seconds else f"{milliseconds}ms"
    if seconds % 86_400 == 0 and seconds > 2 * 86_400:
        return f"{seconds // 86_400}d"
    for suffix, length in (("h", 3_600), ("m", 60)):
        if seconds and seconds % length == 0:
            return f"{seconds // length}{suffix}"
    return f"{seconds}s"
