"""Content codings of responses. We ask for none, but some gateways compress all the same."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

from .._errors import ModelProtocolError
from ._transport import Response

_PIECE_BYTES = 64 * 1024  # decompressed at once, so that a small body cannot expand to a large one between two checks
_GZIP_START = b"\x1f"
_AUTO_WBITS = zlib.MAX_WBITS | 32  # gzip or zlib, by the header
_NO_CODING = frozenset({"", "identity", "none"})


class _Decompressor(Protocol):
    @property
    def unconsumed_tail(self) -> bytes: ...

    @property
    def unused_data(self) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def decoded(response: Response) -> Response:
    """*response* with its body decompressed.

    Raises:
        ModelProtocolError: its content coding is unknown, or there are several.
    """
    named = (coding.strip() for coding in response.headers.get("content-encoding", "").lower().split(","))
    codings = [coding for coding in named if coding not in _NO_CODING]
    if not codings:
        return response
    make = _DECOMPRESSORS.get(codings[0])
    if make is None or len(codings) > 1:
        raise ModelProtocolError(f"it is encoded as {', '.join(codings)!r}, which was not requested")
    return _Decompressed(response, codings[0], make)


class _Decompressed:
    """A response whose body is decompressed in pieces of bounded size."""

    def __init__(self, response: Response, coding: str, make: Callable[[bytes], _Decompressor]) -> None:
        self._response, self._coding, self._make = response, coding, make
        self._decompressor: _Decompressor | None = None
        self._ended = False  # bytes behind the compressed body are none of it
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers

    @property
    def over(self) -> bool:
        return self._response.over and not self._pending

    @property
    def _pending(self) -> bytes:
        if self._decompressor is None or self._ended:
            return b""
        return self._decompressor.unused_data if self._decompressor.eof else self._decompressor.unconsumed_tail

    async def read(self) -> bytes:
        while True:
            data = self._pending or await self._response.read()
            if not data:
                return b""
            if self._decompressor is not None and self._decompressor.eof:
                # A body in gzip may have several members, one after the other (RFC 1952, 2.2).
                self._ended = self._ended or self._make is not _gzip or not data.startswith(_GZIP_START)
            if self._decompressor is None or (self._decompressor.eof and not self._ended):
                self._decompressor = self._make(data)
            elif self._ended:
                return b""  # bytes after the compressed body
            try:
                piece = self._decompressor.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise ModelProtocolError(f"its {self._coding} encoding is broken: {error}") from None
            if piece:
                return piece

    async def aclose(self) -> None:
        await self._response.aclose()


def _deflate(start: bytes) -> _Decompressor:
    """Deflate is zlib's format; some servers omit its header."""
    has_header = start[0] & 0x0F == 8 and (len(start) < 2 or (start[0] << 8 | start[1]) % 31 == 0)
    return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


def _gzip(start: bytes) -> _Decompressor:
    return zlib.decompressobj(_AUTO_WBITS)


_DECOMPRESSORS: Mapping[str, Callable[[bytes], _Decompressor]] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate}
