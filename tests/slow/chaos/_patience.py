"""What a user of a server that hangs does: an exchange that takes too long counts as a broken connection."""

from __future__ import annotations

from collections.abc import Mapping

import trio

from trioagent.models._transport import Endpoint, Response, Transport


class Impatient:
    """A transport that gives one exchange, up to its last byte, so many seconds.

    The library retries what it makes of the error, as it does with every connection that broke.
    """

    def __init__(self, inner: Transport, seconds: float) -> None:
        self._inner, self._seconds = inner, seconds

    async def post(self, endpoint: Endpoint, body: bytes) -> Response:
        until = trio.current_time() + self._seconds
        with trio.move_on_at(until):
            return _Bounded(await self._inner.post(endpoint, body), endpoint, until)
        raise endpoint.connection_error("no answer in time")

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded:
    def __init__(self, inner: Response, endpoint: Endpoint, until: float) -> None:
        self._inner, self._endpoint, self._until = inner, endpoint, until
        self.status = inner.status
        self.headers: Mapping[str, str] = inner.headers

    @property
    def over(self) -> bool:
        return self._inner.over

    async def read(self) -> bytes:
        with trio.move_on_at(self._until):
            return await self._inner.read()
        raise self._endpoint.connection_error("the answer did not end in time")

    async def aclose(self) -> None:
        await self._inner.aclose()
