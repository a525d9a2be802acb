"""Traces of passes and collections, sent to an OTLP collector over HTTP, where one is named.

The standard variables are the SDK's own: OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT), …_HEADERS,
…_TIMEOUT, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER. OpenTelemetry comes with the
extra `otel`, and is loaded only where traces are wanted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog

from reconciler import __version__
from reconciler.ports import Attribute, Tracer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

log = structlog.get_logger(__name__)

SERVICE = "media-reconciler"
PREFIX = "reconciler."
"""The prefix of each attribute's name, so that none is mistaken for one of OpenTelemetry's."""

FLUSH_SECONDS = 2.0
"""How long the program waits at its end until the last spans are sent, however slow the collector is."""

ATTRIBUTES, LENGTH = 32, 256
"""The most attributes of a span, and the most characters of one attribute."""


@contextmanager
def tracing(*, wanted: bool) -> Iterator[Tracer | None]:
    """A tracer while the context lasts; None where none is wanted or OpenTelemetry is not installed."""
    provider = _provider() if wanted else None
    if provider is None:
        yield None
        return
    try:
        yield OpenTelemetry(provider)
    finally:
        _flush(provider)


def _provider() -> TracerProvider | None:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import SpanLimits, TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        log.warning("no traces: OpenTelemetry is not installed; pip install 'media-reconciler[otel]'")
        return None
    # It logs every failed export; our `Announcing` exporter logs only the first.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    ours = Resource.create({"service.name": SERVICE, "service.version": __version__})
    provider = TracerProvider(
        resource=ours.merge(OTELResourceDetector().detect()),
        span_limits=SpanLimits(max_span_attributes=ATTRIBUTES, max_span_attribute_length=LENGTH),
        shutdown_on_exit=False,
    )
    try:
        # Its queue is bounded (2,048 spans, or OTEL_BSP_MAX_QUEUE_SIZE): spans that do not fit are dropped.
        provider.add_span_processor(BatchSpanProcessor(_announcing(OTLPSpanExporter())))
    except (OSError, ValueError) as error:
        log.warning("no traces: a variable of OpenTelemetry cannot be used", reason=str(error))
        return None
    return provider


def _announcing(exporter: SpanExporter) -> SpanExporter:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult  # noqa: PLC0415

    class Announcing(SpanExporter):
        """Logs when exports begin to fail, and when they succeed again."""

        def __init__(self) -> None:
            self._failing = False

        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            try:
                result = exporter.export(spans)
            except Exception as error:
                log.debug("spans not exported", exc_info=error)
                result = SpanExportResult.FAILURE
            failed = result is not SpanExportResult.SUCCESS
            if failed and not self._failing:
                log.warning("traces are not accepted; spans are dropped until they are")
            elif self._failing and not failed:
                log.warning("traces are accepted again")
            self._failing = failed
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    return Announcing()


def _flush(provider: TracerProvider) -> None:
    """Send the remaining spans, with a time limit: the program's end does not wait for the thread."""
    flushing = threading.Thread(target=provider.shutdown, name="traces", daemon=True)
    flushing.start()
    flushing.join(FLUSH_SECONDS)


class OpenTelemetry:
    """Implements `ports.Tracer`."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer(SERVICE, __version__)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Attribute]) -> Iterator[str | None]:
        from opentelemetry.trace import StatusCode, format_trace_id  # noqa: PLC0415

        # Exceptions are not recorded: their text may name a key.
        with self._tracer.start_as_current_span(
            name,
            attributes=_prefixed(attributes),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield format_trace_id(span.get_span_context().trace_id)
            except Exception as error:
                span.set_status(StatusCode.ERROR, type(error).__name__)
                raise

    def note(self, **attributes: Attribute) -> None:
        from opentelemetry.trace import get_current_span  # noqa: PLC0415

        get_current_span().set_attributes(_prefixed(attributes))


def _prefixed(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {PREFIX + name: attribute for name, attribute in attributes.items()}
