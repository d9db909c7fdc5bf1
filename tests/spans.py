"""OpenTelemetry's spans of one test, as its own SDK exports them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from trioagent import TracingConfig
from trioagent._tracing import SPAN
from trioagent.testing import ModelRequest


class Spans:
    """What was exported by a provider of one test."""

    def __init__(self, *, sampled: bool = True) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider() if sampled else TracerProvider(sampler=ALWAYS_OFF)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def all(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def parent(self, span: ReadableSpan) -> ReadableSpan | None:
        ids = {each.context.span_id: each for each in self.all if each.context is not None}
        return None if span.parent is None else ids.get(span.parent.span_id)

    def above(self, span: ReadableSpan) -> list[str]:
        """The names of all spans that *span* is in, the innermost first."""
        outer = self.parent(span)
        return [] if outer is None else [outer.name, *self.above(outer)]

    def text(self) -> str:
        return "\n".join(span.to_json() for span in self.all)

    def config(self, **options: Any) -> TracingConfig:
        return TracingConfig(tracer_provider=self.provider, **options)


@contextmanager
def recording(**options: Any) -> Iterator[Spans]:
    """Record spans; none is left open, nor current."""
    found = Spans(**options)
    yield found
    found.provider.shutdown()
    assert SPAN.get() is None
    assert not trace.get_current_span().get_span_context().is_valid


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def events(span: ReadableSpan) -> list[tuple[str, dict[str, Any]]]:
    return [(event.name, dict(event.attributes or {})) for event in span.events]


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def named(request: ModelRequest) -> tuple[int, int]:
    """The trace and the span that a request says it belongs to."""
    _, trace_id, span_id, _ = request.headers["traceparent"].split("-")
    return int(trace_id, 16), int(span_id, 16)
