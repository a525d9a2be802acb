"""Steps of the work: log lines inside one carry its names, and a tracer may time it."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from structlog.contextvars import bound_contextvars

from reconciler.ports import Attribute, Tracer


class Untraced:
    """Implements `ports.Tracer` by doing nothing."""

    def span(self, name: str, attributes: Mapping[str, Attribute]) -> AbstractContextManager[str | None]:  # noqa: ARG002
        return nullcontext()

    def note(self, **attributes: Attribute) -> None:
        pass


UNTRACED = Untraced()


@contextmanager
def step(
    tracer: Tracer, name: str, *, bound: Mapping[str, Attribute] | None = None, **attributes: Attribute
) -> Iterator[None]:
    """A step, which ends with the context. `bound` names it in every log line inside, including tasks
    started inside, and on its span; `attributes` are on the span alone. Never a storage key.
    """
    names = bound or {}
    with tracer.span(name, {**names, **attributes}) as trace_id:
        known = {} if trace_id is None else {"trace_id": trace_id}
        with bound_contextvars(**names, **known):
            yield
