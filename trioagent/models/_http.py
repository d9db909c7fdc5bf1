"""OpenAI-compatible chat completions over HTTP."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

import httpx
import trio

from .._config import ModelConfig
from .._errors import InvalidInputError, ModelConnectionError, ModelError, ModelProtocolError, ModelStatusError
from .._messages import CHARS_PER_TOKEN, ChatMessage, Usage
from .._pacing import parse_http_date, parse_retry_after
from ._base import AnswerEnd, AnswerPart, Model, TextDelta
from ._decode import decode_answer, decode_chunk, error_detail
from ._encode import encode_request
from ._lanes import Lanes
from ._pacer import Pacer
from ._retry import retrying
from ._sse import SSEDecoder

_MIB = 1024 * 1024
_ANSWER_BYTES = 8 * _MIB  # of a JSON body, and characters of any answer's text
_STREAM_BYTES = 64 * _MIB  # a streamed answer spends some 200 bytes on a token
_ERROR_BYTES = 64 * 1024
_ERROR_SECONDS = 5.0  # for the body of an error response, whose status is already known
_END_SECONDS = 2.0  # from finish_reason to the end of the stream, in which the usage should come
_DRAIN_SECONDS = 0.1  # from "[DONE]" to the end of the response, so that the connection can be used again
_CLOSE_SECONDS = 1.0
_FIRST_GUESS = 256  # tokens of an answer before any is known
_LEARNING = 0.1  # how fast what is reserved follows what answers use


@asynccontextmanager
async def open_model(
    config: ModelConfig,
    *,
    jitter: random.Random | None = None,
    ssl_context: ssl.SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    pacer: Pacer | None = None,
) -> AsyncIterator[Model]:
    """A model behind HTTP; its connections are closed in the end. Any number of answers may run at once.

    Args:
        config: where the model is, and what it is called.
        jitter: the randomness of back-off times.
        ssl_context: whom to trust; the public authorities if not given.
        transport: another httpx transport in place of our own (for a proxy, or HTTP/2); it is closed in the end too.
        pacer: shared with other models at the same endpoint; one of its own, after ``config.rate``, if not given.
    """
    if transport is None:
        transport = Lanes(
            connect_seconds=config.connect_seconds, ssl_context=ssl_context, max_idle=config.rate.max_idle
        )
    try:
        yield HttpModel(config, transport, jitter or random.Random(), pacer or Pacer(config.rate))
    finally:
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await transport.aclose()


class HttpModel:
    """A chat model behind an HTTP transport. The key goes into the Authorization header and nowhere else."""

    def __init__(
        self, config: ModelConfig, transport: httpx.AsyncBaseTransport, jitter: random.Random, pacer: Pacer
    ) -> None:
        self._config, self._transport, self._jitter, self.pacer = config, transport, jitter, pacer
        self._typical = config.max_tokens or _FIRST_GUESS  # tokens of an answer, to be reserved
        self._url = _endpoint(config.base_url)
        self._where = str(self._url.copy_with(query=None))
        headers = {
            "Content-Type": "application/json",
            "Accept": "text/event-stream, application/json" if config.stream else "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "trioagent",
        }
        if config.api_key:
            headers["Authorization"] = f"Bearer {config.api_key}"
        self._headers = httpx.Headers(headers)  # made once, not for every request

    def __repr__(self) -> str:
        return f"<HttpModel {self.name!r} at {self._where}>"

    @property
    def name(self) -> str:
        return self._config.model

    def answer(self, messages: Sequence[ChatMessage]) -> AbstractAsyncContextManager[AsyncIterator[AnswerPart]]:
        """The parts of one answer; see :class:`Model`. Failed attempts are retried as ``config.retry`` says.

        Raises:
            ModelError: no attempt that made sense succeeded (raised by the iterator).
        """
        body, kept = encode_request(self._config, messages), tuple(messages)
        return aclosing(
            retrying(lambda: aclosing(self._attempt(body, kept)), self._config.retry, self._jitter),
        )

    async def _attempt(self, body: bytes, messages: Sequence[ChatMessage]) -> AsyncGenerator[AnswerPart, None]:
        asked = Usage.estimate(messages, 0).total_tokens
        async with self.pacer.slot(asked + self._typical) as slot:
            chars, usage = 0, None
            try:
                async with aclosing(self._exchange(body, messages)) as parts:
                    async for part in parts:
                        if isinstance(part, TextDelta):
                            chars += len(part.text)
                        elif isinstance(part, AnswerEnd):
                            usage = part.usage
                        yield part
            except ModelError as error:
                raise slot.failed(error) from error.__cause__
            finally:
                if chars or usage:  # also if the rest of the answer was not wanted
                    said = usage.completion_tokens if usage else chars // CHARS_PER_TOKEN
                    self._typical += round((said - self._typical) * _LEARNING)
                    slot.succeeded(usage.total_tokens if usage else asked + said)

    async def _exchange(self, body: bytes, messages: Sequence[ChatMessage]) -> AsyncGenerator[AnswerPart, None]:
        try:
            response = await self._send(body)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            try:
                async with aclosing(self._parts(response, response.stream, messages)) as parts:
                    async for part in parts:
                        yield part
            finally:
                with trio.move_on_after(_CLOSE_SECONDS, shield=True):
                    await response.stream.aclose()
            return
        except ModelError as error:
            failure = error
        # Outside the handler, so that an error with the key in it is not kept as the clean one's context.
        raise self._redacted(failure)

    async def _send(self, body: bytes) -> httpx.Response:
        request = httpx.Request("POST", self._url, headers=self._headers, content=body)
        try:
            return await self._transport.handle_async_request(request)
        except httpx.HTTPError as error:
            raise self._connection_error(error) from error

    async def _parts(
        self, response: httpx.Response, stream: httpx.AsyncByteStream, messages: Sequence[ChatMessage]
    ) -> AsyncGenerator[AnswerPart, None]:
        chunks = _Chunks(self, stream)
        if not response.is_success:
            raise await _status_error(response, chunks)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise ModelProtocolError(f"it is encoded as {encoding!r}, which was not asked for")
        tally = _Tally()
        if response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            # Decided by what the server says, not by what we asked: some ignore "stream".
            while not tally.done:
                chunk = await chunks.next(within=_END_SECONDS if tally.finish_reason else None)
                if chunk is None:
                    break
                text = tally.add(chunk)
                if text:
                    yield TextDelta(text)
            if not tally.done and not tally.finish_reason:
                raise ModelConnectionError(self._where, f"the answer broke off after {tally.chars} characters")
            await chunks.drain()
        else:
            text = tally.add_whole(await chunks.read_all(_ANSWER_BYTES))
            if text:
                yield TextDelta(text)
        await trio.lowlevel.checkpoint_if_cancelled()  # bytes that are here already bring no checkpoint of their own
        yield AnswerEnd(tally.usage or Usage.estimate(messages, tally.chars), tally.finish_reason or "stop")

    def _connection_error(self, error: httpx.HTTPError) -> ModelError:
        if isinstance(error, httpx.RemoteProtocolError):
            return ModelProtocolError(f"the server does not speak HTTP ({error})")
        return ModelConnectionError(self._where, str(error) or type(error).__name__)

    def _redacted(self, error: ModelError) -> ModelError:
        """*error* without the key, which some servers quote when they refuse it."""
        key = self._config.api_key
        if not key or not any(isinstance(arg, str) and key in arg for arg in error.args):
            return error
        return type(error)(*(arg.replace(key, "[API key]") if isinstance(arg, str) else arg for arg in error.args))


class _Chunks:
    """A response's bytes, bounded, with transport errors translated."""

    def __init__(self, model: HttpModel, stream: httpx.AsyncByteStream) -> None:
        self._model, self._chunks = model, aiter(stream)
        self._received = 0

    async def next(self, *, within: float | None = None) -> bytes | None:
        """The next bytes, or None at the end, or if there are none *within* so many seconds."""
        if within is not None:
            with trio.move_on_after(within):
                return await self.next()
            return None
        try:
            chunk = await anext(self._chunks, None)
        except httpx.HTTPError as error:
            raise self._model._connection_error(error) from error
        self._received += len(chunk or b"")
        if self._received > _STREAM_BYTES:
            raise ModelProtocolError(f"it is longer than {_STREAM_BYTES // _MIB} MiB")
        return chunk

    async def read_all(self, limit: int) -> bytes:
        """The whole body; ModelProtocolError if it is longer than *limit* bytes."""
        body = bytearray()
        while (chunk := await self.next()) is not None:
            body += chunk
            if len(body) > limit:
                raise ModelProtocolError(f"it is longer than {limit} bytes", body[:200].decode(errors="replace"))
        return bytes(body)

    async def read_start(self, limit: int) -> bytes:
        """The start of a body for people to read: what comes soon and without failing, up to *limit* bytes."""
        body = bytearray()
        with trio.move_on_after(_ERROR_SECONDS):
            try:
                while len(body) < limit and (chunk := await self.next()) is not None:
                    body += chunk
            except ModelError:
                pass  # the status, which is what counts, has come
        return bytes(body[:limit])

    async def drain(self) -> None:
        """Read on to the end if it is near, so that the connection can be used again."""
        with trio.move_on_after(_DRAIN_SECONDS):
            try:
                while await self.next() is not None:
                    pass
            except ModelError:
                pass  # the answer is whole; only the connection is lost


class _Tally:
    """What an answer's chunks have said so far."""

    def __init__(self) -> None:
        self._decoder = SSEDecoder()
        self.chars = 0
        self.finish_reason = ""
        self.usage: Usage | None = None
        self.done = False

    def add(self, chunk: bytes) -> str:
        """Take bytes of a stream; the text that they add."""
        text = ""
        for event in self._decoder.feed(chunk):
            if event.data == "[DONE]":
                self.done = True
                break
            piece = decode_chunk(event.data)
            text += piece.text
            self.finish_reason = piece.finish_reason or self.finish_reason
            self.usage = piece.usage or self.usage
        return self._keep(text)

    def add_whole(self, body: bytes) -> str:
        """Take a whole JSON answer; its text."""
        piece = decode_answer(body)
        self.finish_reason, self.usage = piece.finish_reason, piece.usage
        return self._keep(piece.text)

    def _keep(self, text: str) -> str:
        self.chars += len(text)
        if self.chars > _ANSWER_BYTES:
            raise ModelProtocolError(f"its text is longer than {_ANSWER_BYTES} characters")
        return text


async def _status_error(response: httpx.Response, chunks: _Chunks) -> ModelStatusError:
    if response.is_redirect or 300 <= response.status_code < 400:
        try:
            host = httpx.URL(response.headers.get("location", "")).host or "the same host"
        except httpx.InvalidURL:
            host = "an address that is not valid"
        words = f"it redirects to {host}; redirects are not followed, so set the base URL to the server's own"
        return ModelStatusError(response.status_code, words)
    detail = error_detail(await chunks.read_start(_ERROR_BYTES))
    asked = response.headers.get("retry-after")
    if asked is None:
        return ModelStatusError(response.status_code, detail)
    now = parse_http_date(response.headers.get("date", ""))
    return ModelStatusError(response.status_code, detail, parse_retry_after(asked, time.time() if now is None else now))


def _endpoint(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise InvalidInputError("ModelConfig.base_url", f"{base_url!r} is not a URL: {error}") from error
    if not url.host:
        raise InvalidInputError("ModelConfig.base_url", f"{base_url!r} names no host")
    return url.copy_with(path=url.path.rstrip("/") + "/chat/completions", fragment=None)
