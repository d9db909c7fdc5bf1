"""Sessions: conversations that several clients follow, and that outlive a lost connection for a minute.

A chat (one message and its answer) is a task in the server's nursery, owned by its session. It ends with the answer,
when a client cancels it, when the server stops, or when the session ends: a minute after its last subscriber has left.
However it ends, the child processes of its block are dead then, and the notes are as the last finished block left them.

Messages to clients, as JSON; those with a number ``n`` are events of the session, the same for all:

====================  =================================================================================================
``session``           to a new subscriber: ``session``, ``memory``, and ``next``, the number of the next event
``snapshot``          replaces all events up to ``n``: ``messages``, the running ``chat`` and its output so far
``said``              a client's message, with the number of its ``chat``
``event``             an event of a chat: ``event`` is one of `trioagent.AgentEvent`, by the schema of `_events`
``changes``           the changes of the block whose result came before: ``changes``, each with ``path``, ``action`` and
                      ``hunks`` (see `_transcript.ChangeEntry`)
``review``            a block waits for a decision: ``review``, ``code``, ``diff``, ``paths``, ``reads``
``reviewed``          a client has decided
``undone``            the last message was undone; ``paths``: the notes that this changed
``ended``             a chat has ended: ``outcome`` ("replied", "cancelled" or "failed"), and the ``error`` if it failed
``error``             to one client: its message is invalid
``closed``            the session has ended
====================  =================================================================================================
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import trio

from .._events import AgentEvent, CodeResult, Replied, to_json
from .._exceptions import open_helper_nursery
from .._messages import ChatMessage
from .._parsed_reply import Delta
from ..agent import Agent
from ..memory import Memory, UndoLog
from ..models import Retrying
from ..runtime import Runtime
from ..sandbox import (
    AcceptChanges,
    EditChanges,
    RejectChanges,
    ReviewDecision,
    ReviewPolicy,
    ReviewRequest,
)
from ._block_changes import changes_of
from ._config import ServerConfig
from ._delta_buffer import DeltaBuffer
from ._event_ring import EventRing, Subscription
from ._request_error import RequestError, as_request_error

_SNAPSHOT_BYTES = 256 * 1024  # for the latest messages of a conversation, and for a chat's events
_UNDO_BYTES = 1024 * 1024  # for the changes of one block
_UNDO_STEPS = 5
_DECISIONS: Mapping[type, str] = {AcceptChanges: "accept", RejectChanges: "reject", EditChanges: "edit"}


@attrs.define(eq=False)
class _RunningChat:
    """A message and its answer, while the chat runs."""

    number: int
    text: str
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    undo: UndoLog = attrs.field(factory=lambda: UndoLog(most_bytes=_UNDO_BYTES))
    events: list[dict[str, Any]] = attrs.field(factory=list)
    event_chars: int = 0
    so_far: dict[str, list[str]] = attrs.field(factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """For a snapshot: the events so far, and the text of the current answer so far."""
        so_far = {kind: "".join(texts) for kind, texts in self.so_far.items()}
        return {"chat": self.number, "text": self.text, "events": self.events, "so_far": so_far}

    def keep(self, event: dict[str, Any], chars: int) -> None:
        """Keep *event* for snapshots; drops the oldest events if they become too long."""
        self.so_far.clear()
        self.events.append(event)
        self.event_chars += chars
        while self.event_chars > _SNAPSHOT_BYTES and len(self.events) > 1:
            self.event_chars -= len(json.dumps(self.events.pop(0)))


@attrs.define(eq=False)
class _PendingReview:
    """A block that waits for review."""

    number: int
    request: ReviewRequest
    decision: ReviewDecision | None = None
    decided: trio.Event = attrs.field(factory=trio.Event)

    @property
    def body(self) -> dict[str, Any]:
        return {
            "review": self.number,
            "code": self.request.code,
            "diff": self.request.diff,
            "paths": [change.path for change in self.request.changes],
            "reads": list(self.request.reads),
        }


class Session:
    """One conversation over one memory.

    Attributes:
        id: a random id that cannot be guessed.
        memory: the memory's name.
        closed: it has ended.
    """

    def __init__(self, sessions: Sessions, name: str, make_agent: Callable[[Session], Agent]) -> None:
        self.id: str = secrets.token_urlsafe(16)
        self.memory = name
        self.closed: bool = False
        self._sessions = sessions
        self._ring = EventRing(sessions.config.limits.event_bytes)
        self._agent = make_agent(self)
        self._subscribers = 0
        self._linger: trio.CancelScope | None = None
        self._chat: _RunningChat | None = None
        self._chats = 0
        self._pending: _PendingReview | None = None
        self._reviews = 0
        self._deltas = DeltaBuffer(self._publish_delta)
        self._undo: list[tuple[UndoLog, list[ChatMessage]]] = []
        self._undoing = False
        config = sessions.config
        self._start_lingering(max(config.linger_seconds, config.limits.first_client_seconds))

    @property
    def busy(self) -> bool:
        """Whether a chat is running."""
        return self._chat is not None

    @contextmanager
    def subscribe(self, after: int | None = None) -> Iterator[Subscription]:
        """Follow the session until the block ends.

        Args:
            after: the number of the last event that was received; None to begin with a snapshot.

        Raises:
            RequestError: the session has ended, or has too many subscribers.
        """
        self._require_open()
        if self._subscribers >= (most := self._sessions.config.limits.subscribers):
            problem = f"{most} clients follow this session"
            raise RequestError(429, "too_many_subscribers", problem, "close one of them")
        self._subscribers += 1
        if self._linger is not None:
            self._linger.cancel()
        number = None if after is None else after + 1
        if number is None and self._ring.next_number == 1:
            number = 1
        subscription = Subscription(self._ring, number, snapshot=self.snapshot, closed=lambda: self.closed)
        subscription.send(self.greeting())
        try:
            with self._ring.reading(subscription):
                yield subscription
        finally:
            self._subscribers -= 1
            if not self._subscribers and not self.closed:
                self._start_lingering(self._sessions.config.linger_seconds)

    def greeting(self) -> bytes:
        """The first message to a new subscriber."""
        body = {"type": "session", "session": self.id, "memory": self.memory, "next": self._ring.next_number}
        return json.dumps(body).encode()

    def say(self, text: str, *, id: str = "") -> int:
        """Begin a chat; returns its number.

        Args:
            id: the client's own, repeated with the message.

        Raises:
            InvalidInputError: the text cannot be sent.
            RequestError: another chat is running, or too many are, or the server is stopping.
        """
        self._require_open()
        self._agent._check_message(text)
        self._require_rest()
        self._sessions.begin_chat()
        self._chats += 1
        self._chat = _RunningChat(self._chats, text)
        self._publish("said", chat=self._chats, text=text, **({"id": id} if id else {}))
        self._sessions.nursery.start_soon(self._run, self._chat)
        return self._chats

    def cancel(self) -> None:
        """Cancel the running chat, if there is one."""
        if self._chat is not None:
            self._chat.scope.cancel()

    def decide(self, number: int, decision: ReviewDecision) -> None:
        """Decide on the block that waits for review.

        Raises:
            RequestError: no review of this number is waiting.
        """
        pending = self._pending
        if pending is None or pending.number != number or pending.decision is not None:
            problem = f"review {number} is not waiting for a decision"
            raise RequestError(409, "no_such_review", problem, "decide on the review that the last event names")
        pending.decision = decision
        pending.decided.set()

    async def undo(self) -> None:
        """Undo the last message: its changes of the notes, and its part of the conversation.

        Raises:
            RequestError: there is none, or a chat is running.
            MemoryConflictError: one of the notes has been changed since by somebody else; nothing was changed.
        """
        self._require_rest()
        if not self._undo:
            problem = "there is no message to undo"
            raise RequestError(409, "nothing_to_undo", problem, "undo after a message has been answered")
        undo, messages = self._undo[-1]
        paths = sorted(undo.versions())
        self._undoing = True
        try:
            if undo:
                await self._agent.memory.roll_back(undo, knowledge=self._agent.knowledge)
            self._undo.pop()
            self._agent.messages = messages
        finally:
            self._undoing = False
        self._publish("undone", paths=paths)

    def close(self) -> None:
        """End the session and its chat."""
        if not self.closed:
            self.cancel()
            if self._linger is not None:
                self._linger.cancel()
            self._publish("closed")
            self.closed = True
            self._sessions.forget(self)

    def snapshot(self) -> bytes:
        """All that a client needs to continue from here without the events so far."""
        self._deltas.flush()
        chat = self._chat
        messages, left_out = _latest(self._agent.messages)
        body = {
            "type": "snapshot",
            "n": self._ring.next_number - 1,
            "session": self.id,
            "memory": self.memory,
            "messages": messages,
            "left_out": left_out,
            "chat": None if chat is None else chat.body,
            "review": None if self._pending is None else self._pending.body,
        }
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")

    async def review(self, request: ReviewRequest) -> ReviewDecision:
        """Ask the subscribers; this is the agent's reviewer."""
        self._reviews += 1
        pending = self._pending = _PendingReview(self._reviews, request)
        self._publish("review", **pending.body)
        try:
            await pending.decided.wait()
        finally:
            self._pending = None
        assert pending.decision is not None
        self._publish("reviewed", review=pending.number, decision=_DECISIONS[type(pending.decision)])
        return pending.decision

    async def _run(self, chat: _RunningChat) -> None:
        undo, before = chat.undo, self._agent.messages
        try:
            with chat.scope:
                try:
                    async with open_helper_nursery() as helpers:
                        helpers.start_soon(self._deltas.run)
                        await self._agent._drive(chat.text, self._emit, self._show, undo=undo)
                except Exception as error:  # noqa: BLE001 - the clients are told, and an unknown one is logged
                    self._end(chat, "failed", error=as_request_error(error).body)
        finally:
            self._end(chat, "cancelled")  # no effect if it has ended
            self._sessions.end_chat()
            if self._agent.messages is not before or undo:
                self._undo = [*self._undo, (undo, before)][-_UNDO_STEPS:]

    async def _emit(self, event: AgentEvent) -> None:
        chat = self._chat
        assert chat is not None
        self._deltas.restart()
        body = to_json(event)
        chat.keep(body, self._publish("event", chat=chat.number, event=body))
        if isinstance(event, CodeResult) and event.result.saved and chat.undo.steps:
            changes = await changes_of(self._agent.memory, chat.undo.steps[-1])
            self._publish("changes", chat=chat.number, changes=[attrs.asdict(change) for change in changes])
        if isinstance(event, Replied):
            self._end(chat, "replied")

    def _show(self, event: Delta | Retrying) -> None:
        if isinstance(event, Delta):
            self._deltas.add(event)
            return
        assert self._chat is not None
        self._deltas.restart()
        self._chat.so_far.clear()
        self._publish("event", chat=self._chat.number, event=to_json(event))

    def _publish_delta(self, delta: Delta) -> None:
        if self._chat is not None:
            self._chat.so_far.setdefault(delta.kind, []).append(delta.text)
            self._publish("event", chat=self._chat.number, event=to_json(delta))

    def _end(self, chat: _RunningChat, outcome: str, **more: Any) -> None:
        if self._chat is chat:
            self._deltas.restart()
            self._chat = None
            self._publish("ended", chat=chat.number, outcome=outcome, **more)

    def _publish(self, kind: str, **body: Any) -> int:
        """Send a message to all subscribers; returns its size in bytes."""
        return 0 if self.closed else self._ring.append({"type": kind, **body})

    def _require_open(self) -> None:
        if self.closed:
            raise self._sessions.unknown(self.id)

    def _require_rest(self) -> None:
        if self._chat is not None or self._undoing:
            problem = "another message is being answered or undone"
            raise RequestError(409, "agent_busy", problem, "wait until that has ended, or cancel it, and try again")

    def _start_lingering(self, seconds: float) -> None:
        self._linger = trio.CancelScope()
        self._sessions.nursery.start_soon(self._close_later, self._linger, seconds)

    async def _close_later(self, scope: trio.CancelScope, seconds: float) -> None:
        with scope:
            await trio.sleep(seconds)
            self.close()


def _latest(messages: Sequence[ChatMessage]) -> tuple[list[dict[str, str]], int]:
    """The latest messages without the system prompt, as JSON; and how many are left out."""
    said = [message for message in messages if message.role != "system"]
    kept: list[dict[str, str]] = []
    room = _SNAPSHOT_BYTES
    for message in reversed(said):
        room -= len(message.content)
        if room < 0 and kept:
            break
        kept.append({"role": message.role, "content": message.content})
    return kept[::-1], len(said) - len(kept)


class Sessions:
    """All sessions of a server, and the number of running chats.

    Args:
        nursery: the server's, which runs the chats.
    """

    def __init__(self, config: ServerConfig, nursery: trio.Nursery) -> None:
        self.config: ServerConfig = config
        self.nursery: trio.Nursery = nursery
        self.stopping: bool = False
        self._sessions: dict[str, Session] = {}
        self._chats = 0
        self._no_chats = trio.Event()
        self._no_chats.set()

    def all(self) -> list[Session]:
        """The open sessions, oldest first."""
        return list(self._sessions.values())

    def open(
        self,
        name: str,
        memory: Memory,
        runtime: Runtime,
        *,
        review: str = "",
        read_only: bool = False,
    ) -> Session:
        """A new session over the memory called *name*.

        Args:
            review: "" for no review; "ask" to be asked about every block that changes notes; or a `ReviewPolicy`.
            read_only: its blocks cannot save anything.

        Raises:
            InvalidInputError: the review policy is invalid.
            RequestError: there are too many sessions, or the server is stopping.
        """
        if self.stopping:
            raise stopping_error()
        if len(self._sessions) >= self.config.limits.sessions:
            problem = f"there are {len(self._sessions):,} sessions"
            raise RequestError(429, "too_many_sessions", problem, "close some, or wait until some expire")
        policy = ReviewPolicy() if review == "ask" else ReviewPolicy.parse(review) if review else None

        def make_agent(session: Session) -> Agent:
            return Agent(
                runtime,
                memory_path=memory.path,
                policy=attrs.evolve(memory.policy, read_only=read_only or memory.policy.read_only),
                review=None if policy is None else policy.reviewer(session.review),
                **attrs.asdict(self.config.agent, recurse=False),
            )

        session = Session(self, name, make_agent)
        self._sessions[session.id] = session
        return session

    def get(self, id: str) -> Session:
        """
        Raises:
            RequestError: there is no such session, or it has ended.
        """
        if id not in self._sessions:
            raise self.unknown(id)
        return self._sessions[id]

    def unknown(self, id: str) -> RequestError:
        """The error for an unknown session."""
        problem = (
            f"there is no session {id[:40]!r}; it ended {self.config.linger_seconds:g} s after its last client left"
        )
        return RequestError(404, "unknown_session", problem, "begin a new one")

    def forget(self, session: Session) -> None:
        """Remove a session that has ended."""
        self._sessions.pop(session.id, None)

    def begin_chat(self) -> None:
        """Count a chat; `end_chat` must be called for it.

        Raises:
            RequestError: there are too many, or the server is stopping.
        """
        if self.stopping:
            raise stopping_error()
        if self._chats >= self.config.limits.chats:
            problem = f"{self._chats} messages are being answered"
            raise RequestError(429, "too_many_chats", problem, "try again in a moment")
        self._chats += 1
        self._no_chats = trio.Event() if self._chats == 1 else self._no_chats

    def end_chat(self) -> None:
        """Count the end of a chat."""
        self._chats -= 1
        if not self._chats:
            self._no_chats.set()

    async def wait_no_chats(self) -> None:
        """Wait until no chat is running."""
        await self._no_chats.wait()

    def close(self) -> None:
        """End all sessions."""
        for session in self.all():
            session.close()


def stopping_error() -> RequestError:
    """The error of a server that is stopping."""
    return RequestError(503, "stopping", "the server is stopping", "try again when it is back")
