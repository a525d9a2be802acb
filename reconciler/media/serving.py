"""One medium for one request: may it be had, and how it is sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from reconciler.media import access, conditions, describing, links, paths
from reconciler.media.access import Grant
from reconciler.media.conditions import NotModified, Span, Unsatisfiable
from reconciler.media.problems import Problem, no_such_medium, unavailable
from reconciler.media.sending import Sent
from reconciler.media.site import Media
from reconciler.model import LiveRow, Presigned, StoredMedium
from reconciler.planning.formatting import counted
from reconciler.stores.s3.reading import Body, Changed

TRIES = 2
"""An object that is replaced between its description and its bytes is described again, once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request that is granted. `give_back` gives its place back."""

    media: Media
    request: Request
    key: str
    grant: Grant
    give_back: Callable[[], None]


async def get_medium(request: Request) -> Response:
    """A medium, or a part of it.

    `Range`, `If-None-Match`, `If-Modified-Since` and `If-Range` are honoured; where several ranges are asked
    for, all of it is sent. What is not there, not there any more, or somebody else's is 404.
    """
    media: Media = request.app.state.media
    try:
        key, grant = await _granted(media, request)
    except Problem:
        media.counts.served("refused", 0)
        raise
    asked = _Asked(
        media=media,
        request=request,
        key=key,
        grant=grant,
        give_back=media.places.take(grant.owner.id or ""),
    )
    answer: Response | None = None
    try:
        answer = await (_redirected(asked) if media.terms.redirects else _streamed(asked))
        await _count(asked)
    except BaseException:
        asked.give_back()
        media.counts.served("failed", 0)
        if isinstance(answer, Sent):
            answer.drop()
        raise
    if not isinstance(answer, Sent):
        asked.give_back()
        media.counts.served("answered", 0)
    return answer


async def _count(asked: _Asked) -> None:
    """Count the access, and have it written first where the medium is to be deleted."""
    media = asked.media
    if media.site().records is None or media.terms.uncounted.asks(asked.request.headers):
        return
    media.accesses.note(asked.key)
    if asked.grant.marked:
        await media.recorder.write_marked(asked.key)


def key_of(media: Media, request: Request) -> str:
    """The storage key in the path. Raises Problem for what cannot be a medium's."""
    key = paths.storage_key(request.path_params["storage_key"])
    if key is None or not paths.served(key, media.terms.prefixes):
        raise no_such_medium()
    return key


async def own_row(media: Media, request: Request) -> tuple[str, LiveRow]:
    """The key in the path, and the caller's own row of it. Raises Problem where there is none."""
    key = key_of(media, request)
    looked = await media.site().tables.find(key, access.presented(request.headers))
    row = access.own(looked.rows, looked.caller, media.terms.owner)
    if row is None:
        raise no_such_medium()
    return key, row


async def _granted(media: Media, request: Request) -> tuple[str, Grant]:
    key = key_of(media, request)
    looked = await media.site().tables.find(key, access.presented(request.headers))

    def link(row: LiveRow) -> float | None:
        return links.seconds_left(
            media.secrets.look(), links.subject(key, row), request.query_params, media.now()
        )

    grant = access.decide(media.terms.access, looked, link, media.terms.owner)
    if grant is None:
        raise no_such_medium()
    return key, grant


async def _redirected(asked: _Asked) -> Response:
    """To the store, which is told to send it under the type and the name that we would send."""
    types = asked.media.types
    if (stored := types.get(asked.key)) is None:
        stored = (await _described(asked)).content_type
        types.put(asked.key, stored)
    kind, terms = describing.content_type(stored), asked.media.terms
    seconds, left = terms.redirect_for.total_seconds(), asked.grant.seconds_left
    wanted = Presigned(
        method=asked.request.method,
        key=asked.key,
        seconds=max(1, int(seconds if left is None else min(seconds, left))),
        answer={
            "response-cache-control": describing.cache_control(asked.grant, terms.cache_for.total_seconds()),
            "response-content-disposition": describing.disposition(kind, asked.key),
            "response-content-type": kind,
        },
    )
    place = await asked.media.site().outside.presigned(wanted)
    return Response(status_code=302, headers={"Location": place, "Cache-Control": "no-store"})


async def _streamed(asked: _Asked) -> Response:
    store, headers = asked.media.site().store, asked.request.headers
    if asked.request.method == "GET" and not conditions.conditional(headers):
        return _sent(asked, await store.open(asked.key))
    for _ in range(TRIES):
        medium = await _described(asked)
        match conditions.wanted(headers, medium):
            case NotModified():
                kept = _told(asked, medium)
                del kept["Content-Type"], kept["Content-Disposition"]
                return Response(status_code=304, headers=kept)
            case _ if asked.request.method == "HEAD":
                return Response(headers={**_told(asked, medium), "Content-Length": str(medium.size)})
            case Unsatisfiable():
                place = {"Content-Range": f"bytes */{medium.size}"}
                raise Problem(416, "no_such_range", f"the medium has {counted(medium.size, 'byte')}", place)
            case span:
                bounds = (span.first, span.last) if span else None
                try:
                    return _sent(
                        asked, await store.open(asked.key, etag=medium.etag, span=bounds), span, medium
                    )
                except Changed:
                    continue
    raise unavailable()


async def _described(asked: _Asked) -> StoredMedium:
    medium = await asked.media.site().store.describe(asked.key)
    if medium is None:
        raise no_such_medium()
    return medium


def _told(asked: _Asked, medium: StoredMedium) -> dict[str, str]:
    """The headers that say what it is, and who may keep it."""
    cached = describing.of_grant(asked.grant, asked.media.terms.cache_for.total_seconds())
    return describing.of_medium(medium, asked.key) | cached


def _sent(
    asked: _Asked, body: Body | None, span: Span | None = None, whole: StoredMedium | None = None
) -> Sent:
    if body is None:
        raise no_such_medium()
    try:
        headers = _told(asked, body.medium)
        if span and whole:
            headers["Content-Range"] = f"bytes {span.first}-{span.last}/{whole.size}"
        return Sent(206 if span else 200, headers, body, partial(_ended, asked))
    except BaseException:
        body.close()
        raise


def _ended(asked: _Asked, size: int, *, whole: bool) -> None:
    asked.give_back()
    asked.media.counts.served("sent" if whole else "cut", size)
