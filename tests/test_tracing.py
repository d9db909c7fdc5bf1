"""OpenTelemetry's spans, as its own SDK exports them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from opentelemetry.trace import SpanKind, StatusCode

import trioagent
from trioagent import (
    Agent,
    BatchConfig,
    ChatFilter,
    InvalidInputError,
    Job,
    ModelConfig,
    ModelStatusError,
    RetryPolicy,
    TracingConfig,
    complete,
    open_runtime,
    run_agents,
    run_batch,
)
from trioagent._messages import ChatMessage
from trioagent._tracing import block_error_type, open_tracing
from trioagent.models._transport import Endpoint
from trioagent.testing import Fault, ModelServer, ScriptedModel, serve_model

from .spans import Spans, attributes, events, ids, named, recording

pytestmark = pytest.mark.real

KEY = "sk-never-in-a-span-0123456789"
WRITES = "<think>I note it.</think>\n<python>\nok = create_file('ada.md', 'Ada likes figs')\n</python>"
REPLIES = "<think>Done.</think>\n<python></python>\n<reply>Noted.</reply>"


@pytest.fixture
def spans() -> Iterator[Spans]:
    with recording() as found:
        yield found


def server_model(server: ModelServer, **options: Any) -> ModelConfig:
    retry = RetryPolicy(attempts=2, first_delay=0.01, max_delay=0.1)
    address = f"{server.base_url}?code=hidden-in-the-query"
    return ModelConfig(base_url=address, model="m-1", api_key=KEY, retry=retry, **options)


async def test_a_chat_its_model_calls_and_its_blocks(tmp_path: Path, spans: Spans) -> None:
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, [WRITES, REPLIES])
        model = server_model(server, temperature=0.5, max_tokens=100)
        async with open_runtime(model, tracing=spans.config()) as runtime:
            agent = Agent(runtime, memory_path=tmp_path / "ada")
            await agent.chat("Ada likes figs.")
        nursery.cancel_scope.cancel()

    assert [span.name for span in spans.all] == ["chat m-1", "execute_tool python", "chat m-1", "invoke_agent"]
    chat = spans.one("invoke_agent")
    assert chat.parent is None and chat.kind is SpanKind.INTERNAL and chat.status.status_code is StatusCode.UNSET
    first, second = spans.named("chat m-1")
    usage = {
        f"gen_ai.usage.{kind}_tokens": sum(attributes(span)[f"gen_ai.usage.{kind}_tokens"] for span in (first, second))
        for kind in ("input", "output")
    }
    assert attributes(chat) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.conversation.id": agent.chat_id,
        "gen_ai.request.model": "m-1",
        "gen_ai.response.finish_reasons": ("stop", "stop"),
        "trioagent.turns": 2,
        "trioagent.stop_reason": "reply",
        **usage,
        **({"trioagent.usage.estimated": True} if "trioagent.usage.estimated" in attributes(chat) else {}),
    }
    known = attributes(first)
    assert known["gen_ai.usage.input_tokens"] > 0 < known["gen_ai.usage.output_tokens"]
    host, port = server.base_url.removeprefix("http://").partition("/")[0].split(":")
    assert {name: value for name, value in known.items() if "usage" not in name} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "m-1",
        "gen_ai.request.stream": True,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.response.finish_reasons": ("stop",),
        "server.address": host,
        "server.port": int(port),
    }
    assert first.kind is SpanKind.CLIENT
    block = spans.one("execute_tool python")
    assert block.kind is SpanKind.INTERNAL
    assert attributes(block) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "python",
        "gen_ai.tool.type": "function",
        "trioagent.block.saved": True,
        "trioagent.sandbox.tier": "kernel",
    }
    assert events(block) == [("lease", {}), ("commit", {"trioagent.notes": 1})]
    assert {spans.parent(span) for span in (first, second, block)} == {chat}
    # The model's server is told which span asks.
    assert [named(request) for request in server.requests] == [ids(first), ids(second)]
    assert all(int(request.headers["traceparent"][-2:], 16) & 1 for request in server.requests)


async def test_without_a_request_no_content_and_never_a_secret(tmp_path: Path, spans: Spans) -> None:
    async with trio.open_nursery() as nursery:
        refusal = Fault.status(400, f"the key {KEY} may not ask about figs")
        server: ModelServer = await nursery.start(serve_model, [WRITES, REPLIES, refusal])
        async with open_runtime(server_model(server), tracing=spans.config()) as runtime:
            agent = Agent(runtime, memory_path=tmp_path / "ada-lovelace")
            await agent.chat("Ada likes figs.")
            with pytest.raises(ModelStatusError):
                await agent.chat("What does Ada like?")
        nursery.cancel_scope.cancel()
    text = spans.text()
    for content in ("figs", "Noted", "lovelace", KEY, "hidden-in-the-query", "Bearer"):
        assert content not in text
    failed = spans.named("chat m-1")[-1]
    assert attributes(failed)["error.type"] == "ModelStatusError"
    assert failed.status.status_code is StatusCode.ERROR and failed.status.description is None


async def test_content_on_request(tmp_path: Path, spans: Spans) -> None:
    async with trio.open_nursery() as nursery:
        refusal = Fault.status(400, f"the key {KEY} may not ask about figs")
        server: ModelServer = await nursery.start(serve_model, [WRITES, REPLIES, refusal])
        async with open_runtime(server_model(server), tracing=spans.config(content=True)) as runtime:
            agent = Agent(runtime, memory_path=tmp_path / "ada-lovelace")
            await agent.chat("Ada likes figs.")
            with pytest.raises(ModelStatusError):
                await agent.chat("Go on")
        nursery.cancel_scope.cancel()
    chat, failed_chat = spans.named("invoke_agent")
    assert attributes(chat)["trioagent.memory"] == "ada-lovelace"
    asked = json.loads(attributes(chat)["gen_ai.input.messages"])
    assert asked == [{"role": "user", "parts": [{"type": "text", "content": "Ada likes figs."}]}]
    (said,) = json.loads(attributes(chat)["gen_ai.output.messages"])
    assert said["parts"] == [{"type": "text", "content": "Noted."}]
    second = attributes(spans.named("chat m-1")[1])
    roles = [message["role"] for message in json.loads(second["gen_ai.input.messages"])]
    assert roles == ["system", "user", "assistant", "tool"]
    (said,) = json.loads(second["gen_ai.output.messages"])
    assert said == {"role": "assistant", "parts": [{"type": "text", "content": REPLIES}], "finish_reason": "stop"}
    block = attributes(spans.one("execute_tool python"))
    assert "create_file('ada.md'" in json.loads(block["gen_ai.tool.call.arguments"])["code"]
    assert json.loads(block["gen_ai.tool.call.result"])["locals.ok"] == "True"
    assert "may not ask about figs" in str(failed_chat.status.description)
    for secret in (KEY, "hidden-in-the-query", "Bearer"):
        assert secret not in spans.text()


async def test_content_is_bounded_and_can_be_exported(tmp_path: Path, spans: Spans) -> None:
    answer = f"<think>{'x' * 200_000}</think><python>\nerror = 'b' * 90_000\nhalf = '\\ud800'\n</python>"
    model = ScriptedModel([answer, REPLIES])
    async with open_runtime(model, tracing=spans.config(content=True)) as runtime:
        await Agent(runtime, memory_path=tmp_path, message_chars=10**6).chat("y" * 500_000)
    for span in spans.all:
        for value in attributes(span).values():
            if isinstance(value, str):
                assert len(value.encode()) < 150_000
    first = attributes(spans.named(f"chat {model.name}")[0])
    assert json.loads(first["gen_ai.input.messages"])[-1]["parts"][0]["content"].endswith("…")
    result = json.loads(attributes(spans.one("execute_tool python"))["gen_ai.tool.call.result"])
    assert result["error"] == "" and result["locals.error"].startswith("'bbb")


async def test_a_filtered_chat_gives_no_content(tmp_path: Path, spans: Spans) -> None:
    (tmp_path / "ada.md").write_text("Ada likes figs.\n")
    reads = "<think>Look.</think><python>\ntext = read_file('ada.md')\n</python>"
    async with open_runtime(ScriptedModel([reads, REPLIES]), tracing=spans.config(content=True)) as runtime:
        agent = Agent(runtime, memory_path=tmp_path)
        await agent.chat("What does Ada like?", chat_filter=ChatFilter(readable=("**",)))
    assert len(spans.all) == 4
    assert "figs" not in spans.text() and "Ada" not in spans.text()


async def test_a_cancelled_chat_is_no_error(tmp_path: Path, spans: Spans) -> None:
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, [Fault.hang()])
        async with open_runtime(server_model(server), tracing=spans.config()) as runtime:
            agent = Agent(runtime, memory_path=tmp_path)
            async with trio.open_nursery() as chats:
                chats.start_soon(agent.chat, "Hello")
                await server.wait_connections(1)
                while not server.requests:
                    await trio.sleep(0.001)
                chats.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    assert [span.name for span in spans.all] == ["chat m-1", "invoke_agent"]
    for span in spans.all:
        assert span.status.status_code is StatusCode.UNSET
        assert attributes(span)["trioagent.cancelled"] is True and "error.type" not in attributes(span)


async def test_a_retry_is_an_event_of_one_span(tmp_path: Path, spans: Spans) -> None:
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, [Fault.status(503), REPLIES])
        async with open_runtime(server_model(server), tracing=spans.config()) as runtime:
            await Agent(runtime, memory_path=tmp_path).chat("Hello")
        nursery.cancel_scope.cancel()
    span = spans.one("chat m-1")
    ((name, what),) = events(span)
    assert name == "retry" and what["trioagent.attempt"] == 1 and what["error.type"] == "503"
    assert what["trioagent.delay"] >= 0
    assert span.status.status_code is StatusCode.UNSET


async def test_the_error_of_a_block_and_a_conflict(tmp_path: Path, spans: Spans) -> None:
    (tmp_path / "ada.md").write_text("one")
    answers = [
        "<think>a</think><python>\ntext = read_file('ada.md')\n</python>",
        "<think>b</think><python>\nraise KeyError('figs')\n</python>",
        "<think>c</think><python>\ncreate_file('ada.md', 'mine')\n</python>",
        REPLIES,
    ]
    async with open_runtime(ScriptedModel(answers), tracing=spans.config()) as runtime:
        agent = Agent(runtime, memory_path=tmp_path)
        async with agent.stream_chat("Go") as stream:
            async for event in stream:
                if isinstance(event, trioagent.CodeResult):
                    (tmp_path / "ada.md").write_text("somebody else's")
    read, failed, conflict = spans.named("execute_tool python")
    assert read.status.status_code is StatusCode.UNSET
    assert (failed.status.status_code, attributes(failed)["error.type"]) == (StatusCode.ERROR, "KeyError")
    assert attributes(conflict)["error.type"] == "MemoryConflictError"
    assert events(conflict)[-1] == ("conflict", {"trioagent.notes": 1})
    assert spans.one("invoke_agent").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("KeyError: 'x'", "KeyError"),
        ("TimeoutError", "TimeoutError"),
        ("a b: c", "_OTHER"),
        (f"{'E' * 5000}: x", "_OTHER"),
        ("Errör: x", "_OTHER"),
        ("", "_OTHER"),
    ],
)
def test_error_types_of_blocks_are_few(words: str, expected: str) -> None:
    assert block_error_type(words) == expected


async def test_parents_across_nurseries_threads_and_host_tools(tmp_path: Path, spans: Spans) -> None:
    tracer = spans.provider.get_tracer("test")

    async def look_up(name: str) -> str:
        def in_thread() -> str:
            with tracer.start_as_current_span("in a thread"):
                return name.upper()

        with tracer.start_as_current_span("host tool"):
            return await trio.to_thread.run_sync(in_thread)

    calls = "<think>x</think><python>\nfound = look_up('ada')\n</python>"
    async with open_runtime(ScriptedModel([calls, REPLIES] * 3), tracing=spans.config()) as runtime:
        agents = [
            Agent(runtime, memory_path=tmp_path / str(number), host_tools={"look_up": look_up}) for number in range(3)
        ]
        with tracer.start_as_current_span("the caller's"):
            await run_agents(agents, ["Hello"] * 3)
    caller = spans.one("the caller's")
    assert len(spans.named("in a thread")) == 3
    for inner in spans.named("in a thread"):
        assert spans.above(inner) == ["host tool", "execute_tool python", "invoke_agent", "the caller's"]
    assert {ids(span)[0] for span in spans.all} == {ids(caller)[0]}


async def test_a_run_and_its_jobs_with_a_hold(tmp_path: Path, spans: Spans) -> None:
    asked = 0

    def answer(request: Any) -> Any:
        nonlocal asked
        asked += 1
        return Fault.drop() if asked in (1, 2) else REPLIES

    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, answer)
        async with open_runtime(server_model(server), tracing=spans.config()) as runtime:
            jobs = [
                Job(id=f"job-{number}", memory=str(tmp_path / str(number)), messages=("a", "b")) for number in (1, 2)
            ]
            report = await run_batch(
                jobs, runtime=runtime, run_dir=tmp_path / "run", config=BatchConfig(max_concurrent=1)
            )
        nursery.cancel_scope.cancel()
    assert report.done == 2
    run = spans.one("invoke_workflow batch")
    assert run.parent is None
    shown = attributes(run)
    assert len(shown.pop("trioagent.run.id")) > 8
    assert shown == {
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.agent.name": "batch",
        "trioagent.run.jobs.done": 2,
        "trioagent.run.jobs.failed": 0,
        "trioagent.run.jobs.left": 0,
        "trioagent.run.jobs.skipped": 0,
    }
    chats = spans.named("invoke_agent")
    assert [attributes(chat)["trioagent.job.id"] for chat in chats] == ["job-1", "job-1", "job-2", "job-2"]
    assert {spans.parent(chat) for chat in chats} == {run}
    held = next(span for span in spans.named("chat m-1") if events(span))
    assert [name for name, _ in events(held)] == ["retry", "hold", "resume", "retry"]
    assert events(held)[1][1] == {"trioagent.held": "server"}


async def test_a_run_that_is_stopped_between_two_messages_is_no_error(tmp_path: Path, spans: Spans) -> None:
    stop = trio.Event()

    def answer(request: Any) -> Any:
        stop.set()
        return REPLIES

    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, answer)
        async with open_runtime(server_model(server), tracing=spans.config()) as runtime:
            job = Job(id="one", memory=str(tmp_path / "one"), messages=("a", "b"))
            report = await run_batch([job], runtime=runtime, run_dir=tmp_path / "run", stop=stop)
        nursery.cancel_scope.cancel()
    assert report.left == 1
    assert {span.status.status_code for span in spans.all} == {StatusCode.UNSET}
    assert attributes(spans.one("invoke_workflow batch"))["trioagent.run.stopped"] == "asked"


async def test_a_question_of_a_host_tool_to_the_model_is_in_the_block(tmp_path: Path, spans: Spans) -> None:
    async def judge() -> str:
        return (await complete(runtime.model, [ChatMessage("user", "Good?")])).text

    calls = "<think>x</think><python>\nword = judge()\n</python>"
    async with open_runtime(ScriptedModel([calls, "yes", REPLIES]), tracing=spans.config()) as runtime:
        await Agent(runtime, memory_path=tmp_path, host_tools={"judge": judge}).chat("Go")
    inner = spans.named(f"chat {runtime.model.name}")[1]
    assert spans.above(inner) == ["execute_tool python", "invoke_agent"]


async def test_a_runtime_without_tracing_inside_a_traced_block_is_not_traced(tmp_path: Path, spans: Spans) -> None:
    async with open_runtime(ScriptedModel([WRITES, REPLIES]), tracing=False) as silent:

        async def ask() -> str:
            return (await Agent(silent, memory_path=tmp_path / "silent").chat("Hello")).reply

        calls = "<think>x</think><python>\nfound = ask()\n</python>"
        async with open_runtime(ScriptedModel([calls, REPLIES]), tracing=spans.config()) as runtime:
            await Agent(runtime, memory_path=tmp_path / "traced", host_tools={"ask": ask}).chat("Hello")
    assert len(spans.named("invoke_agent")) == 1
    assert events(spans.one("execute_tool python")) == [("lease", {})]


async def test_a_chat_that_is_not_sampled_still_names_its_trace(tmp_path: Path) -> None:
    spans = Spans(sampled=False)
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, [REPLIES])
        async with open_runtime(server_model(server), tracing=spans.config()) as runtime:
            await Agent(runtime, memory_path=tmp_path).chat("Hello")
        nursery.cancel_scope.cancel()
    assert not spans.all
    assert named(server.requests[0])[0] and not int(server.requests[0].headers["traceparent"][-2:], 16) & 1


async def test_without_a_provider_there_is_no_tracing(tmp_path: Path) -> None:
    """The process of the tests has set up none: OpenTelemetry's own is a proxy."""
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, [REPLIES])
        async with open_runtime(server_model(server)) as runtime:
            assert runtime.tracing is None
            await Agent(runtime, memory_path=tmp_path).chat("Hello")
        nursery.cancel_scope.cancel()
    assert "traceparent" not in server.requests[0].headers


@pytest.mark.parametrize(
    ("name", "value", "sent"),
    [
        ("tracestate", "a=b", b"tracestate: a=b\r\n"),
        ("tracestate", "a=b\r\nX-Evil: 1", b""),
        ("tracestate", "a=\xe9", b""),
        ("authorization", "Bearer other", b""),
    ],
)
def test_a_header_of_a_trace_is_sent_only_if_it_is_one(name: str, value: str, sent: bytes) -> None:
    endpoint = Endpoint("http://localhost/v1", {"Authorization": "Bearer key"}, 10.0)
    more = endpoint.with_headers({name: value})
    assert more.request(b"{}") == endpoint.request(b"{}").replace(b"2\r\n\r\n", b"2\r\n" + sent + b"\r\n")
    assert endpoint.headers == {"Authorization": "Bearer key"}


def test_settings_that_are_none() -> None:
    with pytest.raises(InvalidInputError, match="must be True, False or a TracingConfig, not 'yes'"):
        open_tracing("yes")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="must be a TracerProvider of opentelemetry, not str"):
        TracingConfig(tracer_provider="jaeger")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "content"), [("true", True), ("SPAN_ONLY", True), ("no_content", False), ("", False)]
)
def test_the_environment_asks_for_content(value: str, content: bool) -> None:
    env = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": value}
    assert TracingConfig.from_env(env).content is content
    assert not TracingConfig.from_env({}).content


SITE = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
import os
provider = TracerProvider()
out = open(os.environ["SPANS"], "a")
exporter = ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\\n")
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
"""


def test_the_command_line_uses_the_provider_that_its_process_has(tmp_path: Path) -> None:
    """As ``opentelemetry-instrument trioagent batch`` does: the provider is there before the program begins."""
    (tmp_path / "sitecustomize.py").write_text(SITE)
    (tmp_path / "jobs.jsonl").write_text(json.dumps({"id": "a", "memory": "m", "messages": ["I live in Rome."]}) + "\n")
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "SPANS": str(tmp_path / "spans")}
    run = partial(subprocess.run, cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=120)
    batch = ["batch", "jobs.jsonl", "--run-dir", "run", "--model", "offline-rules", "--quiet"]
    run([sys.executable, "-m", "trioagent", *batch])
    found = [json.loads(line) for line in (tmp_path / "spans").read_text().splitlines()]
    assert found[-1]["name"] == "invoke_workflow batch" and found[-1]["parent_id"] is None
    assert {span["name"] for span in found} >= {"invoke_agent", "chat offline-rules", "execute_tool python"}
    assert "Rome" not in (tmp_path / "spans").read_text()
    doctor = run([sys.executable, "-m", "trioagent", "doctor", "--json"])
    (line,) = [check for check in json.loads(doctor.stdout)["machine"] if check["name"] == "tracing"]
    assert line["detail"].startswith(
        "on, without content: opentelemetry.sdk.trace.TracerProvider, opentelemetry-api 1."
    )


def test_nothing_of_opentelemetry_is_imported_where_nobody_uses_it(tmp_path: Path) -> None:
    program = textwrap.dedent(
        """
        import sys, trio, trioagent
        from trioagent.testing import ScriptedModel

        async def main():
            answer = "<think>x</think><python></python><reply>Yes.</reply>"
            async with trioagent.open_runtime(ScriptedModel([answer])) as runtime:
                await trioagent.Agent(runtime, memory_path="memory").chat("Hello")

        trio.run(main)
        print([name for name in sys.modules if name.startswith("opentelemetry")])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


EMBEDDED = """
import asyncio, threading
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

from trioagent.compat import Agent, AsyncAgent, shutdown
from trioagent.testing import ScriptedModel

REPLY = "<think>x</think><python></python><reply>Yes.</reply>"
tracer = trace.get_tracer("theirs")

async def one(name):
    with tracer.start_as_current_span(name):
        await AsyncAgent(memory_path=name, model=ScriptedModel([REPLY])).chat("Hello")

async def main():
    await asyncio.gather(*[one(f"request {number}") for number in range(3)])

asyncio.run(main())
with tracer.start_as_current_span("sync"):
    Agent(memory_path="sync", model=ScriptedModel([REPLY])).chat("Hello")
shutdown()
spans = {span.context.span_id: span for span in exporter.get_finished_spans()}
chats = [span for span in spans.values() if span.name == "invoke_agent"]
print(sorted(spans[chat.parent.span_id].name for chat in chats))
"""


def test_the_callers_span_is_the_parent_in_programs_of_asyncio_and_of_threads(tmp_path: Path) -> None:
    """`trioagent.compat` runs its agents in a thread of its own."""
    done = subprocess.run([sys.executable, "-c", EMBEDDED], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout == "['request 0', 'request 1', 'request 2', 'sync']\n", done.stderr


async def test_a_chat_while_an_exception_is_handled_has_not_failed(tmp_path: Path, spans: Spans) -> None:
    async with open_runtime(ScriptedModel([REPLIES]), tracing=spans.config()) as runtime:
        try:
            raise KeyError("something else")
        except KeyError:
            await Agent(runtime, memory_path=tmp_path / "notes").chat("Ada likes figs.")
    chat = spans.one("invoke_agent")
    assert "error.type" not in attributes(chat)
    assert chat.status.status_code is StatusCode.UNSET
