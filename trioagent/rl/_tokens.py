"""Servers that take and return token ids."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, runtime_checkable

import attrs
import httpx

from .._errors import ModelError
from .._json_steps import decode_steps
from .._messages import ChatMessage
from .._steps import run_steps

_ROLES = {"tool": "user"}  # results have this role in the training of models


class TokenServerError(ModelError):
    """A server's answer cannot be used in token mode.

    Attributes:
        address: the server's.
        problem: what is wrong.
    """

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(address, problem)
        self.address: str = address
        self.problem: str = problem

    def __str__(self) -> str:
        return f"the server at {self.address} {self.problem}"


class TokenIdsMissingError(TokenServerError):
    """A server returned text without the ids of its tokens, so no exact trajectory can be made."""

    def __str__(self) -> str:
        return f"{super().__str__()}; it must return the ids of the tokens that it generates"


@attrs.frozen(kw_only=True)
class TokenCompletion:
    """A completion of a model.

    Attributes:
        ids: exactly those that were sampled, including the end-of-turn token, if it was.
        logprobs: of each id; None if the server returned none.
        text: the same without special tokens, with the stop string if one was hit.
        finish_reason: "stop", or "length" at the token limit.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    text: str
    finish_reason: str


@runtime_checkable
class TokenModel(Protocol):
    """A model that continues token ids."""

    @property
    def name(self) -> str:
        """Its name."""

    async def render(self, messages: Sequence[ChatMessage]) -> str:
        """The text of *messages* in the model's template, up to the beginning of its answer."""

    async def tokenize(self, text: str, *, at_start: bool) -> tuple[int, ...]:
        """The ids of a piece of rendered text, with special tokens recognised.

        Args:
            at_start: it begins the sequence, so a template's own start token precedes it.
        """

    async def generate(self, ids: Sequence[int], stop: Sequence[str]) -> TokenCompletion:
        """Continue *ids*. Cancelling stops the generation.

        Raises:
            ModelError: the server is unavailable, refuses, or returns no ids.
        """


@attrs.frozen(kw_only=True)
class TokenServer:
    """A server over HTTP that takes and returns token ids: the common part of all kinds.

    Attributes:
        address: without a path.
        name: the model's name: in trajectories and, if a server has several models, in requests.
        max_tokens, temperature, seed: of each generation.
        api_key: sent as a bearer token; never part of a repr or an error.
    """

    address: str
    name: str
    client: httpx.AsyncClient = attrs.field(repr=False)
    max_tokens: int = 1024
    temperature: float = 1.0
    seed: int | None = None
    api_key: str | None = attrs.field(default=None, repr=False)

    async def _post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        headers = {"Content-Type": "application/json"}
        if self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        try:
            response = await self.client.post(f"{self.address}{path}", content=json.dumps(body), headers=headers)
        except httpx.HTTPError as error:
            raise TokenServerError(self.address, f"does not answer: {str(error) or type(error).__name__}") from error
        if response.status_code != 200:
            words = response.text[:300]
            raise TokenServerError(self.address, f"answered {path} with status {response.status_code}: {words}")
        try:
            value = await run_steps(decode_steps(response.content, strict=False))
        except ValueError as error:
            raise TokenServerError(self.address, f"answered {path} with no JSON: {error}") from error
        if not isinstance(value, dict):
            raise TokenServerError(self.address, f"answered {path} with {value!r:.60}, not with an object")
        return value

    def _ids(self, body: Mapping[str, Any], name: str, option: str = "") -> tuple[int, ...]:
        value = body.get(name)
        if value is None:
            by = f" (option {option!r})" if option else ""
            raise TokenIdsMissingError(self.address, f"has no {name!r} in its answer{by}")
        if not isinstance(value, list) or not all(type(one) is int for one in value):
            raise TokenServerError(self.address, f"gave {name!r} as {value!r:.60}, not as a list of ids")
        return tuple(value)

    def _text(self, body: Mapping[str, Any], name: str) -> str:
        value = body.get(name)
        if not isinstance(value, str):
            raise TokenServerError(self.address, f"gave {name!r} as {value!r:.60}, not as text")
        return value

    def _object(self, body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        value = body.get(name)
        if not isinstance(value, dict):
            raise TokenServerError(self.address, f"gave {name!r} as {value!r:.60}, not as an object")
        return value

    def _check_stop(self, text: str, stop: object, *, option: str) -> None:
        """Refuse an answer that lacks the stop string that ended it, since its ids lack that, too."""
        if isinstance(stop, str) and stop not in text:
            raise TokenServerError(self.address, f"left the stop string {stop!r} out of its answer (option {option!r})")


def said_by_role(messages: Sequence[ChatMessage]) -> list[dict[str, str]]:
    """*messages* for templates: results in the role that models are trained on."""
    return [{"role": _ROLES.get(one.role, one.role), "content": one.content} for one in messages]


@asynccontextmanager
async def open_client() -> AsyncIterator[httpx.AsyncClient]:
    """Connections to a token server, closed at the end."""
    # No timeout: the caller's scope reaches here, and only the caller knows how long a generation may take. As many
    # connections as there are episodes.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(timeout=None, trust_env=False, limits=limits) as client:
        yield client


@attrs.frozen(kw_only=True)
class LlamaServer(TokenServer):
    """llama.cpp's server, through its native interface; made by `open_llama_server`.

    Attributes:
        grammar: a GBNF grammar that answers must follow; none if "".
    """

    grammar: str = ""

    async def render(self, messages: Sequence[ChatMessage]) -> str:
        """See `TokenModel.render`."""
        body = await self._post("/apply-template", {"messages": said_by_role(messages)})
        return self._text(body, "prompt")

    async def tokenize(self, text: str, *, at_start: bool) -> tuple[int, ...]:
        """See `TokenModel.tokenize`."""
        body = await self._post("/tokenize", {"content": text, "add_special": at_start, "parse_special": True})
        return self._ids(body, "tokens")

    async def generate(self, ids: Sequence[int], stop: Sequence[str]) -> TokenCompletion:
        """See `TokenModel.generate`."""
        request: dict[str, Any] = {
            "prompt": list(ids),
            "n_predict": self.max_tokens,
            "temperature": self.temperature,
            "stop": list(stop),
            "return_tokens": True,
            "n_probs": 1,
            "cache_prompt": True,
        }
        if self.seed is not None:
            request["seed"] = self.seed
        if self.grammar:
            request["grammar"] = self.grammar
        body = await self._post("/completion", request)
        generated = self._ids(body, "tokens")
        if not generated and self._text(body, "content"):
            raise TokenIdsMissingError(self.address, 'gives text without ids (option "return_tokens")')
        stopped = str(body.get("stopping_word") or "")
        return TokenCompletion(
            ids=generated,
            logprobs=self._logprobs(body, len(generated)),
            text=self._text(body, "content") + stopped,  # the server omits it from the text, but not from the ids
            finish_reason="length" if body.get("stop_type") == "limit" else "stop",
        )

    def _logprobs(self, body: Mapping[str, Any], count: int) -> tuple[float | None, ...]:
        """For each id: the server omits those of a stop string's tokens, which are the last ones."""
        rows = body.get("completion_probabilities") or []
        found = [row.get("logprob") if isinstance(row, dict) else None for row in rows][:count]
        known = [float(value) if isinstance(value, int | float) else None for value in found]
        return (*known, *[None] * (count - len(known)))


@asynccontextmanager
async def open_llama_server(
    address: str,
    *,
    name: str = "llama-server",
    max_tokens: int = 1024,
    temperature: float = 1.0,
    seed: int | None = None,
    grammar: str = "",
    api_key: str | None = None,
) -> AsyncIterator[LlamaServer]:
    """llama.cpp's server at *address*, such as ``http://localhost:8080``; its connections are closed at the end.

    Args:
        name, max_tokens, temperature, seed, grammar, api_key: see `LlamaServer`.
    """
    async with open_client() as client:
        yield LlamaServer(
            address=address.rstrip("/"),
            name=name,
            client=client,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            grammar=grammar,
            api_key=api_key,
        )
