"""The border to the server's JSON: strict where we look, indifferent where we do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent._config import ModelConfig
from trioagent._errors import ModelError, ModelProtocolError, ModelStatusError
from trioagent._messages import ChatMessage, Usage
from trioagent._steps import STEP_BYTES, STEP_NAMES, run_all_steps
from trioagent.models import _decode
from trioagent.models._decode import Joiner, Piece, decode_chunk, error_detail
from trioagent.models._encode import RequestEncoder


def decode_answer(body: bytes) -> Piece:
    return run_all_steps(_decode.decode_answer(body))


def chunk(choice: object = None, **members: object) -> Piece:
    piece = decode_chunk(json.dumps({"choices": [choice], **members}))
    assert piece is not None
    return Piece(piece) if isinstance(piece, str) else piece


@pytest.mark.parametrize(
    ("choice", "piece"),
    [
        ({"delta": {"content": "hi"}}, Piece("hi")),
        ({"delta": {"content": "hi"}, "finish_reason": None}, Piece("hi")),
        ({"delta": {"content": None}, "finish_reason": "stop"}, Piece("", "stop")),
        ({"delta": {}, "finish_reason": "length"}, Piece("", "length")),
        ({"delta": None, "finish_reason": "stop"}, Piece("", "stop")),
        ({"finish_reason": "stop"}, Piece("", "stop")),
        ({"delta": {"role": "assistant"}}, Piece()),
        ({"delta": {"reasoning_content": "hm"}}, Piece(reasoning="hm")),
        ({"delta": {"reasoning": "hm", "content": ""}}, Piece(reasoning="hm")),
        ({"message": {"content": "hi"}}, Piece("hi")),
        ({"delta": {"content": None, "refusal": "I cannot."}}, Piece("I cannot.")),
        ({"delta": {"content": None, "tool_calls": [{}]}, "finish_reason": "tool_calls"}, Piece("", "tool_calls")),
        (
            {"delta": {"content": [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]}},
            Piece("ab"),
        ),
        (
            {"delta": {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}, "m"]}]}},
            Piece(reasoning="hm"),
        ),
        (
            {"delta": {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]}},
            Piece("a", reasoning="hm"),
        ),
        ({"delta": {"content": [{"type": "thinking", "thinking": 5}, {"type": "thinking"}]}}, Piece()),
        ({"delta": {"content": "é𝄞"}}, Piece("é𝄞")),
        ({"delta": {"content": "x"}, "logprobs": [1], "new": {}}, Piece("x")),
    ],
)
def test_choices(choice: dict[str, Any], piece: Piece) -> None:
    assert chunk(choice) == piece


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("{", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("null", "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ('{"n": ' + "9" * 10_000 + "}", "not a JSON object"),
        ('{"choices": {"a": 1}}', "no list of choices"),
        ('{"choices": [null]}', "first choice"),
        ('{"choices": ["x"]}', "first choice"),
        ('{"choices": [{"delta": "x"}]}', "message is not an object"),
        ('{"choices": [{"delta": {"content": 5}}]}', "content is not a text"),
        ('{"choices": [{"delta": {"content": true}}]}', "content is not a text"),
        ('{"choices": [{"delta": {"content": ["x"]}}]}', "part of its content"),
        ('{"choices": [{"delta": {"content": [{"type": "text", "text": 1}]}}]}', "content is not a text"),
        ('{"choices": [{"delta": {}, "finish_reason": 1}]}', "finish_reason"),
        ('{"choices": [{"delta": {}, "finish_reason": "error"}]}', "finish_reason 'error'"),
        ('{"error": {"message": "odd"}}', "reports an error: odd"),
        ('{"error": {"message": "odd", "code": "weird"}}', "reports an error: odd"),
        ('{"error": "odd"}', "reports an error: odd"),
        ('{"error": {"message": "odd", "code": true}}', "reports an error: odd"),
    ],
)
def test_what_is_not_a_chunk(answer: str, problem: str) -> None:
    with pytest.raises(ModelProtocolError, match=problem) as caught:
        decode_chunk(answer)
    assert len(caught.value.excerpt) <= 200


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ({"error": {"message": "slow down", "code": 429}}, 429),
        ({"error": {"message": "slow down", "code": "502"}, "choices": [{"delta": {}, "finish_reason": "error"}]}, 502),
        ({"choices": [{"delta": {}, "error": {"message": "slow down", "code": 503}}]}, 503),
        ({"object": "error", "message": "slow down", "code": 400}, 400),
    ],
)
def test_an_error_inside_a_good_response(answer: dict[str, Any], status: int) -> None:
    with pytest.raises(ModelStatusError) as caught:
        decode_chunk(json.dumps(answer))
    assert (caught.value.status, caught.value.detail) == (status, "slow down")


def test_usage_is_taken_if_it_is_one() -> None:
    counts = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    expected = Usage(prompt_tokens=3, completion_tokens=4, requests=1)
    for text in ("[]", "null"):
        assert decode_chunk(f'{{"choices": {text}, "usage": {json.dumps(counts)}}}') == Piece(usage=expected)
    assert decode_chunk(json.dumps({"usage": counts})) == Piece(usage=expected)
    odd: list[object] = [None, {}, [], "3", {**counts, "prompt_tokens": -1}, {**counts, "completion_tokens": True}]
    for usage in odd:
        assert chunk({"delta": {"content": "a"}}, usage=usage) == Piece("a")


@pytest.mark.parametrize(("said", "cost"), [(0.25, 0.25), (1, 1.0), (True, 0.0), (-1, 0.0), ("1", 0.0), (1e300, 0.0)])
def test_the_servers_own_cost(said: object, cost: float) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "cost": said}
    expected = Usage(prompt_tokens=3, completion_tokens=4, requests=1, cost=cost)
    assert decode_chunk(json.dumps({"choices": [], "usage": usage})) == Piece(usage=expected)


@pytest.mark.parametrize(
    "event", [{}, {"type": "ping"}, {"choices": []}, {"choices": None}, {"prompt_filter_results": []}]
)
def test_events_that_say_nothing(event: dict[str, Any]) -> None:
    assert decode_chunk(json.dumps(event)) is None


@pytest.mark.parametrize("reason", ["error", "abort", "insufficient_system_resource"])
def test_a_generation_that_failed(reason: str) -> None:
    with pytest.raises(ModelProtocolError) as caught:
        chunk({"delta": {"content": "hi"}, "finish_reason": reason})
    assert caught.value.finish_reason == reason


def test_surrogates_split_over_two_texts_are_joined() -> None:
    for text in ("a𝄞b", "𝄞", "𝄞𝄞", "é"):
        units = [chr(unit) for unit in memoryview(text.encode("utf-16-le")).cast("H")]
        joiner = Joiner()
        assert "".join(joiner.join(unit) for unit in units) + joiner.join("", final=True) == text
    joiner = Joiner()
    assert [joiner.join("a\ud800"), joiner.join("b"), joiner.join("\ud800"), joiner.join("", final=True)] == [
        "a",
        "\ufffdb",
        "",
        "\ufffd",
    ]


def test_a_whole_answer() -> None:
    body = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    assert decode_answer(json.dumps(body).encode()) == Piece("hi", "stop")
    assert decode_answer(b"\xef\xbb\xbf" + json.dumps(body).encode()) == Piece("hi", "stop")
    assert decode_answer(b'{"choices": [{"message": {"content": null}}]}') == Piece()
    wrongs: list[object] = [{"choices": []}, {"choices": [{}]}, {"choices": [{"message": []}]}, {}]
    for wrong in wrongs:
        with pytest.raises(ModelProtocolError):
            decode_answer(json.dumps(wrong).encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "delta", "message", "content", "usage", "error", "code", "finish_reason", "type", "text"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(
    JSON | st.builds(lambda value: {"choices": [value]}, JSON) | st.builds(lambda v: {"choices": [{"delta": v}]}, JSON)
)
def test_any_json_is_a_piece_or_a_model_error(value: object) -> None:
    for holder in (decode_chunk, decode_whole):
        try:
            piece = holder(json.dumps(value))
        except ModelError:
            continue
        if piece is not None:
            text = piece if isinstance(piece, str) else piece.text
            Joiner().join(text, final=True).encode()  # what comes out can be saved and sent


def decode_whole(text: str) -> str | Piece | None:
    return decode_answer(text.encode())


@given(st.binary())
def test_any_bytes_have_a_detail(body: bytes) -> None:
    detail = error_detail(body)
    assert len(detail.message) <= 500 and len(detail.code) <= 200 and len(detail.param) <= 200
    assert (detail.message + detail.code + detail.param).isprintable()


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"error": {"message": "no such model"}}', "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"message": "no such model"}', "no such model"),
        (b'{"detail": "Not Found"}', "Not Found"),
        (b"<html>\n  <b>Bad  Gateway</b>\n</html>", "<html> <b>Bad Gateway</b> </html>"),
        (b"", ""),
        (b'{"detail": [{"loc": 1}]}', '{"detail": [{"loc": 1}]}'),
    ],
)
def test_error_details(body: bytes, detail: str) -> None:
    assert error_detail(body).message == detail


def test_the_request() -> None:
    messages = [ChatMessage("system", "s"), ChatMessage("user", 'é "quoted" \ud800'), ChatMessage("tool", "<result>")]
    config = ModelConfig(base_url="http://x/v1", model="m", temperature=0.0, max_tokens=7)
    assert json.loads(RequestEncoder(config).encode(messages)) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": 'é "quoted" ?\n\n<result>'},
        ],
        "temperature": 0.0,
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    silent = [ChatMessage("user", "u"), ChatMessage("assistant", " \n"), ChatMessage("tool", "hint")]
    assert json.loads(RequestEncoder(config).encode(silent))["messages"] == [{"role": "user", "content": "u\n\nhint"}]
    plain = ModelConfig(base_url="http://x/v1", model="m", stream=False)
    assert json.loads(RequestEncoder(plain).encode([])) == {"model": "m", "messages": []}


LARGE = {
    "numbers": b'{"choices":[' + b",".join([b"1"] * 50_000) + b"]}",
    "keys": b'{"x":{' + b",".join(b'"%d":1' % number for number in range(50_000)) + b"}}",
    "text": b'{"x":"' + b"\xe2\x82\xac" * 500_000 + b'"}',
    "bad bytes": b"\x80" * 1_000_000,
}


@pytest.mark.parametrize("kind", LARGE)
def test_large_answers_are_refused_in_steps(kind: str) -> None:
    """No step takes more than 1,000 values, or 256 KiB."""
    steps = _decode.decode_answer(LARGE[kind])
    rounds = 0
    with pytest.raises(ModelProtocolError):
        while True:
            next(steps)
            rounds += 1
    assert rounds >= (49 if kind in ("numbers", "keys") else len(LARGE[kind]) // STEP_BYTES)


def test_a_large_answer_is_the_same_as_a_small_one() -> None:
    extra = ["x"] * 5000
    body: dict[str, object] = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "logprobs": extra}
    assert decode_answer(json.dumps(body).encode()) == Piece("hi", "stop")
    event = json.dumps({"choices": [{"delta": {"content": "hi"}}], "logprobs": extra})
    assert decode_chunk(event, run_all_steps(_decode.load_steps(event))) == decode_chunk(event) == "hi"
    assert run_all_steps(_decode.load_steps(event[:-1])) is None
    with pytest.raises(ModelProtocolError, match="not a JSON object"):
        decode_chunk(event[:-1], None)


def test_content_in_too_many_parts() -> None:
    parts = [{"type": "text", "text": "x"}] * (STEP_NAMES + 1)
    with pytest.raises(ModelProtocolError, match="its content has 1001 parts"):
        decode_answer(json.dumps({"choices": [{"message": {"content": parts}}]}).encode())
    assert decode_answer(json.dumps({"choices": [{"message": {"content": parts[1:]}}]}).encode()).text == "x" * 1000


@pytest.mark.parametrize("member", ["message", "raw"])
def test_an_error_within_an_error_is_read_unless_it_is_large(member: str) -> None:
    """It is read at once, so that a server could hold up everybody with it; `error_detail` itself is given 64 KiB."""
    for size, code in ((10, "x insufficient_quota"), (100_000, "x")):
        quoted = json.dumps({"error": {"message": "try again " * size, "code": "insufficient_quota"}})
        outer = {"message": quoted} if member == "message" else {"message": "no", "metadata": {"raw": quoted}}
        assert error_detail(json.dumps({"error": {**outer, "code": "x"}}).encode()).code == code
