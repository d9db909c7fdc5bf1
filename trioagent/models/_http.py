"""OpenAI-compatible chat completions over HTTP."""

from __future__ import annotations

import json
import logging
import random
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from urllib.parse import quote

import httpx
import trio

from .._config import ModelConfig
from .._errors import EndpointHeldError, InvalidInputError, ModelError, ModelRefusedError, ModelStatusError
from .._messages import CHARS_PER_TOKEN, ChatMessage, Usage
from .._network import NetworkConfig
from .._retry_policy import GiveUp, Wait, after_failures
from .._server_behaviour import OVERLOAD_STATUSES, AdaptRequest, Change, Failure, HoldEndpoint, Retry, action_for
from .._tracing import current_headers
from ._base import AnswerPart, AnswerSource, Model, RequestSender
from ._connection_pool import ConnectionPool
from ._encode import CHANGES, RequestEncoder
from ._endpoints import EndpointHealth, Endpoints, Held
from ._httpx_transport import HttpxTransport
from ._proxy import Proxy
from ._rate_limiter import RateLimiter
from ._response import AnswerReader
from ._retry import retrying
from ._streams import shared_ssl_context
from ._transport import Endpoint, Transport

_CLOSE_SECONDS = 1.0
_KEY, _SHORTEST_START = "[API key]", 4
_KEY_HEADER = re.compile("auth|key|token", re.IGNORECASE)
_SHORTEST_SECRET = 6  # shorter header values are words such as "true", which would be redacted everywhere
_HOLD_FROM = 2  # failures of one request, before it holds an endpoint if others fail too
_FIRST_GUESS = 256  # estimated tokens of an answer before any is known
_LEARNING = 0.1  # weight of the newest answer in the running mean of answer lengths

_log = logging.getLogger("trioagent")


@asynccontextmanager
async def open_model(
    config: ModelConfig,
    *,
    jitter: random.Random | None = None,
    ssl_context: ssl.SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | Transport | None = None,
    endpoints: Endpoints | None = None,
    network: NetworkConfig = NetworkConfig(),
    sender: RequestSender | None = None,
) -> AsyncIterator[Model]:
    """Open a model behind HTTP; its connections are closed on leaving. Any number of answers may run at once.

    Args:
        config: the model's address, name and limits.
        jitter: the random source of backoff jitter.
        ssl_context: trusted certificates; the public certificate authorities if not given.
        transport: an httpx transport in place of the connection pool (for a proxy, or HTTP/2); closed on leaving too.
        endpoints: state shared with other models: rate limiters by address, and the health of each endpoint.
        network: the proxy and the certificate authorities, if *transport* and *ssl_context* are not given.
        sender: sends the requests in place of a transport, for example from another machine; the caller closes it.

    Raises:
        InvalidInputError: the base URL, the proxy or the certificate authorities cannot be used.
    """
    async with AsyncExitStack() as stack:
        if sender is None:
            sender = await stack.enter_async_context(
                open_sender(config, ssl_context=ssl_context, transport=transport, network=network)
            )
        shared = endpoints or Endpoints()
        yield HttpModel(config, sender, jitter or random.Random(), shared.rate_limiter(config), shared.health(config))


@asynccontextmanager
async def open_sender(
    config: ModelConfig,
    *,
    ssl_context: ssl.SSLContext | None = None,
    transport: httpx.AsyncBaseTransport | Transport | None = None,
    network: NetworkConfig = NetworkConfig(),
) -> AsyncIterator[RequestSender]:
    """A sender of single requests to *config*'s address: no limits, no retries. Arguments as in `open_model`."""
    if ssl_context is None and (network.ca_file or network.ca_dir):
        ssl_context = shared_ssl_context(network.ca_file, network.ca_dir)
    url = network.proxy_for(_url(config.base_url)) if transport is None else None
    proxy = None if url is None else Proxy.from_url(url)
    if transport is None:
        transport = ConnectionPool(
            connect_seconds=config.connect_seconds,
            ssl_context=ssl_context,
            max_idle=config.rate.max_idle,
            proxy=proxy,
        )
    elif isinstance(transport, httpx.AsyncBaseTransport):
        transport = HttpxTransport(transport)
    try:
        yield HttpSender(config, transport, proxy)
    finally:
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await transport.aclose()


class HttpSender:
    """Sends requests over an HTTP transport. The key is put into the Authorization header and nowhere else."""

    def __init__(self, config: ModelConfig, transport: Transport, proxy: Proxy | None) -> None:
        self._transport, self._encoder = transport, RequestEncoder(config)
        self._endpoint = Endpoint(_url(config.base_url), _headers(config), config.silence_seconds, proxy)

    async def send(
        self, messages: Sequence[ChatMessage], changes: frozenset[Change], headers: Mapping[str, str]
    ) -> AnswerSource:
        endpoint = self._endpoint.with_headers(headers) if headers else self._endpoint
        response = await self._transport.post(endpoint, self._encoder.encode(messages, changes))
        return AnswerReader(response, self._endpoint)


def _headers(config: ModelConfig) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json" if config.stream else "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "trioagent",
    }
    ours = {name.lower() for name in config.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in ours} | {**config.headers}
    if config.api_key:
        headers["Authorization"] = f"Bearer {config.api_key}"
    return headers


class HttpModel:
    """A chat model that sends its requests through a sender, within the address's rates, and with retries."""

    def __init__(
        self,
        config: ModelConfig,
        sender: RequestSender,
        jitter: random.Random,
        rate_limiter: RateLimiter,
        health: EndpointHealth,
    ) -> None:
        self.config: ModelConfig = config
        self._config, self._sender, self._jitter, self.rate_limiter = config, sender, jitter, rate_limiter
        self.health: EndpointHealth = health
        self._gives_finish_reason = False  # whether any answer had a finish reason
        self._typical = config.max_tokens or _FIRST_GUESS  # tokens to reserve for an answer
        self._where = _url(config.base_url).partition("?")[0]
        self._encoder = RequestEncoder(config)
        values = [word for value in config.headers.values() for word in (value, value.rpartition(" ")[2])]
        self._secrets = [value for value in dict.fromkeys(values) if len(value) >= _SHORTEST_SECRET]
        if config.api_key:
            self._secrets.insert(0, config.api_key)
        self._sends_key = any(_KEY_HEADER.search(name) for name in _headers(config))

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
        kept, answer, before = tuple(messages), object(), 0

        def judge(failures: Sequence[ModelError]) -> Wait | GiveUp | None:
            nonlocal before
            if len(failures) == 1:  # successes before the first failure say nothing about the server now
                before = self.health.successes
            return self._judge(failures, answer, before)

        return aclosing(
            retrying(lambda: aclosing(self._attempt(kept, answer)), self._config.retry, self._jitter, judge)
        )

    async def _attempt(self, messages: Sequence[ChatMessage], answer: object) -> AsyncGenerator[AnswerPart, None]:
        """Send one request; *answer* identifies the answer that it is an attempt at."""
        self.health.check()
        asked = Usage.estimate(messages, 0).total_tokens
        async with self.rate_limiter.slot(asked + self._typical) as slot:
            try:
                outcome = self.health.admit(answer, slot.sent)
            except ModelError:
                slot.unused()
                raise
            reader: AnswerSource | None = None
            try:
                reader = await self._sender.send(messages, self.health.changes, current_headers())
                try:
                    while (parts := await reader.next()) is not None:
                        if outcome.is_probe and reader.chars:
                            outcome.answering()
                        for part in parts:
                            yield part
                    self._gives_finish_reason = self._gives_finish_reason or bool(reader.finish_reason)
                    yield reader.end(messages, gives_finish_reason=self._gives_finish_reason)
                    outcome.succeeded()
                finally:
                    await reader.aclose()
                return
            except ModelError as error:
                failure = self._redacted(error)
                slot.failed(failure)
                outcome.failed(failure)
            finally:
                if reader is not None and (reader.chars or reader.usage):  # even if the rest of it was not wanted
                    usage, said = reader.usage, reader.chars // CHARS_PER_TOKEN
                    said = usage.completion_tokens if usage else said
                    self._typical += round((said - self._typical) * _LEARNING)
                    slot.succeeded(usage.total_tokens if usage else asked + said)
                    outcome.succeeded()
                outcome.close()
            # Outside the handler, so that an error that contains the key is not kept as context of the redacted one.
            raise failure

    def _judge(self, failures: Sequence[ModelError], answer: object, before: int) -> Wait | GiveUp | None:
        """The decision after *failures* of *answer*'s requests; before the first, *before* requests had succeeded."""
        last = failures[-1]
        if isinstance(last, EndpointHeldError | ModelRefusedError):
            return GiveUp("it was not sent")
        action = action_for(
            Failure.of(last),
            max_retry_after=self._config.retry.max_retry_after,
            others_fail=self.health.others_fail(answer),
        )
        if isinstance(action, AdaptRequest):
            return self._adapted(action, last)
        verdict = after_failures(self._config.retry, failures, self._jitter)
        if not (self.health.holds and isinstance(action, Retry | HoldEndpoint)):
            return verdict
        # A run waits for unavailable servers. This one counts as unavailable, if nothing has succeeded meanwhile.
        if isinstance(self.health.state.value, Held):
            return GiveUp("the server is unavailable", self.health.held_error())
        overloaded = isinstance(last, ModelStatusError) and last.status in OVERLOAD_STATUSES
        soon = isinstance(action, HoldEndpoint) and len(failures) >= _HOLD_FROM and not overloaded
        if self.health.successes == before and (soon or isinstance(verdict, GiveUp)):
            return GiveUp("the server is unavailable", self.health.hold(last))
        return verdict

    def _adapted(self, action: AdaptRequest, error: ModelError) -> GiveUp | None:
        """Adapt the request to the server; None if that was possible."""
        if not self._encoder.can_change(action.change, self.health.changes):
            return GiveUp("the same request would fail again")
        self.health.adapt(action.change)
        _log.warning("%s: %s; requests are sent %s from now on", self.health.name, error, CHANGES[action.change])
        return None

    def _redacted(self, error: ModelError) -> ModelError:
        """*error* without key and header values, which some servers quote when they refuse a request.

        Without its traceback too: its frames contain what the server sent.
        """
        if isinstance(error, ModelStatusError) and error.status in (401, 403) and not self._sends_key:
            detail = f"no key was sent: {error.detail}" if error.detail else "no key was sent"
            error = type(error)(error.status, detail, *error.args[2:])
        args = tuple(self._without_secrets(arg) if isinstance(arg, str) else arg for arg in error.args)
        error = error if args == error.args else type(error)(*args)
        return error.with_traceback(None)

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = _without(secret, text)
        return text


def _without(key: str, text: str) -> str:
    """*text* with *key* redacted, also if it is escaped for JSON or a URL, or truncated at the end of *text*."""
    for spelled in {key, json.dumps(key)[1:-1], key.replace("/", "\\/"), quote(key), quote(key, safe="")}:
        text = text.replace(spelled, _KEY)
        body = text.removesuffix("…")
        for length in range(min(len(spelled) - 1, len(body)), _SHORTEST_START - 1, -1):
            if body.endswith(spelled[:length]):
                text = body[:-length] + _KEY
                break
    return text


def _url(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise InvalidInputError("ModelConfig.base_url", f"{base_url!r} is not a URL: {error}") from error
    if not url.host:
        raise InvalidInputError("ModelConfig.base_url", f"{base_url!r} names no host")
    return str(url.copy_with(path=url.path.rstrip("/") + "/chat/completions", fragment=None))
