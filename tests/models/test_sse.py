"""The decoder of server-sent events: the standard's rules, whatever the split."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent._errors import ModelProtocolError
from trioagent.models._sse import SSEDecoder


def decode(*chunks: bytes) -> list[str]:
    decoder = SSEDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", ["a", "b"]),
        (b"data: a\n\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\n\n\n\ndata: b\ndata: c\n\n", ["a", "b\nc"]),
        (b"data: a\n\ndata: b\r\r", ["a", "b"]),
        (b"data: a\r\rdata: b\r\r", ["a", "b"]),
        (b"data: one\ndata: two\n\n", ["one\ntwo"]),
        (b"data:tight\n\ndata:  two spaces\n\n", ["tight", " two spaces"]),
        (b": OPENROUTER PROCESSING\n\n:\n\ndata: a\n\n", ["a"]),
        (b"id: 7\nretry: 10\nunknown: x\nnonsense\ndata: a\n\n", ["a"]),
        (b"data\n\n", [""]),
        (b'data: {"a": "b: c"}\n\n', ['{"a": "b: c"}']),
        (b"\xef\xbb\xbfdata: marked\n\n", ["marked"]),
        (b"data: not whole", []),
        (b"data: not ended\n", []),
        (b"\n\n\n", []),
        (b"data: \xc3\xa9 \xff\n\n", ["é \ufffd"]),
        (b"data: a\x0bb\x0c\x1cc\n\n", ["a\x0bb\x0c\x1cc"]),
    ],
)
def test_standard(stream: bytes, data: list[str]) -> None:
    assert decode(stream) == data


def test_event_names_are_passed_over() -> None:
    assert decode(b"event: error\ndata: a\n\ndata: b\n\n") == ["a", "b"]
    assert decode(b"event: lost\n\ndata: b\n\n") == ["b"]


STREAM = "\ufeffdata: a\r\n\r\nevent: e\rdata: é\r\r: no\n\ndata: 1\ndata: 2\n\r\ndata: 𝄞\n\n".encode()
EVENTS = ["a", "é", "1\n2", "𝄞"]


@pytest.mark.parametrize("size", range(1, len(STREAM) + 1))
def test_every_chunk_size(size: int) -> None:
    assert decode(*(STREAM[i : i + size] for i in range(0, len(STREAM), size))) == EVENTS


def test_every_split_in_two() -> None:
    for i in range(len(STREAM) + 1):
        assert decode(STREAM[:i], b"", STREAM[i:]) == EVENTS


def test_a_mark_at_the_start_counts_only_there() -> None:
    assert decode(b"data: a\n\n", b"\xef\xbb\xbfdata: b\n\n", b"data: c\n\n") == ["a", "c"]


PIECES = st.sampled_from(
    [b"data: x\n\n", b"data", b":", b" ", b"\n", b"\r", b"\r\n", b"event", b"\xef\xbb\xbf", b"x", b"\xff", b"\n\n"]
)


@given(st.lists(PIECES | st.binary(max_size=3)), st.data())
def test_garbage_never_fails_and_its_split_does_not_matter(pieces: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[i:j] for i, j in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode(*chunks) == decode(stream)


@pytest.mark.parametrize("split", [1, 7, 1000])
def test_lines_are_bounded_exactly(split: int) -> None:
    def fed(length: int) -> int:
        decoder = SSEDecoder(line_bytes=20)
        line = b"data: " + b"x" * (length - 6) + b"\r\n\r\n"
        return sum(len(decoder.feed(line[i : i + split])) for i in range(0, len(line), split))

    assert fed(20) == 1
    with pytest.raises(ModelProtocolError, match="longer than 20 bytes"):
        fed(21)


def test_a_line_that_never_ends_is_given_up() -> None:
    decoder = SSEDecoder(line_bytes=1000)
    with pytest.raises(ModelProtocolError, match="a line"):
        for _ in range(1001):
            decoder.feed(b"x")


def test_an_event_that_never_ends_is_given_up() -> None:
    decoder = SSEDecoder(event_bytes=1000)
    with pytest.raises(ModelProtocolError, match="an event"):
        for _ in range(1001):
            decoder.feed(b"data:\n")
