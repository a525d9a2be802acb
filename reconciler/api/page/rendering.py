"""Templates, and how values are written in them: everything is escaped, a storage key is spelled out."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from reconciler import __version__
from reconciler.model import VERDICTS, MarkState, Verdict
from reconciler.model.moments import minute, moment
from reconciler.planning.formatting import age, counted, human_bytes, printable, timestamp

HERE = Path(__file__).parent
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    # Without a referrer a browser does not say either from which origin a form comes.
    "Referrer-Policy": "same-origin",
}

ASSETS: Mapping[str, tuple[bytes, str]] = {
    name: ((HERE / "assets" / name).read_bytes(), kind)
    for name, kind in (
        ("page.css", "text/css"),
        ("page.js", "text/javascript"),
        ("icon.svg", "image/svg+xml"),
    )
}


def asset(name: str) -> str:
    """The path of an asset: another one when it changes, so that browsers may keep it."""
    return f"/assets/{name}?{hashlib.sha256(ASSETS[name][0]).hexdigest()[:12]}"


def quoted(text: str) -> str:
    """For a part of a path or of a query: nothing of it can be taken for anything else."""
    return quote(text, safe="")


def when(at: datetime | None, now: datetime) -> Markup:
    """How far off a time is, and when that is."""
    if at is None:
        return Markup("no date")
    away = f"in {age(at - now)}" if at > now else f"{age(now - at)} ago"
    return Markup('<time datetime="{}">{} <span class="at">{}</span></time>').format(
        timestamp(at), away, moment(at)
    )


def exact(at: datetime | None) -> Markup:
    """A time in a column of a table."""
    return (
        Markup('<time datetime="{}" title="{}">{}</time>').format(timestamp(at), moment(at), minute(at))
        if at
        else Markup("no date")
    )


def a_month(size: int, price: float) -> str:
    """What bytes cost a month, in the currency of the price for a GiB; nothing where none is set."""
    if not price:
        return ""
    cost = size / 2**30 * price
    return f", {cost:,.2f} a month" if cost >= 0.01 or not size else ", less than 0.01 a month"  # noqa: PLR2004


def words(text: str) -> str:
    """A word of the program's as people write it."""
    return text.replace("_", " ")


ENVIRONMENT = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters.update(
    number=lambda value: f"{value:,}",
    bytes=human_bytes,
    a_month=a_month,
    key=printable,
    quoted=quoted,
    exact=exact,
    moment=moment,
    words=words,
    says=lambda verdict: Verdict(verdict).spec.says,
)
ENVIRONMENT.globals.update(
    asset=asset,
    when=when,
    age=age,
    counted=counted,
    version=__version__,
    verdicts=VERDICTS,
    mark_states=[*MarkState],
)


def fill(template: str, values: Mapping[str, object]) -> str:
    """A template with these values."""
    return ENVIRONMENT.get_template(template).render(values)


def answer(template: str, values: Mapping[str, object], status: int = 200) -> HTMLResponse:
    """The page that a template and these values make."""
    return HTMLResponse(fill(template, values), status, headers=dict(HEADERS))
