"""Servers with the token interfaces of llama.cpp, vLLM and SGLang over real HTTP; they answer from a script.

Their tokens are bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import h11
import trio

START, END = 256, 257
SPECIAL = {"<|im_start|>": START, "<|im_end|>": END}
_SPECIAL = re.compile("(<\\|im_start\\|>|<\\|im_end\\|>)")


def encode(text: str) -> list[int]:
    """Bytes, and the special tokens."""
    ids: list[int] = []
    for part in _SPECIAL.split(text):
        ids += [SPECIAL[part]] if part in SPECIAL else list(part.encode())
    return ids


def decode(ids: Sequence[int]) -> str:
    names = {number: name for name, number in SPECIAL.items()}
    return b"".join(bytes([one]) if one < 256 else names[one].encode() for one in ids).decode()


def template(messages: Sequence[dict[str, str]]) -> str:
    said = "".join(f"<|im_start|>{one['role']}\n{one['content']}<|im_end|>\n" for one in messages)
    return f"{said}<|im_start|>assistant\n"


@attrs.define
class TokenServer:
    """What it was asked, and what it answers.

    Attributes:
        answer: gives the text that follows on a decoded prompt; None never ends.
        without_ids: it gives text alone.
        without_stop: it leaves stop strings out of its text.
        change: makes of an answer what is sent instead.
        requests: paths and bodies.
        prompts: the ids of each generation's prompt.
        open: connections.
    """

    answer: Callable[[str], str | None]
    without_ids: bool = False
    without_stop: bool = False
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda body: body
    requests: list[tuple[str, dict[str, Any]]] = attrs.field(factory=list)
    keys: list[str] = attrs.field(factory=list)
    status: int = 200
    prompts: list[list[int]] = attrs.field(factory=list)
    generated: list[list[int]] = attrs.field(factory=list)
    open: int = 0
    address: str = ""

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.address = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        task_status.started()
        await trio.serve_listeners(self._connection, listeners)

    async def _connection(self, stream: trio.SocketStream) -> None:
        self.open += 1
        try:
            async with stream:
                await self._requests(stream)
        except trio.BrokenResourceError:
            pass
        finally:
            self.open -= 1

    async def _requests(self, stream: trio.SocketStream) -> None:
        connection = h11.Connection(h11.SERVER)
        path, body = "", b""
        while True:
            match connection.next_event():
                case h11.NEED_DATA:
                    connection.receive_data(await stream.receive_some())
                case h11.Request() as request:
                    path, body = request.target.decode(), b""
                    self.keys += [value.decode() for name, value in request.headers if name == b"authorization"]
                case h11.Data() as data:
                    body += data.data
                case h11.EndOfMessage():
                    answers: list[bytes] = []
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(_cancel_when_gone, stream, nursery.cancel_scope)
                        answers.append(json.dumps(await self._answer(path, json.loads(body))).encode())
                        nursery.cancel_scope.cancel()
                    for answer in answers:  # none, if the client has gone
                        headers = [("Content-Length", str(len(answer))), ("Connection", "close")]
                        response = h11.Response(status_code=self.status, headers=headers)
                        for event in (response, h11.Data(data=answer), h11.EndOfMessage()):
                            await stream.send_all(connection.send(event) or b"")
                    return
                case _:
                    return

    async def _answer(self, path: str, body: dict[str, Any]) -> Any:
        self.requests.append((path, body))
        match path:
            case "/apply-template":
                return {"prompt": template(body["messages"])}
            case "/tokenize" | "/v1/tokenize":
                given = template(body["messages"]) if "messages" in body else body.get("content") or body["prompt"]
                ids = encode(given)
                return {"tokens": ids, "count": len(ids), "max_model_len": 4096}
            case "/detokenize":
                return {"prompt": decode(body["tokens"])}
            case "/v1/completions":
                return self.change(await self._vllm(body))
            case "/generate":
                return self.change(await self._sglang(body))
        assert path == "/completion"
        return await self._llama(body)

    async def _generated(self, prompt: list[int], most: int, stops: list[str]) -> tuple[list[int], bool, str, str]:
        """The ids, whether they were cut, the stop string, and the text up to there."""
        self.prompts.append(prompt)
        text = self.answer(decode(prompt))
        if text is None:
            await trio.sleep_forever()
            raise AssertionError
        ids = encode(text)
        limit = len(ids) > most
        ids = ids[:most]
        self.generated.append(ids)
        stop = next((one for one in stops if text.endswith(one)), "") if not limit else ""
        return ids, limit, stop, decode([one for one in ids if one < 256]).removesuffix(stop)

    async def _vllm(self, body: dict[str, Any]) -> dict[str, Any]:
        ids, limit, stop, shown = await self._generated(body["prompt"], body["max_tokens"], body["stop"])
        choice: dict[str, Any] = {
            "index": 0,
            "text": shown + stop if body.get("include_stop_str_in_output") and not self.without_stop else shown,
            "logprobs": None,
            "finish_reason": "length" if limit else "stop",
            "stop_reason": stop or None,
            "prompt_logprobs": None,
        }
        if body.get("logprobs") is not None:
            tokens = [f"token_id:{one}" for one in ids]
            choice["logprobs"] = {"token_logprobs": [-one / 10 for one in ids], "tokens": tokens}
        if body.get("return_token_ids") and not self.without_ids:
            choice |= {"token_ids": ids, "prompt_token_ids": body["prompt"]}
        return {"object": "text_completion", "model": body["model"], "choices": [choice], "usage": {}}

    async def _sglang(self, body: dict[str, Any]) -> dict[str, Any]:
        sampling = body["sampling_params"]
        ids, limit, stop, shown = await self._generated(body["input_ids"], sampling["max_new_tokens"], sampling["stop"])
        reason = {"type": "length", "length": len(ids)} if limit else {"type": "stop", "matched": stop or END}
        meta: dict[str, Any] = {"finish_reason": reason, "completion_tokens": len(ids)}
        if body.get("return_logprob") and not self.without_ids:
            meta["output_token_logprobs"] = [[-one / 10, one, None] for one in ids]
        text = shown + stop if sampling.get("no_stop_trim") and not self.without_stop else shown
        return {"text": text, "output_ids": ids, "meta_info": meta}

    async def _llama(self, body: dict[str, Any]) -> dict[str, Any]:
        ids, limit, stop, shown = await self._generated(body["prompt"], body["n_predict"], body["stop"])
        found = {"content": shown, "stop_type": "limit" if limit else "word" if stop else "eos", "stopping_word": stop}
        if self.without_ids:
            return found
        known = ids[: len(ids) - len(stop)]
        return {
            **found,
            "tokens": ids,
            "completion_probabilities": [{"id": one, "logprob": -one / 10} for one in known],
        }


async def _cancel_when_gone(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    await stream.receive_some()
    scope.cancel()
