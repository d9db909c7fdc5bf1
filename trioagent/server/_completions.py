"""One request of an OpenAI client: a chat that runs once, however often the request is repeated.

Clients retry a request when a connection breaks. What the first one wrote must not be written twice: a request with
the same messages follows the same chat, while it runs and for a while after. A chat that was cancelled because no
client waited for it any more is resumed after its last finished block. (A commit that has begun is completed, and its
result is recorded, even when the chat is cancelled.)
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import attrs
import trio

from .._driver import PastEvent
from .._events import AgentEvent, Answered, CodeResult
from .._exceptions import open_helper_nursery
from .._messages import AgentResponse
from .._parsed_reply import Delta
from ..agent import Agent
from ..models import Retrying
from ._delta_buffer import DeltaBuffer
from ._reply_text import ReplyText
from ._request_error import RequestError, as_request_error
from ._sessions import Sessions

PartKind = Literal["reply", "think"]
Part = tuple[PartKind, str]

_MOST_KEPT = 1024  # finished chats


class CompletionRun:
    """One chat and its output so far.

    Attributes:
        id: the completion's id.
        response: the agent's response, once the chat has succeeded.
        error: the error, if the chat failed.
    """

    def __init__(self, sessions: Sessions, forget: Callable[[], object]) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.response: AgentResponse | None = None
        self.error: RequestError | None = None
        self._sessions, self._forget = sessions, forget
        self._past: list[PastEvent] = []
        self._replayed = 0  # events of `_past` that are still to be replayed
        self._knowledge_of: Agent | None = None
        self._parts: list[Part] = []
        self._followers = 0
        self._running: trio.CancelScope | None = None
        self._forgetting: trio.CancelScope | None = None
        self._news = trio.lowlevel.ParkingLot()

    @property
    def running(self) -> bool:
        """Whether the chat is running."""
        return self._running is not None

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Keep the chat running until the block ends; a chat without followers is cancelled."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers and self._running is not None:
                self._running.cancel()
            elif not self._followers and self._forgetting is None:  # the request was refused
                self._forget()

    async def begin(self, make_agent: Callable[[], Agent], message: str) -> None:
        """Begin the chat, unless it runs or has succeeded; one that was cancelled is resumed.

        Raises:
            InvalidInputError: the message cannot be sent.
            RequestError: too many chats are running, or the server is stopping.
        """
        while self._running is not None and self._running.cancel_called:  # its cleanup is still running
            await self._news.park()
        if self._running is not None:
            return
        if self.response is not None:
            self.error = None
            return
        agent = make_agent()
        agent._check_message(message)
        self._sessions.begin_chat()
        if self._forgetting is not None:
            self._forgetting.cancel()
        if self._knowledge_of is not None:
            agent.knowledge = self._knowledge_of.knowledge
        self._knowledge_of = agent
        self._parts, self.error = [], None
        self._running = trio.CancelScope()
        self._sessions.nursery.start_soon(self._run, agent, message, self._running)

    async def parts(self, number: int) -> list[Part]:
        """The output from part *number* on; empty when the chat has ended and nothing is left."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while len(self._parts) <= number and self._running is not None:
            await self._news.park()
        return self._parts[number:]

    async def _run(self, agent: Agent, message: str, scope: trio.CancelScope) -> None:
        text = ReplyText()

        def publish(delta: Delta) -> None:
            if delta.kind == "think":
                self._say("think", delta.text)
            else:
                self._say("reply", text.add(delta))

        deltas = DeltaBuffer(publish)

        async def emit(event: AgentEvent) -> None:
            deltas.restart()
            if isinstance(event, Answered):
                text.begin_anew()
            if isinstance(event, Answered | CodeResult) and self._replayed:
                self._replayed -= 1
            elif isinstance(event, Answered | CodeResult):
                self._past.append(event)
            await trio.lowlevel.checkpoint()

        def show(event: Delta | Retrying) -> None:
            if isinstance(event, Delta):
                deltas.add(event)
            else:
                deltas.restart()
                text.begin_anew()

        self._replayed = len(self._past)
        try:
            with scope:
                try:
                    async with open_helper_nursery() as helpers:
                        helpers.start_soon(deltas.run)
                        response = await agent._drive(message, emit, show, past=tuple(self._past))
                    self._finish(response, text)
                except Exception as error:  # noqa: BLE001 - the client is told, and an unknown one is logged
                    self.error = as_request_error(error)
        finally:
            self._running = None
            self._sessions.end_chat()
            self._start_forgetting()
            self._news.unpark_all()

    def _finish(self, response: AgentResponse, text: ReplyText) -> None:
        rest = text.rest(response.reply or response.partial)
        if rest is None:
            self.error = RequestError(
                502,
                "reply_restarted",
                "the model's server broke off a reply after a part of it had been sent, and began another one",
                "send the request again: nothing is written twice, and the whole reply is returned",
            )
            self._parts = [("reply", response.reply)]  # for clients that repeat the request
        else:
            self._say("reply", rest)
        self.response = response
        # No longer needed, and as large as the client's conversation.
        self._past, self._knowledge_of = [], None

    def _say(self, kind: PartKind, text: str) -> None:
        if text:
            self._parts.append((kind, text))
            self._news.unpark_all()

    def _start_forgetting(self) -> None:
        self._forgetting = trio.CancelScope()
        self._sessions.nursery.start_soon(self._forget_later, self._forgetting)

    async def _forget_later(self, scope: trio.CancelScope) -> None:
        with scope:
            await trio.sleep(self._sessions.config.linger_seconds)
            self._forget()


@attrs.define(eq=False)
class Completions:
    """The chats of all OpenAI clients, by the key of their request."""

    sessions: Sessions
    _runs: dict[bytes, CompletionRun] = attrs.field(factory=dict)

    def run_for(self, key: bytes) -> CompletionRun:
        """The chat for *key*, a new one if there is none."""
        if key not in self._runs:
            self._drop_oldest()
            self._runs[key] = CompletionRun(self.sessions, lambda: self._runs.pop(key, None))
        return self._runs[key]

    def _drop_oldest(self) -> None:
        ended = [key for key, run in self._runs.items() if not run.running]
        for key in ended[: max(0, len(ended) - _MOST_KEPT + 1)]:
            del self._runs[key]
