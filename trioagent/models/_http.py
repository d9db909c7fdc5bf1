"""OpenAI-compatible chat completions over HTTP."""

from __future__ import annotations

import json
import random
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from urllib.parse import quote

import httpx
import trio

from .._config import ModelConfig
from .._errors import InvalidInputError, ModelConnectionError, ModelError, ModelProtocolError
from .._messages import CHARS_PER_TOKEN, ChatMessage, Usage
from ._base import AnswerEnd, AnswerPart, Model, TextDelta
from ._encode import encode_request
from ._lanes import Lanes
from ._pacer import Pacer
from ._response import ANSWER_BYTES, Chunks, Tally, connection_error, silent, status_error
from ._retry import retrying

_END_SECONDS = 2.0  # from finish_reason to the end of the stream, in which the usage should come
_CLOSE_SECONDS = 1.0
_KEY, _SHORTEST_START = "[API key]", 4
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
            failure = self._redacted(error)
        # Outside the handler, so that an error with the key in it is not kept as the clean one's context.
        raise failure

    async def _send(self, body: bytes) -> httpx.Response:
        request = httpx.Request("POST", self._url, headers=self._headers, content=body)
        try:
            with trio.move_on_after(self._config.silence_seconds):
                return await self._transport.handle_async_request(request)
        except httpx.HTTPError as error:
            raise connection_error(self._where, error) from error
        raise silent(self._where, self._config.silence_seconds)

    async def _parts(
        self, response: httpx.Response, stream: httpx.AsyncByteStream, messages: Sequence[ChatMessage]
    ) -> AsyncGenerator[AnswerPart, None]:
        chunks = Chunks(stream, self._where, self._config.silence_seconds)
        if not response.is_success:
            raise await status_error(response, chunks)
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise ModelProtocolError(f"it is encoded as {encoding!r}, which was not asked for")
        tally = Tally()
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
            text = tally.add_whole(await chunks.read_all(ANSWER_BYTES))
            if text:
                yield TextDelta(text)
        await trio.lowlevel.checkpoint_if_cancelled()  # bytes that are here already bring no checkpoint of their own
        yield AnswerEnd(tally.usage or Usage.estimate(messages, tally.chars), tally.finish_reason or "stop")

    def _redacted(self, error: ModelError) -> ModelError:
        """*error* without the key, which some servers quote when they refuse it."""
        if not self._config.api_key:
            return error
        args = tuple(_without(self._config.api_key, arg) if isinstance(arg, str) else arg for arg in error.args)
        return error if args == error.args else type(error)(*args)


def _without(key: str, text: str) -> str:
    """*text* without *key*, also as JSON or a URL spells it, and without the start of it where *text* was cut."""
    for spelled in {key, json.dumps(key)[1:-1], key.replace("/", "\\/"), quote(key), quote(key, safe="")}:
        text = text.replace(spelled, _KEY)
        body = text.removesuffix("…")
        for length in range(min(len(spelled) - 1, len(body)), _SHORTEST_START - 1, -1):
            if body.endswith(spelled[:length]):
                text = body[:-length] + _KEY
                break
    return text


def _endpoint(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise InvalidInputError("ModelConfig.base_url", f"{base_url!r} is not a URL: {error}") from error
    if not url.host:
        raise InvalidInputError("ModelConfig.base_url", f"{base_url!r} names no host")
    return url.copy_with(path=url.path.rstrip("/") + "/chat/completions", fragment=None)
