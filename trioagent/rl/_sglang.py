"""SGLang's server, through its native interface."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from .._messages import ChatMessage
from ._tokens import TokenCompletion, TokenIdsMissingError, TokenServer, TokenServerError, open_client, said_by_role
from ._vllm import Template


@attrs.frozen(kw_only=True)
class SglangServer(TokenServer):
    """SGLang's server; made by `open_sglang_server`.

    Attributes:
        template: renders messages, such as a tokenizer's ``apply_chat_template``; the server renders only chats.
    """

    template: Template

    async def render(self, messages: Sequence[ChatMessage]) -> str:
        """See `TokenModel.render`."""
        await trio.lowlevel.checkpoint()
        return self.template(said_by_role(messages))

    async def tokenize(self, text: str, *, at_start: bool) -> tuple[int, ...]:
        """See `TokenModel.tokenize`; a start token is already in the rendered text, if the template has one."""
        body = await self._post("/v1/tokenize", {"model": self.name, "prompt": text, "add_special_tokens": False})
        return self._ids(body, "tokens")

    async def generate(self, ids: Sequence[int], stop: Sequence[str]) -> TokenCompletion:
        """See `TokenModel.generate`."""
        sampling: dict[str, Any] = {
            "max_new_tokens": self.max_tokens,
            "temperature": self.temperature,
            "stop": list(stop),
            "no_stop_trim": True,
        }
        if self.seed is not None:
            sampling["sampling_seed"] = self.seed
        body = await self._post(
            "/generate", {"input_ids": list(ids), "sampling_params": sampling, "return_logprob": True}
        )
        meta = self._object(body, "meta_info")
        generated, logprobs = self._sampled(meta)
        output = body.get("output_ids")
        if output is not None and output != list(generated):
            raise TokenServerError(self.address, "gave other ids in 'output_ids' than in 'output_token_logprobs'")
        reason = self._object(meta, "finish_reason")
        text = self._text(body, "text")
        self._check_stop(text, reason.get("matched"), option="no_stop_trim")
        return TokenCompletion(ids=generated, logprobs=logprobs, text=text, finish_reason=str(reason.get("type") or ""))

    def _sampled(self, meta: Mapping[str, Any]) -> tuple[tuple[int, ...], tuple[float | None, ...]]:
        """The ids with their logprobs, each as ``[logprob, id, text]``."""
        rows = meta.get("output_token_logprobs")
        if rows is None:
            problem = "has no 'output_token_logprobs' in its answer (option 'return_logprob')"
            raise TokenIdsMissingError(self.address, problem)
        good = isinstance(rows, list) and all(
            isinstance(row, list) and len(row) >= 2 and type(row[1]) is int for row in rows
        )
        if not good:
            raise TokenServerError(self.address, f"gave 'output_token_logprobs' as {rows!r:.60}, not as [logprob, id]")
        known = (float(row[0]) if isinstance(row[0], int | float) else None for row in rows)
        return tuple(row[1] for row in rows), tuple(known)


@asynccontextmanager
async def open_sglang_server(
    address: str,
    *,
    template: Template,
    name: str = "default",
    max_tokens: int = 1024,
    temperature: float = 1.0,
    seed: int | None = None,
    api_key: str | None = None,
) -> AsyncIterator[SglangServer]:
    """SGLang's server at *address*, such as ``http://localhost:30000``; its connections are closed at the end.

    Args:
        template, name, max_tokens, temperature, seed, api_key: see `SglangServer`.
    """
    async with open_client() as client:
        yield SglangServer(
            address=address.rstrip("/").removesuffix("/v1"),
            name=name,
            client=client,
            max_tokens=max_tokens,
            temperature=temperature,
            seed=seed,
            api_key=api_key,
            template=template,
        )
