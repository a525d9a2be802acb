"""The decisions of the current settings, as the pure functions that a claim is given."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from reconciler.engine.runtime.context import Steering
from reconciler.model import VERDICTS, Backlog, Decision, Mark, Marker, Postpone, Record, Tally, Verdict
from reconciler.planning import breaker, claims
from reconciler.ports import Cap, Decide

log = structlog.get_logger(__name__)


def decider(steering: Steering) -> Decide:
    """The pure decision, bound to the current policy."""

    def decide(mark: Mark, records: Sequence[Record], now: datetime) -> Decision:
        try:
            return claims.decide(mark, records, steering.policy, now)
        except Exception as error:
            # An odd mark or row must not end the claim of all the others.
            log.exception("a mark is put off on a fault of the program", storage_key=mark.storage_key)
            return Postpone(reason=f"it cannot be decided: {error!r}")

    return decide


def capper(steering: Steering) -> Cap:
    """The breaker's caps, bound to the current limits."""

    def cap(backlog: Backlog, seen: Mapping[Marker, Tally]) -> Mapping[Marker, str]:
        reasons = {
            marker: breaker.at_claim(marker, tally, backlog, steering.limits)
            for marker, tally in seen.items()
        }
        return {marker: reason for marker, reason in reasons.items() if reason}

    return cap


def enabled(steering: Steering) -> tuple[Verdict, ...]:
    """The verdicts whose clean-up is switched on."""
    return tuple(verdict for verdict in VERDICTS if steering.policy.allows(verdict))
