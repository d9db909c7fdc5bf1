"""OpenTelemetry: spans of runs, chats, model calls and blocks, for a program that has set up a tracer provider.

Only OpenTelemetry's API is used, and it is not imported here: a program that has set up a provider has imported
it already. Without a provider, a span costs one context variable lookup.

A span is current for the duration of its block, for OpenTelemetry and for `add_event`. Both are context variables,
which Trio passes to tasks and threads started meanwhile, so what is traced there has the right parent.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, Token
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from . import _span_names as names
from ._errors import InvalidInputError, ModelStatusError
from ._exceptions import leaves, without_cancelled
from ._messages import ChatMessage, Usage

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanKind, Tracer

Value = str | bool | int | float | Sequence[str]

CONTENT_VARIABLE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_API = "opentelemetry.trace"
_CONTENT_CHARS = 64 * 1024  # of one attribute
_TEXT_CHARS = 16 * 1024  # of one message in it
_WORDS_CHARS = 300  # of an error's text
_ERROR_NAME_CHARS = 100


class ProvidesTracers(Protocol):
    """OpenTelemetry's ``TracerProvider``, structurally, so that its package is not required."""

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
    ) -> Tracer: ...


class Interruption(Exception):
    """Ends a chat early that will be resumed later; not an error of the chat."""


@attrs.frozen(kw_only=True)
class TracingConfig:
    """What is recorded of agents with OpenTelemetry, and where.

    Attributes:
        tracer_provider: where spans go; by default the process's own one, if it has set up one
            (``opentelemetry.trace.set_tracer_provider``).
        content: also record message content: messages, answers, code, results, the texts of errors, and the names of
            memories. They are cut to 64 KiB each. API keys are never recorded, nor is any content of a chat that has a
            `ChatFilter`.
    """

    tracer_provider: ProvidesTracers | None = None
    content: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))

    def __attrs_post_init__(self) -> None:
        if self.tracer_provider is not None and not callable(getattr(self.tracer_provider, "get_tracer", None)):
            raise InvalidInputError(
                "TracingConfig.tracer_provider",
                f"must be a TracerProvider of opentelemetry, not {type(self.tracer_provider).__name__}",
            )

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> TracingConfig:
        """Read the environment, like other instrumentations of generative AI.

        Args:
            env: only ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` is used: content is recorded if it is
                ``true``, ``SPAN_ONLY`` or ``SPAN_AND_EVENT``.
        """
        return cls(content=env.get(CONTENT_VARIABLE, "").lower() in ("true", "span_only", "span_and_event"))


class Tracing:
    """A tracer, and whether content is recorded."""

    def __init__(self, tracer: Tracer, *, content: bool) -> None:
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.tracer: Tracer = tracer
        self.content: bool = content
        self.context: ModuleType = context
        self.trace: ModuleType = trace
        # Not the process's own propagators: baggage may contain data that a model's server should not get.
        self.propagator: TraceContextTextMapPropagator = TraceContextTextMapPropagator()

    def span(
        self, name: str, attributes: Mapping[str, Value], *, client: bool = False, content: bool = True
    ) -> ActiveSpan:
        """A span to be entered.

        Args:
            client: it is a request to another process.
            content: content may be recorded, if it is recorded at all.
        """
        kind = self.trace.SpanKind.CLIENT if client else self.trace.SpanKind.INTERNAL
        return ActiveSpan(self, name, kind, attributes, content=content and self.content)

    def under(self, headers: Mapping[str, str]) -> AbstractContextManager[None]:
        """In the body, spans are children of the span that a request's *headers* name, if they name one."""
        found = self.propagator.extract(headers, context=self.context.Context())
        if not self.trace.get_current_span(found).get_span_context().is_valid:
            return nullcontext()
        return _Attached(self, found)


class _Attached:
    """In the body, a context of OpenTelemetry is current."""

    def __init__(self, tracing: Tracing, context: Any) -> None:
        self._tracing, self._context = tracing, context

    def __enter__(self) -> None:
        self._token = self._tracing.context.attach(self._context)

    def __exit__(self, *exc: object) -> None:
        self._tracing.context.detach(self._token)


class ActiveSpan:
    """A span that is current for the duration of its block. The outcome of the block is recorded.

    A block that is cancelled, or interrupted to be resumed later, is not an error.
    """

    __slots__ = ("_attributes", "_entered", "_kind", "_name", "_outer", "_span", "content", "tracing")

    def __init__(
        self, tracing: Tracing, name: str, kind: SpanKind, attributes: Mapping[str, Value], *, content: bool
    ) -> None:
        self.tracing: Tracing = tracing
        self.content: bool = content
        self._name, self._kind, self._attributes = name, kind, attributes

    def __enter__(self) -> ActiveSpan:
        tracing = self.tracing
        self._span: Span = tracing.tracer.start_span(self._name, kind=self._kind, attributes=self._attributes)
        self._outer: Token[ActiveSpan | None] = SPAN.set(self)
        self._entered = tracing.context.attach(tracing.trace.set_span_in_context(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.tracing.context.detach(self._entered)
        SPAN.reset(self._outer)
        if error is not None:
            left = without_cancelled(error)
            if left is None or isinstance(left, Interruption):
                self.set(names.CANCELLED, True)
            else:
                self.failed(_error_type(left), str(left))
        self._span.end()

    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    def event(self, name: str, attributes: Mapping[str, Value] | None = None) -> None:
        self._span.add_event(name, attributes)

    def failed(self, error_type: str, words: str) -> None:
        """Record an error; its *words* are content."""
        trace = self.tracing.trace
        self.set(names.ERROR_TYPE, error_type)
        description = words[:_WORDS_CHARS] if self.content else None
        self._span.set_status(trace.Status(trace.StatusCode.ERROR, description))

    def set_usage(self, usage: Usage) -> None:
        self.set(names.INPUT_TOKENS, usage.prompt_tokens)
        self.set(names.OUTPUT_TOKENS, usage.completion_tokens)
        if usage.estimated:
            self.set(names.USAGE_ESTIMATED, True)

    def part(self, name: str, attributes: Mapping[str, Value], *, client: bool = False) -> ActiveSpan:
        """A child span, to be entered while this one is current."""
        return self.tracing.span(name, attributes, client=client, content=self.content)

    def headers(self) -> dict[str, str]:
        """Headers that tell a server to which span a request belongs."""
        found: dict[str, str] = {}
        self.tracing.propagator.inject(found, context=self.tracing.trace.set_span_in_context(self._span))
        return found


SPAN: ContextVar[ActiveSpan | None] = ContextVar("trioagent_span", default=None)
"""Our current span."""
NO_SPAN: AbstractContextManager[None] = nullcontext()
_NO_HEADERS: Mapping[str, str] = {}


def open_tracing(setting: bool | TracingConfig) -> Tracing | None:
    """The tracing of this process by *setting*; None if nothing is recorded.

    Raises:
        InvalidInputError: it is not a setting.
    """
    if not isinstance(setting, bool | TracingConfig):
        raise InvalidInputError("tracing", f"must be True, False or a TracingConfig, not {setting!r:.100}")
    if not setting:
        return None
    config = TracingConfig() if setting is True else setting
    provider = config.tracer_provider or process_provider()
    if provider is None:
        return None
    from . import __version__

    return Tracing(provider.get_tracer(names.SCOPE, __version__, schema_url=names.SCHEMA_URL), content=config.content)


def process_provider() -> ProvidesTracers | None:
    """The tracer provider that this process has set up, if it has."""
    if _API not in sys.modules:  # then the program cannot have set up one
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    return None if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider) else provider


def export_spans() -> None:
    """Have this process's own provider export what it has recorded so far; waits for that."""
    flush = getattr(process_provider(), "force_flush", None)
    if flush is not None:
        flush()


def add_event(name: str, attributes: Mapping[str, Value] | None = None) -> None:
    """Record an event in our current span, if there is one."""
    span = SPAN.get()
    if span is not None:
        span.event(name, attributes)


def start_span(
    tracing: Tracing | None, name: str, attributes: Mapping[str, Value], *, content: bool = True
) -> AbstractContextManager[ActiveSpan | None]:
    """A span with *tracing*, to be entered. Without it there is none, and events in the body go to no outer span."""
    if tracing is None:
        return NO_SPAN if SPAN.get() is None else _Untraced()
    return tracing.span(name, attributes, content=content)


class _Untraced(AbstractContextManager[None]):
    """In the body, none of our spans is current."""

    def __enter__(self) -> None:
        self._outer = SPAN.set(None)

    def __exit__(self, *exc: object) -> None:
        SPAN.reset(self._outer)


def current_headers() -> Mapping[str, str]:
    """What tells another process to which span its work belongs: to the current one of ours, if there is one."""
    span = SPAN.get()
    return _NO_HEADERS if span is None else span.headers()


def start_part(name: str, attributes: Mapping[str, Value]) -> AbstractContextManager[ActiveSpan | None]:
    """A child of our current span, to be entered; none if there is no current span."""
    outer = SPAN.get()
    return NO_SPAN if outer is None else outer.part(name, attributes)


def messages_json(messages: Sequence[ChatMessage]) -> str:
    """*messages* in the format of the conventions, as JSON: the latest, as far as there is room."""
    found: list[dict[str, Any]] = []
    room = _CONTENT_CHARS
    for message in reversed(messages):
        text = _cut(message.content, _TEXT_CHARS)
        room -= len(text)
        if room < 0 and found:
            break
        part = (
            {"type": "tool_call_response", "id": None, "response": text}
            if message.role == "tool"
            else {"type": "text", "content": text}
        )
        found.append({"role": message.role, "parts": [part]})
    return _json(found[::-1])


def answer_json(text: str, finish_reason: str) -> str:
    """An answer in the format of the conventions, as JSON."""
    part = {"type": "text", "content": _cut(text, _CONTENT_CHARS)}
    return _json([{"role": "assistant", "parts": [part], "finish_reason": finish_reason}])


def texts_json(texts: Mapping[str, str]) -> str:
    """An object of *texts* as JSON, cut to the size of an attribute."""
    found: dict[str, str] = {}
    room = _CONTENT_CHARS
    for name, text in texts.items():
        if room <= 0:
            break
        found[name] = _cut(text, room)
        room -= len(found[name]) + len(name)
    return _json(found)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _json(value: object) -> str:
    # A lone surrogate, which a model may write, would break an exporter.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


def _error_type(error: BaseException) -> str:
    """The error's class; for a group the class of all its leaves, if they have only one."""
    kinds = {type(leaf).__name__ for leaf in leaves(error)}
    return kinds.pop() if len(kinds) == 1 else type(error).__name__


def block_error_type(error: str) -> str:
    """The class at the beginning of a block's error text, which comes from model-written code."""
    name = error.partition(":")[0]
    return name if name.isascii() and name.isidentifier() and len(name) <= _ERROR_NAME_CHARS else names.OTHER_ERROR


def model_error_type(error: BaseException) -> str:
    """The server's status, or the error's class."""
    return str(error.status) if isinstance(error, ModelStatusError) else _error_type(error)
