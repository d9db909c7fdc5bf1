"""Reading HTTP/1.1: the same as h11 reads, for any bytes in any split, but for what is refused on purpose."""

from __future__ import annotations

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trioagent._errors import ModelProtocolError
from trioagent.models import _http1
from trioagent.models._http1 import ResponseReader, post_head

from ..examples import examples

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

Read = tuple[str, int, dict[str, str], bytes, bool]
NONE: Read = ("refused", 0, {}, b"", False)


def ours(chunks: list[bytes], *, closed: bool = True) -> Read:
    """What becomes of a connection's bytes: the kind of end, status, headers, body, and can it be used again."""
    reader, body = ResponseReader(), b""
    try:
        for chunk in chunks:
            if not reader.over:
                body += reader.feed(chunk)
            elif chunk:  # what a connection never sees: it gives the connection back, where news make it stale
                return ("whole", reader.status, reader.headers, body, False)
    except ModelProtocolError:
        return NONE
    if closed and not reader.over and not reader.close():
        return ("cut", reader.status, reader.headers, body, False) if reader.status else NONE
    return ("whole" if reader.over else "open", reader.status, reader.headers, body, reader.over and reader.reusable)


def theirs(chunks: list[bytes]) -> Read:
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_http1.HEAD_BYTES)
    http.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
    http.send(h11.EndOfMessage())
    status, headers, body, chunk = 0, dict[str, str](), b"", b""
    try:
        for chunk in [*filter(None, chunks), b""]:
            if http.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
                break
            http.receive_data(chunk)
            while (event := http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                match event:
                    case h11.Response():
                        status = event.status_code
                        for name, value in event.headers:
                            key, word = name.decode(), value.decode("latin-1")
                            headers[key] = f"{headers[key]}, {word}" if key in headers else word
                    case h11.Data():
                        body += event.data
                    case h11.EndOfMessage() | h11.ConnectionClosed():
                        break
    except h11.RemoteProtocolError:
        # At its end it is only cut off.
        return ("cut", status, headers, body, False) if status and not chunk else NONE
    whole = http.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED)
    return (
        "whole" if whole else "cut",
        status,
        headers,
        body,
        http.their_state is h11.DONE and http.trailing_data == (b"", False),
    )


@pytest.mark.parametrize(
    ("stream", "read"),
    [
        (OK + b"Content-Length: 2\r\n\r\nhi", ("whole", 200, {"content-length": "2"}, b"hi", True)),
        (OK + b"content-LENGTH:2\r\n\r\nhi", ("whole", 200, {"content-length": "2"}, b"hi", True)),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", ("whole", 200, {"content-length": "2"}, b"hi", True)),
        (OK + b"A: \n\n\r\n", ("whole", 200, {"a": ""}, b"\r\n", False)),
        (b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", ("whole", 404, {"content-length": "0"}, b"", True)),
        (b"HTTP/1.0 200 OK\r\n\r\nhi", ("whole", 200, {}, b"hi", False)),
        (OK + b"\r\nhi", ("whole", 200, {}, b"hi", False)),
        (b"HTTP/1.1 204 No\r\n\r\n", ("whole", 204, {}, b"", True)),
        (b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 204 No\r\n\r\n", ("whole", 204, {}, b"", True)),
        (b"HTTP/1.1 204 No\r\nA: 1\r\na: 2\r\n\r\n", ("whole", 204, {"a": "1, 2"}, b"", True)),
        (b"HTTP/1.1 204 No\r\nA: 1\r\n  2\r\n\r\n", ("whole", 204, {"a": "1 2"}, b"", True)),
        (b"HTTP/1.1 204 No\r\nConnection: x, Close\r\n\r\n", ("whole", 204, {"connection": "x, Close"}, b"", False)),
        (OK + b"Content-Length: 1\r\n\r\nhi", ("whole", 200, {"content-length": "1"}, b"h", False)),
        (OK + b"Content-Length: 3\r\n\r\nhi", ("cut", 200, {"content-length": "3"}, b"hi", False)),
        (CHUNKED + b"2\r\nhi\r\n0\r\n\r\n", ("whole", 200, {"transfer-encoding": "chunked"}, b"hi", True)),
        (CHUNKED + b"1;a=b\r\nh\r\n01 \r\ni\r\n00\r\nX: y\r\n\r\n",
         ("whole", 200, {"transfer-encoding": "chunked"}, b"hi", True)),
        (CHUNKED + b"2\r\nhi\r\n0\r\n\r\nHTTP", ("whole", 200, {"transfer-encoding": "chunked"}, b"hi", False)),
        (CHUNKED + b"2\r\nhi\r\n", ("cut", 200, {"transfer-encoding": "chunked"}, b"hi", False)),
    ],
)  # fmt: skip
def test_read_in_every_split(stream: bytes, read: Read) -> None:
    assert ours([stream]) == read == theirs([stream])
    for cut in range(len(stream) + 1):
        assert ours([stream[:cut], stream[cut:]])[:4] == read[:4], cut
    assert ours([stream[i : i + 1] for i in range(len(stream))])[:4] == read[:4]


@pytest.mark.parametrize(
    "stream",
    [
        b"SSH-2.0-x\r\n",
        b"\r\n" + OK,
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.1 099 No\r\n\r\n",
        b"HTTP/1.1 20 No\r\n\r\n",
        b"HTTP/1.1 200 N\0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        OK + b" folded\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"Space : before\r\n\r\n",
        OK + b": no name\r\n\r\n",
        OK + b"Nul: \0\r\n\r\n",
        OK + b"CR: a\rb\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"Content-Length: 1, 2\r\n\r\n",
        OK + b"Content-Length: -1\r\n\r\n",
        OK + b"Content-Length: +1\r\n\r\n",
        OK + b"Content-Length: \xb2\r\n\r\n",
        OK + b"Content-Length:\r\n\r\n",
        OK + b"Content-Length: " + b"9" * 21 + b"\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        CHUNKED + b"-1\r\n",
        CHUNKED + b"0x1\r\nh\r\n",
        CHUNKED + b"1_0\r\n",
        CHUNKED + b" 1\r\nh\r\n",
        CHUNKED + b"1\nh\r\n",
        CHUNKED + b"1\r\nhi\r\n",
        CHUNKED + b"1\r\nh\n0\r\n\r\n",
        CHUNKED + b"1;a\rb\r\nh\r\n",
        CHUNKED + b"f" * 21 + b"\r\n",
        CHUNKED + b"0\r\nno colon\r\n\r\n",
    ],
)  # fmt: skip
def test_refused_in_every_split(stream: bytes) -> None:
    for cut in range(len(stream) + 1):
        assert ours([stream[:cut], stream[cut:]], closed=False) == NONE, cut


HEAD = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 200 OK\r\n",
        b"HTTP/1.1 204 No\r\n",
        b"HTTP/1.1 100 \r\n\r\n",
        b"HTTP/1.1 200 a\n",
    ]
)
LINE = st.sampled_from(
    [
        b"Content-Length: 3\r\n", b"Content-Length: 3, 3\r\n", b"content-length:0\n", b"Content-Length: 4 \r\n",
        b"Transfer-Encoding: chunked\r\n", b"transfer-encoding:CHUNKED\r\n", b"Transfer-Encoding: gzip\r\n",
        b"Connection: close\r\n", b"Connection: keep-alive, CLOSE\r\n", b"X: y\r\n", b"X:\r\n", b" folded\r\n",
        b"\tx\n",
        b"X: \xe9\x01\t y\r\n", b"bad line\r\n", b"X : y\r\n",
    ]
)  # fmt: skip
BODY = st.sampled_from(
    [
        b"abc",
        b"3\r\nabc\r\n",
        b"1;x=y \r\na\r\n",
        b"0\r\n",
        b"\r\n",
        b"00 \r\n",
        b"X: y\r\n",
        b"\n",
        b"A\r\n",
        b"a" * 10,
    ]
)


@settings(max_examples=examples(133), deadline=None)
@given(
    HEAD,
    st.lists(LINE, max_size=4),
    st.lists(BODY | st.binary(max_size=4), max_size=8),
    st.binary(max_size=2),
    st.data(),
)
@example(b"HTTP/1.1 100 \r\n\r\n", [], [OK, b"Content-Length: 3\r\n", b"\r\n", b"abc"], b"", None)
def test_as_h11_reads(
    head: bytes, lines: list[bytes], body: list[bytes], dirt: bytes, data: st.DataObject | None
) -> None:
    stream = b"".join([head, *lines, b"\r\n" if not data or data.draw(st.integers(0, 9)) else dirt, *body])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6))) if data else []
    chunks = [stream[i:j] for i, j in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    mine, whole, h11s = ours(chunks), ours([stream]), theirs([stream])
    assert mine[:4] == whole[:4]
    if whole == NONE:  # refused by us alone: only what the module says
        both = b"content-length" in stream.lower() and b"transfer-encoding" in stream.lower()
        assert h11s[0] != "whole" or both or b";" in stream
    else:
        kind, status, headers, content, reusable = h11s
        length = headers.get("content-length")
        if length is not None and "," in whole[2].get("content-length", ""):
            headers["content-length"] = whole[2]["content-length"]  # h11 joins equal ones
        headers = {name: value.lower() if name == "transfer-encoding" else value for name, value in headers.items()}
        lowered = {name: value.lower() if name == "transfer-encoding" else value for name, value in whole[2].items()}
        assert (whole[0], whole[1], lowered, whole[3], whole[4]) == (kind, status, headers, content, reusable)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_at_all(chunks: list[bytes]) -> None:
    assert ours(chunks)[:4] == ours([b"".join(chunks)])[:4]


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 ", OK + b"X: ", CHUNKED + b"1;", CHUNKED + b"0\r\nX: "])
def test_nothing_is_gathered_without_bound(start: bytes) -> None:
    reader = ResponseReader()
    with pytest.raises(ModelProtocolError, match="too long"):
        reader.feed(start)
        for _ in range(_http1.HEAD_BYTES // 1000 + 1):
            reader.feed(b"x" * 1000)


def test_a_head_that_is_too_long_all_at_once() -> None:
    with pytest.raises(ModelProtocolError, match="too long"):
        ResponseReader().feed(OK + b"X: y\r\n" * 20_000 + b"\r\n")


def test_interim_responses_are_counted() -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    assert ours([interim * _http1.MAX_INTERIM + b"HTTP/1.1 204 No\r\n\r\n"])[1] == 204
    with pytest.raises(ModelProtocolError, match="interim responses"):
        ResponseReader().feed(interim * (_http1.MAX_INTERIM + 1))


def test_the_head_of_a_request() -> None:
    head = post_head(b"/v1?a=b", "host:1", [("Content-Type", "application/json")])
    assert head == b"POST /v1?a=b HTTP/1.1\r\nHost: host:1\r\nContent-Type: application/json\r\nContent-Length: "
    for name, value in (("X", "a\r\nEvil: b"), ("X", "a\0"), ("X\r\nEvil", "b"), ("", "x"), ("X", "é")):
        with pytest.raises(ValueError):
            post_head(b"/", "host", [(name, value)])
