"""Spans of requests over OTLP: queue, inference and encoding, under the trace that ``traceparent`` names.

Needs the extra ``[otel]`` and an endpoint in OpenTelemetry's own variables (``OTEL_EXPORTER_OTLP_ENDPOINT``).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Self

from starlette.types import Scope

from gan_serve.service import request_log

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

STAGES = "gan_serve.stages"  # key in a request's scope: the times of its stages, if spans are exported
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Stages = dict[str, tuple[float, float]]  # start and end of a stage, of time.perf_counter


class Tracing:
    """Exports the spans of requests."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider

    @classmethod
    def from_environment(cls) -> Self | None:
        """Return the tracing that the environment sets; None if it names no endpoint, or the extra is missing."""
        provider = _provider() if any(map(os.environ.get, ENDPOINTS)) else None
        return cls(provider) if provider else None

    def record(self, scope: Scope, name: str, status: int, span: tuple[float, float]) -> None:
        """Export the span of a request (start and end by ``time.perf_counter``) and those of its stages."""
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
        parent = TraceContextTextMapPropagator().extract(carrier)
        tracer = self._provider.get_tracer("gan_serve")
        offset = time.time_ns() - time.perf_counter_ns()
        attributes: dict[str, Any] = {"http.request.method": scope["method"], "http.response.status_code": status}
        whole = tracer.start_span(
            name, parent, trace.SpanKind.SERVER, attributes=attributes, start_time=_nanoseconds(span[0], offset)
        )
        context = trace.set_span_in_context(whole)
        stages: Stages = scope.get(STAGES, {})
        for stage, (start, end) in stages.items():
            part = tracer.start_span(stage, context, start_time=_nanoseconds(start, offset))
            part.end(_nanoseconds(end, offset))
        whole.end(_nanoseconds(span[1], offset))

    def close(self) -> None:
        """Export the remaining spans."""
        self._provider.shutdown()


def _nanoseconds(counter: float, offset: int) -> int:
    return int(counter * 1e9) + offset


def _provider() -> TracerProvider | None:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        request_log.service.error('No traces: pip install "gan-serve[otel]".')
        return None
    provider = TracerProvider(
        resource=Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "gan-serve")})
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
