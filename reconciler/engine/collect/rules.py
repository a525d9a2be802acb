"""The decisions of the current settings, as the pure functions that a claim is given."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import structlog

from reconciler.engine.runtime.context import RuntimeSettings
from reconciler.model import VERDICTS, Backlog, Decision, Mark, PassKind, Postpone, Record, Tally, Verdict
from reconciler.planning import approval_gate, breaker, claim_decision
from reconciler.ports import Cap, Decide, Ended

log = structlog.get_logger(__name__)


def decider(settings: RuntimeSettings) -> Decide:
    """The pure decision, bound to the current policy."""

    def decide(mark: Mark, records: Sequence[Record], now: datetime) -> Decision:
        try:
            return claim_decision.decide(mark, records, settings.policy, now)
        except Exception as error:
            # An odd mark or row must not end the claim of all the others.
            log.exception("a mark is put off on a fault of the program", storage_key=mark.storage_key)
            return Postpone(reason=f"it cannot be decided: {error!r}")

    return decide


def capper(settings: RuntimeSettings) -> Cap:
    """The breaker's caps, bound to the current limits."""

    def cap(backlog: Backlog, seen: Mapping[PassKind, Tally]) -> Mapping[PassKind, str]:
        reasons = {
            marker: breaker.at_claim(marker, tally, backlog, settings.limits)
            for marker, tally in seen.items()
        }
        return {marker: reason for marker, reason in reasons.items() if reason}

    return cap


def lapse(settings: RuntimeSettings) -> Ended:
    """Which approvals have ended, by the current `APPROVAL_TTL`."""

    def ended(approved_at: datetime, due_at: datetime, now: datetime) -> bool:
        return approval_gate.has_ended(approved_at, due_at, now, settings.approval_ttl)

    return ended


def enabled(settings: RuntimeSettings) -> tuple[Verdict, ...]:
    """The verdicts whose clean-up is switched on, for some rows at least."""
    return tuple(verdict for verdict in VERDICTS if settings.policy.may_allow(verdict))
