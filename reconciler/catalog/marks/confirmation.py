"""Protocol step 4: record the store's answers in the ledger, remove the rows, then end the marks."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from reconciler import model
from reconciler.catalog.db.connections import AnyConnection, by_index
from reconciler.catalog.db.schema import SCHEMA
from reconciler.catalog.leadership.fencing import stand
from reconciler.catalog.marks import ledger, left_rows
from reconciler.catalog.marks.ledger import Lines, Operation
from reconciler.catalog.marks.row_removal import Outcome, RowRemoval
from reconciler.catalog.media_tables.tables import MediaTables
from reconciler.catalog.recovery import restore_queue, soft_deleted
from reconciler.ports import Decide

FIRST_RETRY = timedelta(seconds=30)
"""The wait before a failed key is tried again; it doubles up to LAST_RETRY."""
LAST_RETRY = timedelta(hours=1)
REFUSED_RETRY = timedelta(days=1)
"""The longest wait for a refused row: a person has to mend what keeps it."""

# The keys that still belong to this operation. A rescue may have taken them over.
OURS = f"""
SELECT storage_key, object_gone_at IS NOT NULL AS gone FROM {SCHEMA}.marks
WHERE storage_key = ANY($1::text[]) AND state = 'claimed' AND operation_id = $2
ORDER BY storage_key FOR UPDATE
"""

# Leaves a tombstone for each object that we deleted; a later deletion of the same key extends it.
INSERT_TOMBSTONE = f"""
INSERT INTO {SCHEMA}.tombstones (storage_key, verdict, operation_id, gone_at, ends_at, recoverable)
SELECT t.storage_key, t.verdict, $3::uuid, $4::timestamptz, $4 + $5::interval, t.recoverable
FROM unnest($1::text[], $2::text[], $6::boolean[]) AS t (storage_key, verdict, recoverable)
ON CONFLICT (storage_key) DO UPDATE
SET verdict = excluded.verdict, operation_id = excluded.operation_id, gone_at = excluded.gone_at,
    recoverable = excluded.recoverable,
    ends_at = greatest({SCHEMA}.tombstones.ends_at, excluded.ends_at)
"""

FINISH = f"DELETE FROM {SCHEMA}.marks WHERE storage_key = ANY($1::text[])"

# Unfinished keys stay claimed, and are tried again after ever longer waits. Whether the object is gone is
# recorded, so that it is counted once.
RETRY = f"""
UPDATE {SCHEMA}.marks m
SET attempts = m.attempts + 1, attempted_at = $2::timestamptz,
    not_before = $2 + least($3::interval * power(2, least(m.attempts, 20)), u.longest),
    object_gone_at = CASE WHEN u.gone THEN coalesce(m.object_gone_at, $2) ELSE m.object_gone_at END,
    last_error = u.reason
FROM unnest($1::text[], $4::text[], $5::interval[], $6::boolean[]) AS u (storage_key, reason, longest, gone)
WHERE m.storage_key = u.storage_key
"""

STAYS = "the database does not let its row go, so its object comes back"


class Confirmer:
    """Records what the store confirmed, and carries it through, in the caller's transaction."""

    def __init__(self, media: MediaTables) -> None:
        self._media = media
        self._removal = RowRemoval(media)

    async def confirm(
        self,
        connection: AnyConnection,
        term: model.Term,
        claim: model.Claim,
        results: Mapping[str, tuple[model.ObjectResult, str]],
        decide: Decide,
        upload_window: timedelta,
        hidden: Mapping[str, model.Hidden],
    ) -> model.Removed:
        now = (await stand(connection, term)).now
        await by_index(connection)
        wanted = [key.mark.storage_key for key in claim.keys if key.mark.storage_key in results]
        ours = {
            row["storage_key"]: row["gone"]
            for row in await connection.fetch(OURS, wanted, claim.operation_id)
        }
        keys = [key for key in claim.keys if key.mark.storage_key in ours]
        answers = {key.mark.storage_key: results[key.mark.storage_key] for key in keys}
        # Failed keys stay claimed; where their objects are is recorded once they are settled.
        hidden = {
            key: one
            for key, one in hidden.items()
            if key in answers and answers[key][0] is not model.ObjectResult.FAILED
        }
        operation = Operation(id=claim.operation_id, epoch=term.epoch)
        lines = _object_lines(keys, answers, hidden)
        await ledger.append_of_marks(connection, ledger.RESULT, operation, lines)
        await soft_deleted.note(
            connection,
            self._media,
            claim.operation_id,
            [key for key in keys if not ours[key.mark.storage_key]],
            {key.mark.storage_key for key in keys if _object_went(key, answers[key.mark.storage_key][0])},
            hidden,
            now,
        )
        outcome = Outcome(counted=_objects(keys, answers, ours))
        for key, (result, detail) in answers.items():
            if result is model.ObjectResult.FAILED:
                outcome.failed.add(key)
                outcome.reasons[key] = detail
        left = [key.mark.storage_key for key in keys if _left(key, answers[key.mark.storage_key][0])]
        await left_rows.keep(connection, self._media, operation, left)
        await self._removal.remove(connection, operation, keys, answers, decide, now, outcome)
        await _bring_back(connection, keys, answers, outcome)
        await ledger.append(connection, ledger.RESULT, claim.operation_id, term.epoch, outcome.entries)
        lost = {each.mark.storage_key for each in outcome.entries if each.result == "lost"} & hidden.keys()
        if lost:
            await connection.execute(
                restore_queue.QUEUE, sorted(lost), "its row became live after it had gone"
            )
        await self._finish_marks(connection, claim, keys, answers, outcome, now, upload_window, hidden)
        shown = sorted(outcome.reasons.items())[: model.REASONS_TOLD]
        reasons = tuple(model.Refusal(storage_key=key, reason=why) for key, why in shown)
        return outcome.counted + model.Removed(failed=len(outcome.failed), reasons=reasons)

    async def _finish_marks(
        self,
        connection: AnyConnection,
        claim: model.Claim,
        keys: Sequence[model.ClaimedKey],
        answers: Mapping[str, tuple[model.ObjectResult, str]],
        outcome: Outcome,
        now: datetime,
        upload_window: timedelta,
        hidden: Mapping[str, model.Hidden],
    ) -> None:
        gone = [key for key in keys if _object_went(key, answers[key.mark.storage_key][0])]
        if rescue := sorted(outcome.rescue):
            went = {key.mark.storage_key for key in gone}
            await connection.execute(
                RETRY,
                rescue,
                now,
                FIRST_RETRY,
                [outcome.reasons.get(key) for key in rescue],
                [REFUSED_RETRY if key in outcome.refused else LAST_RETRY for key in rescue],
                [key in went for key in rescue],
            )
        if gone:
            await connection.execute(
                INSERT_TOMBSTONE,
                [key.mark.storage_key for key in gone],
                [key.mark.verdict.value for key in gone],
                claim.operation_id,
                now,
                upload_window,
                [key.mark.storage_key in hidden for key in gone],
            )
        finished = [key.mark.storage_key for key in keys if key.mark.storage_key not in outcome.rescue]
        await connection.execute(FINISH, finished)


async def _bring_back(
    connection: AnyConnection,
    keys: Sequence[model.ClaimedKey],
    answers: Mapping[str, tuple[model.ObjectResult, str]],
    outcome: Outcome,
) -> None:
    """Queue the objects of refused rows for healing where they can be restored, and end their marks (R-53).

    Otherwise the row would be live, its object gone, and the copy purged one day. The claim tried the
    removal; so the cause of the refusal is newer, or the claim is by an older version.
    """
    row_missing = [
        key.mark.storage_key
        for key in keys
        if key.mark.storage_key in outcome.refused and _object_went(key, answers[key.mark.storage_key][0])
    ]
    back = (
        await restore_queue.keys_of(connection, restore_queue.RECOVERABLE, row_missing)
        if row_missing
        else set()
    )
    if back:
        await connection.execute(restore_queue.QUEUE, sorted(back), STAYS)
        outcome.failed -= back
        outcome.reasons |= {key: f"{outcome.reasons[key]}; its object comes back" for key in back}


def _object_went(key: model.ClaimedKey, result: model.ObjectResult) -> bool:
    """Whether an object that we meant to delete is gone. A dangling record never had one."""
    return result in model.GONE and key.decision.delete_object and not key.decision.verify_absence


def _left(key: model.ClaimedKey, result: model.ObjectResult) -> bool:
    return key.mark.verdict is model.Verdict.DEPARTED and _object_went(key, result)


def _object_lines(
    keys: Sequence[model.ClaimedKey],
    answers: Mapping[str, tuple[model.ObjectResult, str]],
    hidden: Mapping[str, model.Hidden],
) -> Lines:
    lines = Lines()
    for key in keys:
        result, detail = answers[key.mark.storage_key]
        went = key.mark.bytes if _object_went(key, result) else None
        where = hidden.get(key.mark.storage_key)
        recovery = soft_deleted.as_json(where) if where else None
        lines.add(key.mark, result=result.value, detail=detail or None, size=went, recovery=recovery)
    return lines


def _objects(
    keys: Sequence[model.ClaimedKey],
    answers: Mapping[str, tuple[model.ObjectResult, str]],
    known_gone: Mapping[str, bool],
) -> model.Removed:
    """Objects and bytes deleted, each counted once however often its rows are tried."""
    went = [
        key
        for key in keys
        if _object_went(key, answers[key.mark.storage_key][0]) and not known_gone[key.mark.storage_key]
    ]
    return model.Removed(objects=len(went), bytes=sum(key.mark.bytes for key in went))
