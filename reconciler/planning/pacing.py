"""How much to do at once, and how long to wait after a failure. Time is passed in."""

MAX_BATCH = 1000
"""S3's limit for one DeleteObjects call."""

_MAX_DOUBLINGS = 60


def batch_size(rate: float) -> int:
    """Keys for one call at `rate` keys a second (`math.inf`: unlimited): at most one second's worth."""
    return int(min(MAX_BATCH, max(1, rate)))


def backoff(attempt: int, base: float, cap: float, random: float) -> float:
    """Seconds to wait after failure number `attempt` (the first is 1): full jitter, capped.

    `random` is drawn by the caller from [0, 1).
    """
    return random * min(cap, base * 2.0 ** min(attempt - 1, _MAX_DOUBLINGS))
