"""vLLM's OpenAI-compatible server, with its extensions that return token ids."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from .._messages import ChatMessage
from ._tokens import TokenCompletion, TokenServer, TokenServerError, open_client, said_by_role

Template = Callable[[list[dict[str, str]]], str]
"""The text of messages (each with ``role`` and ``content``), up to where the model's answer begins."""


@attrs.frozen(kw_only=True)
class VllmServer(TokenServer):
    """vLLM's server; made by `open_vllm_server`.

    Attributes:
        template: renders messages; None for the server's own chat template.
    """

    template: Template | None = None

    async def render(self, messages: Sequence[ChatMessage]) -> str:
        """See `TokenModel.render`. The server renders only to ids, so they are decoded to text again."""
        said = said_by_role(messages)
        if self.template is not None:
            await trio.lowlevel.checkpoint()
            return self.template(said)
        body = await self._post("/tokenize", {"model": self.name, "messages": said, "add_generation_prompt": True})
        ids = self._ids(body, "tokens")
        return self._text(await self._post("/detokenize", {"model": self.name, "tokens": list(ids)}), "prompt")

    async def tokenize(self, text: str, *, at_start: bool) -> tuple[int, ...]:
        """See `TokenModel.tokenize`; a start token is already in the rendered text, if the template has one."""
        body = await self._post("/tokenize", {"model": self.name, "prompt": text, "add_special_tokens": False})
        return self._ids(body, "tokens")

    async def generate(self, ids: Sequence[int], stop: Sequence[str]) -> TokenCompletion:
        """See `TokenModel.generate`."""
        request: dict[str, Any] = {
            "model": self.name,
            "prompt": list(ids),
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "stop": list(stop),
            "include_stop_str_in_output": True,
            "return_token_ids": True,
            "logprobs": 1,
        }
        if self.seed is not None:
            request["seed"] = self.seed
        body = await self._post("/v1/completions", request)
        choices = body.get("choices")
        if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
            raise TokenServerError(self.address, f"gave 'choices' as {choices!r:.60}, not as a list of one")
        (choice,) = choices
        generated = self._ids(choice, "token_ids", option="return_token_ids")
        read = choice.get("prompt_token_ids")
        if read is not None and read != list(ids):
            raise TokenServerError(self.address, "has read other ids ('prompt_token_ids') than it was sent")
        text = self._text(choice, "text")
        self._check_stop(text, choice.get("stop_reason"), option="include_stop_str_in_output")
        return TokenCompletion(
            ids=generated,
            logprobs=self._logprobs(choice, len(generated)),
            text=text,
            finish_reason=str(choice.get("finish_reason") or ""),
        )

    def _logprobs(self, choice: dict[str, Any], count: int) -> tuple[float | None, ...]:
        found = choice.get("logprobs")
        if found is None:
            return (None,) * count
        values = found.get("token_logprobs") if isinstance(found, dict) else None
        if not isinstance(values, list) or len(values) != count:
            problem = f"gave logprobs as {found!r:.60}, not one for each of {count} ids (option 'logprobs')"
            raise TokenServerError(self.address, problem)
        return tuple(float(one) if isinstance(one, int | float) else None for one in values)


@asynccontextmanager
async def open_vllm_server(
    address: str,
    *,
    name: str,
    max_tokens: int = 1024,
    temperature: float = 1.0,
    seed: int | None = None,
    api_key: str | None = None,
    template: Template | None = None,
) -> AsyncIterator[VllmServer]:
    """vLLM's server at *address*, such as ``http://localhost:8000`` (without ``/v1``); closed at the end.

    Args:
        name, max_tokens, temperature, seed, api_key, template: see `VllmServer`.
    """
    async with open_client() as client:
        yield VllmServer(
            address=address.rstrip("/").removesuffix("/v1"),
            name=name,
            client=client,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            api_key=api_key,
            template=template,
        )
