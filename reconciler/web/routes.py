"""`/metrics`, `/healthz`, `/readyz`; everything else is 404."""

from collections.abc import Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from reconciler.lean import hollow

with hollow("html"):  # which escapes what only a debugger shows: 0.4 MiB
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route


class Health(Protocol):
    """Health as the probes read it. Each answer has one line for each fault, and none where all is well."""

    def stuck(self) -> Sequence[str]:
        """The loops that have been silent for too long, by name."""
        ...

    def unmet(self) -> Sequence[str]:
        """The conditions of readiness that do not hold yet."""
        ...


def build_app(registry: CollectorRegistry, health: Health) -> Starlette:
    """The application for one registry and one health, both shared with the loops of this process."""

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type})

    async def healthz(_: Request) -> Response:
        return _verdict(health.stuck())

    async def readyz(_: Request) -> Response:
        return _verdict([f"not yet: {condition}" for condition in health.unmet()])

    app = Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
        ]
    )
    app.router.redirect_slashes = False
    return app


def _verdict(faults: Sequence[str]) -> Response:
    """200 `ok`, or 503 with one fault per line."""
    if faults:
        return PlainTextResponse("\n".join(faults) + "\n", status_code=503)
    return PlainTextResponse("ok\n")
