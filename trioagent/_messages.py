"""Messages, usage, and an agent's response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from json.encoder import encode_basestring
from typing import Literal

import attrs

Role = Literal["system", "user", "assistant", "tool"]
CHARS_PER_TOKEN = 4  # the usual rule of thumb for English text

StopReason = Literal["reply", "max_tool_turns", "cut"]


@attrs.frozen
class ChatMessage:
    """One message of a conversation.

    ``role`` is set when the message is made, never guessed from its text: a block's result has role ``tool`` here and
    in saved files, and is sent as ``user``, which is what memory-agent models were trained on.
    """

    role: Role
    content: str

    @cached_property
    def as_json(self) -> bytes:
        """The content as the inside of a JSON string, in UTF-8. Cached, since a history is sent again at every turn.

        Lone surrogates, which may come from a file name, have no UTF-8 form: they become "?".
        """
        return encode_basestring(self.content)[1:-1].encode(errors="replace")


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens of one or more model answers.

    Attributes:
        prompt_tokens: tokens read by the model.
        completion_tokens: tokens written by the model.
        estimated: True if any part was estimated at four characters a token, because the server did not report it (an
            answer that we stopped early has no count).
        requests: HTTP requests sent, including retries.
        cost: as reported by the server, in its own currency; 0 if it does not report one.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False
    requests: int = 0
    cost: float = 0.0

    @classmethod
    def estimate(cls, messages: Sequence[ChatMessage], completion_chars: int, *, requests: int = 1) -> Usage:
        """The probable usage at a server that reported none, at `CHARS_PER_TOKEN`."""
        prompt_chars = sum([len(message.content) for message in messages])
        return cls(
            prompt_tokens=-(-prompt_chars // CHARS_PER_TOKEN),
            completion_tokens=-(-completion_chars // CHARS_PER_TOKEN),
            estimated=True,
            requests=requests,
        )

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            estimated=self.estimated or other.estimated,
            requests=self.requests + other.requests,
            cost=self.cost + other.cost,
        )


@attrs.frozen(kw_only=True)
class LeftOut:
    """The part of its conversation that a model is not shown, because the conversation has outgrown its context.

    Attributes:
        results: results of blocks, each replaced by a note.
        messages: messages of the user, each with everything it led to.
        turns: answers to messages that are still shown, each with its result.
    """

    results: int = 0
    messages: int = 0
    turns: int = 0

    def __bool__(self) -> bool:
        return bool(self.results or self.messages or self.turns)

    def __str__(self) -> str:
        parts = [
            f"{self.messages:,} earlier message{'s' * (self.messages != 1)} of the user, with all answers",
            f"{self.turns:,} earlier code turn{'s' * (self.turns != 1)}",
            f"{self.results:,} earlier result{'s' * (self.results != 1)} of code",
        ]
        counts = (self.messages, self.turns, self.results)
        return "; ".join(part for part, count in zip(parts, counts, strict=True) if count) or "nothing"


@attrs.frozen(kw_only=True)
class AgentResponse:
    """The result of one ``chat``.

    Attributes:
        thoughts: the last turn's ``<think>`` text.
        python_block: the code of the last block that ran in this chat, or "".
        reply: the text for the user; empty if ``stop_reason`` is not "reply".
        usage: tokens over all turns of this chat.
        turns: how many model answers this chat took.
        stop_reason: "reply", "max_tool_turns" if the model still wrote code when its tool turns were used up, or "cut"
            if its last answer was cut by a token limit or a content filter and no tool turn was left to ask again.
        repairs: how often each kind of repair was needed to parse the model's answers, by name (see the reply protocol
            in docs/reference.md).
        blocks_saved: how many blocks changed the notes.
        tier: the sandbox tier that ran the blocks, or "" if none ran.
        partial: if ``stop_reason`` is "cut", the text of the cut answer: its reply, or the whole text if it had none.
        finish_reasons: the server's finish reason of each answer; "" if the generation was stopped early.
        left_out: the part of the conversation that the model was not shown in the last request.
    """

    thoughts: str
    python_block: str
    reply: str
    usage: Usage = Usage()
    turns: int = 1
    stop_reason: StopReason = "reply"
    repairs: Mapping[str, int] = attrs.field(factory=dict)
    blocks_saved: int = 0
    tier: str = ""
    partial: str = ""
    finish_reasons: tuple[str, ...] = ()
    left_out: LeftOut = LeftOut()
