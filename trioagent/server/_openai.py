"""``/v1``: the notes behind OpenAI's chat completions, for clients of that API.

The client keeps the conversation and sends all of it with each request; the memory is kept here. The agent of a request
has read no notes yet. ``memory/NAME`` may write notes, ``memory/NAME:read`` cannot.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .._messages import AgentResponse, ChatMessage
from ..agent import Agent
from ..memory import Memory
from ..runtime import Runtime
from ._completions import CompletionRun, Completions, Part
from ._context import ServerContext
from ._json_body import read_json
from ._request_error import RequestError
from ._sse import EventStreamResponse, Write

_PREFIX, _READ = "memory/", ":read"
_FINISH_REASONS: Mapping[str, str] = {"reply": "stop", "cut": "length", "max_tool_turns": "length"}


def _given(value: Any) -> bool:
    return bool(value)


# Parameters that are not supported: by name, whether a value uses it, and what to do instead.
_UNSUPPORTED: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "n": (lambda value: value not in (None, 1), "request one answer"),
    "tools": (_given, "leave it out: the agent has the tools of its notes, and no others"),
    "functions": (_given, "leave it out: the agent has the tools of its notes, and no others"),
    "tool_choice": (lambda value: value not in (None, "none", "auto"), "leave it out"),
    "function_call": (lambda value: value not in (None, "none", "auto"), "leave it out"),
    "response_format": (lambda value: value not in (None, {"type": "text"}), "leave it out: replies are text"),
    "logprobs": (_given, "leave it out"),
    "top_logprobs": (_given, "leave it out"),
    "logit_bias": (_given, "leave it out"),
    "stop": (_given, "leave it out: the protocol of the notes has its own"),
    "audio": (_given, "leave it out: replies are text"),
    "modalities": (lambda value: value not in (None, ["text"]), "leave it out: replies are text"),
    "prediction": (_given, "leave it out"),
    "web_search_options": (_given, "leave it out"),
}


@attrs.frozen(kw_only=True)
class _Completion:
    """The parameters of a request."""

    model: str
    name: str
    read_only: bool
    system: str
    history: tuple[ChatMessage, ...]
    message: str
    stream: bool
    include_usage: bool
    include_reasoning: bool

    def key(self, idempotency_key: str) -> bytes:
        """A key that is the same when a request is repeated."""
        said = [self.model, idempotency_key, self.system, *(f"{one.role}:{one.content}" for one in self.history)]
        digest = hashlib.sha256()
        for text in (*said, self.message):
            data = text.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
        return digest.digest()


def routes(context: ServerContext) -> list[BaseRoute]:
    """The routes of OpenAI's interface."""
    handlers = _OpenAIRoutes(context)
    return [
        Route("/v1/models", handlers.models, methods=["GET"]),
        Route("/v1/models/{id:path}", handlers.model, methods=["GET"]),
        Route("/v1/chat/completions", handlers.complete, methods=["POST"]),
    ]


class _OpenAIRoutes:
    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._completions = Completions(context.sessions)
        self._since = int(time.time())

    async def models(self, request: Request) -> Response:
        names = await self._context.memories.names()
        ids = [f"{_PREFIX}{name}{suffix}" for name in names for suffix in ("", _READ)]
        return JSONResponse({"object": "list", "data": [self._model(id) for id in ids]})

    async def model(self, request: Request) -> Response:
        name, _ = _memory_of(request.path_params["id"])
        await self._memory(name)
        return JSONResponse(self._model(request.path_params["id"]))

    async def complete(self, request: Request) -> Response:
        asked = _read_request(await read_json(await request.body()))
        runtime = self._context.require_runtime()
        memory = await self._memory(asked.name)
        run = self._completions.run_for(asked.key(request.headers.get("idempotency-key", "")))

        async def begin() -> None:
            await run.begin(lambda: self._agent(asked, runtime, memory), asked.message)

        answer = _CompletionAnswer(run, asked)
        if asked.stream:

            async def produce(write: Write) -> None:
                with run.followed():
                    await begin()
                    await answer.stream(write)

            return EventStreamResponse(produce, self._context.config.limits.keep_alive_seconds)
        with run.followed():
            await begin()
            return JSONResponse(await answer.whole())

    def _agent(self, asked: _Completion, runtime: Runtime, memory: Memory) -> Agent:
        settings = attrs.asdict(self._context.config.agent, recurse=False)
        appended = [text for text in (settings.pop("system_prompt_append"), asked.system) if text]
        agent = Agent(
            runtime,
            memory_path=memory.path,
            policy=attrs.evolve(memory.policy, read_only=asked.read_only or memory.policy.read_only),
            system_prompt_append="\n\n".join(appended) or None,
            **settings,
        )
        agent.messages = [*agent.messages, *asked.history]
        return agent

    async def _memory(self, name: str) -> Memory:
        try:
            return await self._context.memories.get(name)
        except RequestError as error:
            raise _unknown_model(f"{_PREFIX}{name}") from error

    def _model(self, id: str) -> dict[str, Any]:
        return {"id": id, "object": "model", "created": self._since, "owned_by": "trioagent"}


class _CompletionAnswer:
    """The response to one client that follows a chat."""

    def __init__(self, run: CompletionRun, asked: _Completion) -> None:
        self._run, self._asked = run, asked
        self._created = int(time.time())

    async def whole(self) -> dict[str, Any]:
        """The whole chat completion, when the chat has ended."""
        parts: list[Part] = []
        while more := await self._run.parts(len(parts)):
            parts += more
        response = self._response()
        message: dict[str, Any] = {"role": "assistant", "content": _text(parts, "reply")}
        if self._asked.include_reasoning:
            message["reasoning_content"] = _text(parts, "think")
        choice = {"index": 0, "message": message, "finish_reason": _FINISH_REASONS[response.stop_reason]}
        return self._body("chat.completion", [choice], usage=_usage(response))

    async def stream(self, write: Write) -> None:
        """The same in chunks, while the chat is running."""
        number, begun = 0, False
        try:
            while parts := await self._run.parts(number):
                number += len(parts)
                for delta in self._deltas(parts):
                    await write(self._chunk({**({} if begun else {"role": "assistant"}), **delta}))
                    begun = True
            response = self._response()
        except RequestError as error:
            if not begun:
                raise
            await write(_event({"error": {"message": str(error), "type": "server_error", "code": error.type}}))
            return
        last = {} if begun else {"role": "assistant", "content": ""}
        await write(self._chunk(last, finish_reason=_FINISH_REASONS[response.stop_reason]))
        if self._asked.include_usage:
            await write(_event(self._body("chat.completion.chunk", [], usage=_usage(response))))
        await write(b"data: [DONE]\n\n")

    def _response(self) -> AgentResponse:
        if self._run.error is not None:
            raise self._run.error
        if self._run.response is None:  # the chat was cancelled because the server stops
            raise RequestError(503, "stopping", "the server is stopping", "send the request again")
        return self._run.response

    def _deltas(self, parts: Sequence[Part]) -> list[dict[str, str]]:
        """The parts that the client wants; neighbours of one kind are joined."""
        deltas = []
        for kind, name in (("think", "reasoning_content"), ("reply", "content")):
            text = _text(parts, kind)
            if text and (kind == "reply" or self._asked.include_reasoning):
                deltas.append({name: text})
        return deltas

    def _chunk(self, delta: Mapping[str, str], *, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _event(self._body("chat.completion.chunk", [choice]))

    def _body(self, kind: str, choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
        common = {"id": self._run.id, "object": kind, "created": self._created, "model": self._asked.model}
        return {**common, "choices": choices, **more}


def _event(body: Mapping[str, Any]) -> bytes:
    return b"data: %s\n\n" % json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")


def _text(parts: Sequence[Part], wanted: str) -> str:
    return "".join(text for kind, text in parts if kind == wanted)


def _usage(response: AgentResponse) -> dict[str, int]:
    usage = response.usage
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _memory_of(model: str) -> tuple[str, bool]:
    """The memory's name, and whether it is read-only."""
    if not model.startswith(_PREFIX):
        raise _unknown_model(model)
    name = model.removeprefix(_PREFIX)
    return name.removesuffix(_READ), name.endswith(_READ)


def _unknown_model(model: str) -> RequestError:
    problem = f"the model {model!r:.100} does not exist"
    return RequestError(404, "model_not_found", problem, "use memory/NAME or memory/NAME:read, see /v1/models", "model")


def _bad(param: str, problem: str, advice: str) -> RequestError:
    return RequestError(400, "invalid_value", f"{param} {problem}", advice, param)


def _read_request(body: Any) -> _Completion:
    """
    Raises:
        RequestError: it is invalid, or uses an unsupported feature.
    """
    if not isinstance(body, Mapping):
        raise RequestError(400, "invalid_request", "the body is not an object", "send a JSON object")
    model = body.get("model")
    if not isinstance(model, str):
        raise _bad("model", "must be a text", "use memory/NAME or memory/NAME:read, see /v1/models")
    for param, (asks, advice) in _UNSUPPORTED.items():
        if param in body and asks(body[param]):
            raise RequestError(400, "unsupported_parameter", f"{param} is not supported here", advice, param)
    name, read_only = _memory_of(model)
    system, history, message = _conversation(body.get("messages"))
    options = body.get("stream_options")
    return _Completion(
        model=model,
        name=name,
        read_only=read_only,
        system=system,
        history=history,
        message=message,
        stream=body.get("stream") is True,
        include_usage=isinstance(options, Mapping) and options.get("include_usage") is True,
        include_reasoning=body.get("include_reasoning") is True,
    )


def _conversation(messages: Any) -> tuple[str, tuple[ChatMessage, ...], str]:
    """The client's system messages, the earlier messages, and the message to answer."""
    if not isinstance(messages, list) or not messages:
        raise _bad("messages", "must be a list of at least one message", "send the conversation")
    system, history = [], []
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, Mapping):
            raise _bad(where, "must be an object", "send a role and a content")
        role = message.get("role")
        if message.get("tool_calls") or message.get("function_call") or role in ("tool", "function"):
            raise _bad(where, "is about a tool of the client", "leave tools out: the agent has those of its notes")
        content = _content(message.get("content"), where, may_be_empty=role == "assistant")
        if role in ("system", "developer"):
            system.append(content)
        elif role == "user":
            history.append(ChatMessage("user", content))
        elif role == "assistant":
            history.append(ChatMessage("assistant", f"<think></think>\n<python></python>\n<reply>{content}</reply>"))
        else:
            raise _bad(f"{where}.role", f"must be system, developer, user or assistant, not {role!r:.40}", "correct it")
    if not history or history[-1].role != "user":
        raise _bad("messages", "must end with a message of the user", "add the message to answer")
    return "\n\n".join(filter(None, system)), tuple(history[:-1]), history[-1].content


def _content(content: Any, where: str, *, may_be_empty: bool) -> str:
    if content is None and may_be_empty:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _bad(f"{where}.content", "must be a text", "send a text")
    texts = []
    for number, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        text = part.get("text") if isinstance(part, Mapping) else None
        if kind != "text" or not isinstance(text, str):
            what = f"is of type {kind!r:.40}, and only text is supported"
            raise _bad(f"{where}.content[{number}]", what, "leave images, audio and files out")
        texts.append(text)
    return "\n".join(texts)
