"""What the last line of a run says about the passes that tripped."""

from reconciler.engine.cycle import Progress
from reconciler.model import Mode, TrippedPass


def test_a_reason_that_two_passes_share_is_said_once() -> None:
    reason = "no rows at all: is this right?"
    trips = [TrippedPass(pass_id=number, reason=reason) for number in (7, 8)]
    detail = Progress(mode=Mode.LIVE, trips=trips, to_decide={7: 3, 8: 8}).report(1.0).detail
    assert detail == (
        "pass 7 tripped and adds nothing to pass 3: no rows at all: is this right? Look at it with"
        " `reconciler passes show 3`, then `reconciler approve 3` or `reconciler discard 3`; pass 8 tripped"
        " for the same reason. Look at it with `reconciler passes show 8`, then `reconciler approve 8`"
        " or `reconciler discard 8`"
    )
