"""What knowing and keeping the bucket costs a month."""

from datetime import timedelta

from reconciler import model
from reconciler.catalog.open import Catalog
from reconciler.errors import ErrorKind, NotDone
from reconciler.planning import costs

LATELY = timedelta(days=30)


async def cost(catalog: Catalog, objects: int | None, gib: float | None) -> model.Costs:
    """As the last released sweep counted it; or as if there were so many `objects`, with as many changes for
    each. `gib` is what a GiB costs a month. Asks nothing of the bucket. Reads every mark, and the ledger of
    the last month. Raises NotDone where nothing says how many objects there are.
    """
    last = await catalog.passes.last(model.PassKind.SWEEP, model.PassState.RELEASED)
    if last is None and objects is None:
        raise NotDone(ErrorKind.NOT_READY, "not_swept", "no sweep has counted the bucket yet")
    counted = last.tally if last else model.Tally()
    drift = await catalog.statistics.drift()
    deleted = await catalog.statistics.deleted_within(LATELY)
    freed = (await catalog.statistics.lately()).freed[LATELY.days]
    prices = model.Prices() if gib is None else model.Prices(gib=gib)
    supposed = objects is not None
    share = (objects or 0) / counted.objects if supposed and counted.objects else 1.0
    return costs.costs(
        objects if objects is not None else counted.objects,
        round(counted.bytes * share),
        pass_id=last.id if last and not supposed else None,
        deleted=round(deleted * share),
        freed=round(freed * share),
        drift={verdict: (keys, size) for verdict, (keys, size, _) in drift.items()},
        prices=prices,
    )
