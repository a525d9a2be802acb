"""Traces of real passes, sent to a collector of the test's own; and to one that is of no use."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from reconciler.model import Outcome
from reconciler.telemetry.traces import tracing
from tests.integration.site import Site

pytestmark = pytest.mark.anyio


class Collector:
    """What was sent, decoded; `status` is what it answers."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.address = ""
        self.exports: list[ExportTraceServiceRequest] = []

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for export in self.exports
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def resource(self) -> dict[str, str]:
        (one, *_) = self.exports[0].resource_spans
        return {each.key: each.value.string_value for each in one.resource.attributes}


@contextmanager
def collector(status: int = 200) -> Iterator[Collector]:
    made = Collector(status)

    class Receive(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/traces"
            made.exports.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(made.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Receive) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            made.address = f"http://127.0.0.1:{server.server_port}"
            yield made
        finally:
            server.shutdown()
            thread.join()


def path_of(span: Span, spans: list[Span]) -> str:
    """`pass/range`, by the names of the spans that it lies in."""
    by_id = {each.span_id: each for each in spans}
    names = [span.name]
    while span.parent_span_id:
        span = by_id[span.parent_span_id]
        names.insert(0, span.name)
    return "/".join(names)


def attributes_of(span: Span) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


async def drifting(site: Site) -> None:
    await site.tracked("image/live-0", "image/live-1")
    await site.put(*(f"image/secret-orphan-{number}" for number in range(5)))


@pytest.mark.parametrize(
    ("order", "compared"), [("bytes", {"range"}), ("none", {"listing", "join"})], ids=["ordered", "unordered"]
)
async def test_a_pass_and_its_collection_are_traced(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch, order: str, compared: set[str]
) -> None:
    await drifting(ordered_site)
    with collector() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.address)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "media-in-test")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        report = await ordered_site.once(bucket__listing_order=order)
        spans = received.spans
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 5), report.detail
    resource = received.resource()
    assert (resource["service.name"], resource["deployment.environment"]) == ("media-in-test", "test")

    paths = {path_of(span, spans) for span in spans}
    assert {f"pass/{name}" for name in {"planning", "arming", "nomination", *compared}} <= paths
    in_batch = {f"collection/batch/{name}" for name in ("settling", "deletion", "confirmation")}
    assert {"pass", "collection", "collection/claim", *in_batch} <= paths

    sweep, retention = (attributes_of(span) for span in spans if span.name == "pass")
    assert (sweep["reconciler.kind"], retention["reconciler.kind"]) == ("sweep", "retention")
    assert (sweep["reconciler.objects"], sweep["reconciler.found"]) == (7, 5)
    (row,) = await ordered_site.sql("SELECT id, epoch FROM reconciler.passes WHERE kind = 'sweep'")
    assert (sweep["reconciler.pass_id"], sweep["reconciler.epoch"]) == (row["id"], row["epoch"])
    (batch,) = (attributes_of(span) for span in spans if span.name == "batch")
    assert (batch["reconciler.keys"], batch["reconciler.objects"], batch["reconciler.failed"]) == (5, 5, 0)
    assert not [span.name for span in spans if span.status.code == Status.STATUS_CODE_ERROR]
    # No key leaves, nor anything that grows with the bucket.
    assert b"secret-orphan" not in b"".join(each.SerializeToString() for each in received.exports)
    assert max(len(span.attributes) for span in spans) <= 10


async def test_a_collector_that_says_nothing_delays_neither_pass_nor_end(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request waits for ten minutes, and the last one still does when all else has ended."""
    await drifting(ordered_site)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
        # One span fills a batch, and the queue holds no more: the rest is dropped.
        monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "1")
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
        report = await ordered_site.once()
        assert "traces" in {thread.name for thread in threading.enumerate()}
    assert (report.outcome, report.removed.objects) == (Outcome.CONVERGED, 5), report.detail


async def test_a_collector_that_refuses_is_told_of_once(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await drifting(ordered_site)
    with collector(status=400) as refusing:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", refusing.address)
        monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
        with structlog.testing.capture_logs() as logs:
            report = await ordered_site.once()
    assert report.outcome is Outcome.CONVERGED, report.detail
    assert len(refusing.exports) > 1
    told = Counter(line["event"] for line in logs if "traces" in line["event"])
    assert told == {"traces are not accepted; spans are dropped until they are": 1}


def test_variables_that_contradict_each_other_cost_the_traces_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "0")
    with structlog.testing.capture_logs() as told, tracing(wanted=True) as tracer:
        assert tracer is None
    assert [line["event"] for line in told] == ["no traces: a variable of OpenTelemetry cannot be used"]


async def test_without_an_endpoint_nothing_of_it_is_loaded(
    ordered_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.setattr("reconciler.telemetry.traces._provider", None)
    assert (await ordered_site.once()).outcome is Outcome.CONVERGED
