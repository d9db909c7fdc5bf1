"""HTTP/1.1 for a client (RFC 9112). Pure: bytes in any split in, one response's head and body out.

It accepts what h11 accepts (test_http1.py compares the two), with these exceptions, all rejected: a version other
than 1.x, Transfer-Encoding beside Content-Length, a bare CR in a chunk's extension. Everything is bounded: the head, a
chunk's line, the trailer, interim responses, and the number of chunks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .._errors import ModelProtocolError

HEAD_BYTES = 64 * 1024  # of a head, a trailer, or the line before a chunk
MAX_INTERIM = 100
MAX_CHUNKS = 250_000  # of one body: a chunk of one byte costs as much as a long one; a stream uses one per token

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+"
_VALUE = rb"(?:[^\x00\s]+(?:[ \t]+[^\x00\s]+)*)?"
_STATUS = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: [^\x00\n\r\f\v]*)?\r?\n")
_FIELD = re.compile(rb"(%b):[ \t]*(%b)[ \t]*\r?\n" % (_TOKEN, _VALUE))
_FOLD = re.compile(rb"\r?\n[ \t]+")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,20})[ \t]*(?:;[^\r\n]*)?\r\n")
_VERSION = b"HTTP/1."
_DIGITS = re.compile(r"[0-9]{1,20}")
_CRLF_BYTES = 2
_UNTIL_CLOSED = -1


def post_head(target: bytes, host: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """The head of a POST request up to ``Content-Length: ``; the caller appends the length and an empty line.

    Raises:
        ValueError: a header cannot be represented.
    """
    lines = [b"POST %b HTTP/1.1\r\n" % target]
    for name, value in (("Host", host), *fields):
        line = f"{name}: {value}\r\n".encode("ascii")
        if not is_header(name, value):
            raise ValueError(f"the header {name} cannot be sent")
        lines.append(line)
    return b"".join(lines) + b"Content-Length: "


def is_header(name: str, value: str) -> bool:
    """Whether this can be sent as one header."""
    line = f"{name}: {value}\r\n"
    return line.isascii() and _FIELD.fullmatch(line.encode("ascii")) is not None


class ResponseReader:
    """Parses one response. ``feed`` it bytes as they arrive, however they are split.

    Args:
        max_chunks: most chunks accepted in one body.

    Attributes:
        status: 0 until the head has arrived; interim responses are skipped.
        headers: by lower-case name; those of one name are joined by commas.
        over: the response has been read to its end.
        reusable: the connection can carry another request after this response.
    """

    __slots__ = (
        "_buffer",
        "_chunked",
        "_chunks_read",
        "_in_trailer",
        "_interim",
        "_left",
        "_max_chunks",
        "headers",
        "over",
        "reusable",
        "status",
    )

    def __init__(self, *, max_chunks: int = MAX_CHUNKS) -> None:
        self._max_chunks = max_chunks
        self.status = 0
        self.headers: dict[str, str] = {}
        self.over = False
        self.reusable = False
        self._buffer = b""  # incomplete input: part of a head, of a chunk's line, of a trailer
        self._chunked = self._in_trailer = False
        self._left = 0  # bytes of the body, or of the chunk at hand with the line end after it
        self._chunks_read = self._interim = 0

    def feed(self, data: bytes) -> bytes:
        """Parse *data*; returns what it adds to the body.

        Raises:
            ModelProtocolError: it is not HTTP, or exceeds a limit.
        """
        if self._buffer:
            data, self._buffer = self._buffer + data, b""
        start = 0
        while not self.status:
            end = self._take_head(data, start)
            if end < 0:
                self._keep(data, start)
                return b""
            start = end
        if self.over:
            self.reusable = self.reusable and start == len(data)  # bytes after the response belong to no request
            return b""
        if self._chunked:
            return self._take_chunks(data, start)
        body = data[start:] if start else data
        if self._left == _UNTIL_CLOSED:
            return body
        if len(body) > self._left:
            body, self.reusable = body[: self._left], False
        self._left -= len(body)
        self.over = not self._left
        return body

    def close(self) -> bool:
        """Handle the end of the connection; returns whether the response is complete."""
        if self._left == _UNTIL_CLOSED:
            self.over = True
        return self.over

    def _keep(self, data: bytes, start: int) -> None:
        self._buffer = data[start:]
        if len(self._buffer) > HEAD_BYTES:
            raise _not_http("a head, or a line of it, is too long")

    def _take_head(self, data: bytes, start: int) -> int:
        """Parse a head from *start*; returns where it ends, or -1 if it is incomplete."""
        if not data.startswith(_VERSION, start) and not _VERSION.startswith(data[start : start + len(_VERSION)]):
            raise _not_http("it does not begin with a status line")
        end = _end_of_lines(data, start)
        if end < 0:
            return -1
        if end - start > HEAD_BYTES:
            raise _not_http("its head is too long")
        match = _STATUS.match(data, start, end)
        if match is None:
            raise _not_http("it does not begin with a status line")
        headers = _fields(data, match.end(), end)
        status = int(match[2])
        if status >= 200:
            self.status, self.headers = status, headers
            self._frame(match[1])
        elif status == 101:
            raise _not_http("it switches protocols, which was not asked for")
        else:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise _not_http(f"more than {MAX_INTERIM} interim responses")
        return end

    def _frame(self, minor: bytes) -> None:
        """Determine from the head how the body is delimited."""
        length, coding = self.headers.get("content-length"), self.headers.get("transfer-encoding")
        if length is not None:
            values = {value.strip(" \t") for value in length.split(",")}
            length = values.pop()
            if values or not _DIGITS.fullmatch(length):
                raise _not_http("its Content-Length is invalid or contradicts itself")
        if coding is not None and (coding.lower() != "chunked" or length is not None):
            raise _not_http("its Transfer-Encoding is not 'chunked' alone")
        closing = "connection" in self.headers and "close" in {
            option.strip(" \t") for option in self.headers["connection"].lower().split(",")
        }
        self.reusable = minor != b"0" and not closing
        if self.status in (204, 304):
            self.over = True
        elif coding is not None:
            self._chunked = True
        elif length is not None:
            self._left = int(length)
            self.over = not self._left
        else:
            self._left, self.reusable = _UNTIL_CLOSED, False

    def _take_chunks(self, data: bytes, at: int) -> bytes:
        parts: list[bytes] = []
        size, left = len(data), self._left
        while not self._in_trailer:
            if left:
                end = at + left - _CRLF_BYTES
                if end >= size:  # all of it belongs to the chunk, and its line end has not arrived yet
                    parts.append(data[at:])
                    left -= size - at
                    at = size
                    break
                if end > at:
                    parts.append(data[at:end])
                    at, left = end, _CRLF_BYTES
                if size - at < _CRLF_BYTES and data.startswith(b"\r", at):
                    break
                if not data.startswith(b"\r\n", at):
                    raise _not_http("a chunk is longer than it says")
                at, left = at + _CRLF_BYTES, 0
            match = _CHUNK.match(data, at)
            if match is None:
                if data.find(b"\n", at) >= 0:
                    raise _not_http("a chunk has no length")
                break
            at = match.end()
            length = int(match[1], 16)
            if length:
                left = length + _CRLF_BYTES
                self._chunks_read += 1
                if self._chunks_read > self._max_chunks:
                    raise ModelProtocolError(f"a body of more than {self._max_chunks} chunks")
            else:
                self._in_trailer = True
        self._left = left
        if self._in_trailer:
            at = self._take_trailer(data, at)
        self._keep(data, at)
        return b"".join(parts)

    def _take_trailer(self, data: bytes, at: int) -> int:
        end = _end_of_lines(data, at)
        if end < 0:
            return at
        _fields(data, at, end)
        self.over = True
        self.reusable = self.reusable and end == len(data)
        return len(data)


def _end_of_lines(data: bytes, start: int) -> int:
    """The end of the header block that begins at *start*, empty line included; -1 if it has not arrived yet."""
    for empty in (b"\r\n", b"\n"):
        if data.startswith(empty, start):
            return start + len(empty)
    crlf = data.find(b"\n\r\n", start)
    bare = data.find(b"\n\n", start, crlf + 1 if crlf >= 0 else len(data))  # some servers send no CR
    if bare >= 0:
        return bare + 2
    return crlf + 3 if crlf >= 0 else -1


def _fields(data: bytes, at: int, end: int) -> dict[str, str]:
    """The header fields from *at* up to the empty line before *end*."""
    if data.find(b"\n ", at, end) >= 0 or data.find(b"\n\t", at, end) >= 0:  # folded lines: obsolete, to be joined
        data = _FOLD.sub(b" ", data[at:end])
        at, end = 0, len(data)
    headers: dict[str, str] = {}
    match = _FIELD.match(data, at, end)
    while match is not None:
        name, value = match[1].decode("ascii").lower(), match[2].decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
        at = match.end()
        match = _FIELD.match(data, at, end)
    if data[at:end] not in (b"\r\n", b"\n"):
        raise _not_http("a line of its head is not a header")
    return headers


def _not_http(what: str) -> ModelProtocolError:
    return ModelProtocolError(f"the server does not speak HTTP: {what}")
