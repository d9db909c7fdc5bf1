"""What servers do differently, and is an answer all the same."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
import trio
from trio.testing import MockClock

from trioagent._errors import ModelConnectionError, ModelError, ModelStatusError
from trioagent._server_behaviour import NO_FINISH_REASON
from trioagent.models import AnswerEnd, ReasoningDelta, TextDelta
from trioagent.testing import Fault, Say, Wire

from .support import ASK, ONCE, ask, model_before, serving

pytestmark = pytest.mark.real

STOP = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
ANSWER = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
EVENTS = (
    b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\ndata: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n'
)


@pytest.fixture
def fast_clock() -> MockClock:
    """Virtual time at two hundred times the speed of real time."""
    return MockClock(rate=200.0)


def delta(**members: object) -> dict[str, object]:
    return {"choices": [{"delta": members}]}


def body(content: bytes, *headers: str, status: int = 200) -> Wire:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", *headers, "", ""]
    return Wire(("\r\n".join(lines).encode() + content,))


@pytest.mark.parametrize(
    "answer",
    [
        Fault.events({"type": "ping"}, delta(content="h"), {}, delta(content="i"), STOP, "[DONE]"),
        Fault.events({"choices": None}, delta(content="hi"), STOP, {"usage": {"prompt_tokens": 1}}, "[DONE]"),
        Fault.events({"choices": [{"message": {"content": "hi"}}]}, STOP),
        Fault.events("", delta(content="hi"), " ", STOP),
        Fault.events(ANSWER),
        Fault.json({"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}),
        body(EVENTS),
        body(EVENTS, "Content-Type: application/json"),
        body(EVENTS, "Content-Type: text/plain; charset=utf-8"),
        body(b": OPENROUTER PROCESSING\n\n" + EVENTS),
        body(b"\xef\xbb\xbf" + EVENTS, "Content-Type: text/event-stream"),
        body(b"\xef\xbb\xbf" + EVENTS),
        body(json.dumps(ANSWER).encode(), "Content-Type: text/event-stream"),
        body(b"\xef\xbb\xbf\n " + json.dumps(ANSWER).encode(), "Content-Type: text/event-stream"),
        body(json.dumps([ANSWER]).encode()),
        *(body(EVENTS, f"Content-Encoding: {coding}") for coding in ("", "none", "identity", "Identity", "NONE")),
        body(gzip.compress(EVENTS), "Content-Encoding: gzip"),
        body(gzip.compress(EVENTS), "Content-Encoding: GZip", "Content-Type: text/event-stream"),
        body(gzip.compress(json.dumps(ANSWER).encode()), "Content-Encoding: x-gzip"),
        body(zlib.compress(EVENTS), "Content-Encoding: deflate"),
        body(zlib.compress(EVENTS)[2:-4], "Content-Encoding: deflate"),
        body(gzip.compress(EVENTS[:60]) + gzip.compress(EVENTS[60:]), "Content-Encoding: gzip"),
        body(gzip.compress(EVENTS) + b"\0\0", "Content-Encoding: gzip"),
        body(gzip.compress(EVENTS), "Content-Encoding: identity, gzip"),
        Wire((*body(EVENTS).pieces,), then="close"),
        *(Fault.events(ping, delta(content="hi"), STOP) for ping in ("ping", "[PING]", "heartbeat")),
        *(Fault.events(delta(content="hi"), STOP, done) for done in ("[done]", "[DONE] ", " [DONE]")),
        body(EVENTS.removesuffix(b"\n")),
        body(EVENTS.removesuffix(b"\n\n")),
        body(EVENTS + b"data: [DONE]"),
        Fault.events({"choices": [{"delta": {"content": "h"}, "finish_reason": "null"}]}, delta(content="i"), STOP),
        Fault.events({"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]}),
    ],
)
async def test_an_answer_all_the_same(answer: Wire) -> None:
    async with serving([answer, Say("again")]) as server, model_before(server, retry=ONCE) as model:
        answered = await ask(model)
        assert (answered.text, answered.end and answered.end.finish_reason) == ("hi", "stop")
        assert (await ask(model)).text == "again"


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_compressed_streams_in_shreds(size: int) -> None:
    packed = body(gzip.compress(EVENTS), "Content-Encoding: gzip", "Content-Type: text/event-stream")
    whole = b"".join(packed.pieces)
    shreds = Wire(tuple(whole[start : start + size] for start in range(0, len(whole), size)))
    async with serving([shreds]) as server, model_before(server, retry=ONCE) as model:
        assert (await ask(model)).text == "hi"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_errors_are_decompressed_too(coding: str) -> None:
    content = json.dumps({"error": {"message": "too long", "code": "context_length_exceeded"}}).encode()
    packed = gzip.compress(content) if coding == "gzip" else zlib.compress(content)
    async with serving([body(packed, f"Content-Encoding: {coding}", status=400)]) as server:
        async with model_before(server, retry=ONCE) as model:
            with pytest.raises(ModelStatusError) as caught:
                await ask(model)
    assert (caught.value.detail, caught.value.code) == ("too long", "context_length_exceeded")


async def test_surrogates_split_over_two_events() -> None:
    halves = ['{"choices":[{"delta":{"content":"a\\ud83d"}}]}', '{"choices":[{"delta":{"content":"\\ude00b"}}]}']
    async with serving([Fault.events(*halves, STOP)]) as server, model_before(server, retry=ONCE) as model:
        assert (await ask(model)).text == "a😀b"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
@pytest.mark.parametrize("stream", [True, False])
async def test_reasoning_comes_apart(name: str, stream: bool) -> None:
    events = Fault.events(delta(**{name: "I "}), delta(**{name: "wonder."}), delta(content="hi"), STOP)
    whole = Fault.json({"choices": [{"message": {name: "I wonder.", "content": "hi"}, "finish_reason": "stop"}]})
    async with serving([events if stream else whole]) as server:
        async with model_before(server, retry=ONCE, stream=stream) as model, model.answer(ASK) as answer:
            parts = [part async for part in answer]
    assert "".join(part.text for part in parts if isinstance(part, ReasoningDelta)) == "I wonder."
    assert isinstance(parts[-1], AnswerEnd)


@pytest.mark.parametrize("then", ["close", "reset"])
async def test_a_connection_that_breaks_behind_the_finish_reason(then: str) -> None:
    pieces = Fault.events(delta(content="hi"), STOP).pieces
    broken = Wire(tuple(piece.removesuffix(b"0\r\n\r\n") for piece in pieces), then=then)  # type: ignore[arg-type]
    async with serving([broken]) as server, model_before(server, retry=ONCE) as model:
        answered = await ask(model)
    assert (answered.text, answered.end and answered.end.finish_reason) == ("hi", "stop")


def with_reason(**members: object) -> dict[str, object]:
    """As Gemini's relatives stream: a finish reason with every piece."""
    return {"choices": [{"delta": members, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    "events",
    [
        [with_reason(content="h"), with_reason(content="i")],
        [with_reason(reasoning_content="hm"), delta(content="hi"), STOP],
    ],
)
async def test_a_finish_reason_with_text_is_not_the_end(events: list[object], fast_clock: MockClock) -> None:
    """However long the next piece is in coming: of what stopped there only a part would be taken for the whole."""
    head, *rest = [b"data: %s\n\n" % json.dumps(event).encode() for event in events]
    start = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    answer = Wire((start + head, *rest), pace=10.0, then="close")
    async with serving([answer]) as server:
        async with model_before(server, retry=ONCE, silence_seconds=1e6) as model, model.answer(ASK) as parts:
            texts = [part.text async for part in parts if isinstance(part, TextDelta)]
    assert "".join(texts) == "hi"


async def test_text_behind_a_finish_reason_counts() -> None:
    async with serving([Fault.events(STOP, delta(content="hi"), STOP)]) as server:
        async with model_before(server, retry=ONCE) as model:
            assert (await ask(model)).text == "hi"


async def test_a_break_behind_one_of_many_finish_reasons_is_no_end() -> None:
    pieces = Fault.events(with_reason(content="h"), with_reason(content="i")).pieces
    broken = Wire(tuple(piece.removesuffix(b"0\r\n\r\n") for piece in pieces), then="reset")
    async with serving([broken, Say("whole")]) as server, model_before(server) as model:
        answered = await ask(model)
    assert (answered.text, len(answered.retries)) == ("whole", 1)


async def test_a_finish_reason_is_missed_only_where_the_server_gives_one() -> None:
    without = Fault.events(delta(content="hi"), "[DONE]")
    async with serving([without, Say("a"), without]) as server, model_before(server, retry=ONCE) as model:
        ends = [(await ask(model)).end for _ in range(3)]
    assert [end and end.finish_reason for end in ends] == ["stop", "stop", NO_FINISH_REASON]


@pytest.mark.parametrize("noise", [b": keep-alive\n\n", b'data: {"type":"ping"}\n\n', b"event: ping\n\n"])
async def test_noise_for_ever_is_silence(noise: bytes, fast_clock: MockClock) -> None:
    chunk = b"%x\r\n%s\r\n" % (len(noise), noise)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with serving([Wire((head, *[chunk] * 2000), pace=1.0)]) as server:
        async with model_before(server, retry=ONCE, silence_seconds=20.0) as model:
            with pytest.raises(ModelConnectionError, match="sent nothing for 20 s"):
                with trio.fail_after(1000):
                    async with model.answer(ASK) as parts:
                        assert not [part async for part in parts]


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b'error: {"error": {"code": 500, "message": "it failed", "type": "server_error"}}\n\n', 500),
        (b'error: {"code": 500, "message": "it failed", "type": "server_error"}\n\ndata: [DONE]\n\n', 500),
        (b'{"error": {"message": "it failed", "type": "api_error"}}\n', 500),
        (b'{"error": {"message": "it failed", "type": "api_error"}}', 500),
        (b'event: error\ndata: {"error": {"message": "it failed", "code": 503}}\n\n', 503),
        (b'data: {"code": "Throttling", "message": "it failed"}\n\n', 429),
        (b'data: {"detail": "it failed"}\n\n', 0),
        (b'data: {"choices": null, "base_resp": {"status_code": 1000, "status_msg": "it failed"}}\n\n', 0),
        (b'data: {"message": "it failed", "code": "rate_limit_exceeded"}\n\n', 429),
    ],
)
@pytest.mark.parametrize("before", [b"", b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n'])
async def test_errors_in_lines_of_any_kind(before: bytes, said: bytes, status: int) -> None:
    """llama.cpp's field "error", Ollama's JSON without a field, FastAPI's detail."""
    async with serving([body(before + said, "Content-Type: text/event-stream")]) as server:
        async with model_before(server, retry=ONCE) as model:
            with pytest.raises(ModelError, match="it failed") as caught:
                await ask(model)
    assert getattr(caught.value, "status", 0) == status


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b'{"message": "it failed", "code": "rate_limit_exceeded"}', 429),
        (b'{"detail": "it failed"}', 0),
        (b'{"choices": null, "base_resp": {"status_code": 1008, "status_msg": "it failed: no balance"}}', 402),
    ],
)
async def test_errors_without_a_status_in_a_whole_answer(said: bytes, status: int) -> None:
    async with serving([body(said, "Content-Type: application/json")]) as server:
        async with model_before(server, retry=ONCE) as model:
            with pytest.raises(ModelError, match="it failed") as caught:
                await ask(model)
    assert getattr(caught.value, "status", 0) == status


async def test_a_blank_before_a_chunks_extension() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x ;name=value\r\n%s\r\n0\r\n\r\n" % (len(EVENTS), EVENTS)
    async with serving([Wire((head + chunk,))]) as server, model_before(server, retry=ONCE) as model:
        assert (await ask(model)).text == "hi"
