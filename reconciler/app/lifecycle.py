"""The bucket's lifecycle rules: what they would be, and the bucket's once they are written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reconciler.app import wiring
from reconciler.catalog.open import open_catalog
from reconciler.errors import ErrorKind, NotDone
from reconciler.model import DeleteMode, Mode
from reconciler.model.keys import merge_prefixes
from reconciler.operations.expiry import look
from reconciler.planning import lifecycle_export
from reconciler.planning.lifecycle_export import Expiry, Exported, Rule
from reconciler.settings import Settings
from reconciler.stores.s3 import open_bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Ours, those that the bucket has, and all that it would have."""

    exported: Exported
    present: Sequence[Rule]
    wanted: Sequence[Rule]


async def export(
    settings: Settings, tell: Callable[[Rules], None], *, apply: bool, expire: bool = False
) -> None:
    """Tell the rules, then write them if `apply`, unless the bucket has just these.

    `expire`: with the expiry of objects, where the database has nothing against it.

    Raises NotDone in dry run, and where the store does not keep what was written.
    """
    expiry = await _expiry(settings) if expire else None
    async with open_bucket(wiring.bucket_config(settings)) as bucket:
        exported = lifecycle_export.export(
            settings.bucket.prefixes,
            None if settings.delete_mode == "auto" else DeleteMode(settings.delete_mode),
            settings.undo_window,
            settings.upload_window,
            versions=await bucket.versions.kept(),
            expiry=expiry,
        )
        present = await bucket.lifecycle.read()
        wanted = lifecycle_export.beside(present, exported.rules)
        tell(Rules(exported=exported, present=present, wanted=wanted))
        if not apply or list(present) == wanted:
            return
        if settings.mode() is not Mode.LIVE:
            message = "dry run: the bucket's rules are left as they are"
            raise NotDone(ErrorKind.CONFLICT, "dry_run", message)
        await bucket.lifecycle.write(wanted)
        kept = await bucket.lifecycle.read()
    if any(each not in kept for each in wanted):
        message = "the store took the rules, and does not show all of them: it may not know some of them"
        raise NotDone(ErrorKind.CONFLICT, "rules_not_kept", message)


async def _expiry(settings: Settings) -> Expiry:
    async with open_catalog(wiring.catalog_config(settings)) as catalog:
        prefixes = merge_prefixes(settings.bucket.prefixes)
        policy, known = await look(catalog, settings.policy(), prefixes)
    return Expiry(policy=policy, known=known)
