"""What the page shows: each view looks by the functions of `operations`, and fills a template."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime, time
from typing import TypeVar

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response

from reconciler import model
from reconciler.api.page import charts
from reconciler.api.page.health import health
from reconciler.api.page.looks import Looks, newest
from reconciler.api.page.visit import Visit
from reconciler.api.parameters import LARGEST
from reconciler.api.problems import Problem
from reconciler.catalog.statistics import DAYS
from reconciler.errors import ReconcilerError
from reconciler.operations import audit, marks, passes
from reconciler.planning.formatting import human_bytes
from reconciler.settings import origin_text, shown, tell

W = TypeVar("W", bound=model.enums.Word)

PAGE = 50
LINES = (100, 500, 1_000)
"""So many lines of the ledger can be asked for."""

SHORT_SECONDS = 1.5
"""How long the first page waits for each of what is slow to add up; else it comes later."""

NUMBER = re.compile(r"[1-9][0-9]{0,18}")


def looks_of(request: Request) -> Looks:
    looks: Looks = request.app.state.looks
    return looks


async def overview(visit: Visit) -> Response:
    """Is it healthy; what would go and why; what waits for me; what went; what does it cost."""
    looks = looks_of(visit.request)
    await looks.over_time.within(SHORT_SECONDS)
    await looks.stored.within(SHORT_SECONDS)
    answer = visit.answer("overview.html", **added_up(looks), **await standing(visit), events="/events")
    if not (looks.over_time.fresh and looks.stored.fresh):
        answer.background = BackgroundTask(_refresh, looks)
    return answer


async def standing(visit: Visit) -> Mapping[str, object]:
    """What the first page shows live."""
    now = await looks_of(visit.request).now.now()
    return {
        "now": now.status.now,
        "status": now.status,
        "running": now.running,
        "asked": now.asked,
        "went": now.went,
        "health": health(now.status, visit.admin.replica()),
    }


def added_up(looks: Looks) -> dict[str, object]:
    """What takes long to add up, as it was last; None where it never was."""
    found: dict[str, object] = {"over_time": None, "charts": None, "stats": None, "growth": None}
    if (over_time := looks.over_time.last) is not None:
        found |= {"over_time": over_time, "charts": charts.all_of(over_time.trends)}
    if (stored := looks.stored.last) is not None:
        breakdown = stored.stored
        days = charts.growth(breakdown.days, breakdown.at.astimezone(UTC).date(), DAYS)
        growth = charts.chart("growth", "Made by the day and still stored, bytes", days, human_bytes)
        found |= {"stats": stored, "growth": growth}
    return found


async def _refresh(looks: Looks) -> None:
    """What a page did not wait for. Whoever looks next is told why it cannot be had."""
    with suppress(ReconcilerError):
        await looks.over_time.now()
    with suppress(ReconcilerError):
        await looks.stored.now()


async def list_passes(visit: Visit) -> Response:
    """What ran, and what waits for a decision."""
    catalog = visit.site.catalog
    before = whole(visit, "before")
    wanted_state, wanted_kind = word(visit, "state", model.PassState), word(visit, "kind", model.PassKind)
    found = await passes.page(catalog, before, PAGE + 1, state=wanted_state, kind=wanted_kind)
    return visit.answer(
        "passes.html",
        now=await catalog.records.now(),
        passes=found[:PAGE],
        more=found[PAGE - 1].current.id if len(found) > PAGE else None,
        states=[*model.PassState],
        kinds=[*model.PassKind],
        asked={"state": wanted_state or "", "kind": wanted_kind or ""},
        waiting=(await looks_of(visit.request).now.now()).asked,
    )


async def show_pass(visit: Visit) -> Response:
    """One pass, and the decision about it where it waits for one."""
    pass_id = pass_of(visit)
    return visit.answer("pass.html", **await one_pass(visit, pass_id), events=f"/events?pass={pass_id}")


def pass_of(visit: Visit) -> int:
    """The number in the path. Raises Problem."""
    given = visit.request.path_params["pass_id"]
    if not _is_number(given):
        raise Problem(404, "no_such_pass", "there is no such pass")
    return int(given)


async def one_pass(visit: Visit, pass_id: int) -> Mapping[str, object]:
    """What the page of a pass shows. Raises NotDone."""
    catalog = visit.site.catalog
    detail = await passes.show(catalog, pass_id)
    rows = sorted(
        (prefix or "(unknown)", verdict, number, detail.bytes.get((prefix, verdict), 0))
        for (prefix, verdict), number in detail.marks.items()
    )
    return {
        "now": await catalog.records.now(),
        "detail": detail,
        "one": detail.current,
        "rows": rows,
        "total": sum(detail.marks.values()),
        "total_bytes": sum(detail.bytes.values()),
        "progress": await passes.progress(catalog, detail.current),
        "both": detail.current.both_sides,
        "paused": (await catalog.pauses.read()).paused,
    }


async def list_marks(visit: Visit) -> Response:
    """What is to go, why, and when."""
    catalog = visit.site.catalog
    wanted = model.MarkFilter(
        verdict=word(visit, "verdict", model.Verdict),
        state=word(visit, "state", model.MarkState),
        prefix=text(visit, "prefix"),
        pass_id=whole(visit, "pass"),
    )
    found = await marks.page(catalog, wanted, text(visit, "after"), PAGE + 1)
    return visit.answer(
        "marks.html",
        now=await catalog.records.now(),
        marks=found[:PAGE],
        more=found[PAGE - 1].mark.storage_key if len(found) > PAGE else None,
        asked=_asked(visit, "verdict", "state", "prefix", "pass"),
    )


async def list_holds(visit: Visit) -> Response:
    """What is kept on purpose."""
    catalog = visit.site.catalog
    wanted = model.HoldFilter(
        kind=word(visit, "kind", model.HoldKind),
        prefix=text(visit, "prefix"),
        reason=text(visit, "reason") or None,
    )
    last = None
    if after := text(visit, "after"):
        last = model.Hold(
            kind=model.HoldKind(text(visit, "after_kind")),
            target=after,
            author=text(visit, "after_author"),
            reason="",
        )
    found = await catalog.holds.page(wanted, last, PAGE + 1)
    return visit.answer(
        "holds.html",
        now=await catalog.records.now(),
        holds=found[:PAGE],
        more=found[PAGE - 1] if len(found) > PAGE else None,
        kinds=[*model.HoldKind],
        asked=_asked(visit, "kind", "prefix", "reason"),
        target=text(visit, "target"),
    )


async def list_ledger(visit: Visit) -> Response:
    """What went, the newest first."""
    since, until = _day(visit, "since"), _day(visit, "until")
    wanted = model.LedgerFilter(
        since=since,
        until=until,
        key=text(visit, "key") or None,
        pass_id=whole(visit, "pass"),
        virtual_key_id=text(visit, "virtual_key") or None,
    )
    size = whole(visit, "last") or LINES[0]
    size = min(size, LINES[-1])
    found = await newest(visit.site.catalog, wanted, size)
    return visit.answer(
        "ledger.html",
        lines=found,
        size=size,
        more=[each for each in LINES if each > size] if len(found) == size else [],
        asked=_asked(visit, "since", "until", "key", "pass", "virtual_key"),
    )


async def explain(visit: Visit) -> Response:
    """Why a key stays, or goes, and when."""
    key = text(visit, "key")
    found = await visit.site.explain(key) if key else None
    return visit.answer("explain.html", wanted=key, found=found, now=found.at if found else None)


async def settings(visit: Visit) -> Response:
    """Every setting of this replica, with where its value comes from; secrets masked."""
    told = tell(visit.admin.loaded())
    part = text(visit, "search").lower()
    listed = [each for each in told if part in each.name.lower() or part in each.meaning.lower()]
    return visit.answer(
        "settings.html",
        settings=listed,
        replica=visit.admin.replica(),
        asked=_asked(visit, "search"),
        origin=origin_text,
        shown=shown,
    )


async def list_audit(visit: Visit) -> Response:
    """Who changed what over HTTP."""
    by = text(visit, "caller") or None
    found = await audit.page(visit.site.catalog, whole(visit, "before"), PAGE + 1, caller=by)
    return visit.answer(
        "audit.html",
        lines=found[:PAGE],
        more=found[PAGE - 1].id if len(found) > PAGE else None,
        asked=_asked(visit, "caller"),
    )


def text(visit: Visit, name: str) -> str:
    """A parameter. Raises Problem for what nothing can hold."""
    given = visit.asked(name)
    if "\0" in given:
        raise Problem(422, "invalid", f"{name}: has a character that nothing can hold")
    return given


def word(visit: Visit, name: str, kind: type[W]) -> W | None:
    """A parameter that is one of these words. Raises Problem."""
    given = visit.asked(name)
    if not given:
        return None
    if given not in {*kind}:
        raise Problem(422, "invalid", f"{name}: must be one of {', '.join(kind)}")
    return kind(given)


def whole(visit: Visit, name: str) -> int | None:
    """A parameter that is a number of something. Raises Problem."""
    given = visit.asked(name)
    if not given:
        return None
    if not _is_number(given):
        raise Problem(422, "invalid", f"{name}: must be a number")
    return int(given)


def _is_number(given: str) -> bool:
    return bool(NUMBER.fullmatch(given)) and int(given) <= LARGEST


def _day(visit: Visit, name: str) -> datetime | None:
    given = visit.asked(name)
    try:
        return datetime.combine(date.fromisoformat(given), time(), UTC) if given else None
    except ValueError:
        raise Problem(422, "invalid", f"{name}: must be a day, such as 2026-11-30") from None


def _asked(visit: Visit, *names: str) -> Mapping[str, str]:
    return {name: visit.asked(name) for name in names}
