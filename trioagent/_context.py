"""Conversations that outgrow their model's context: which part of them the model is shown. Pure.

What is left out depends only on the messages and the limit, so a conversation that is resumed from a journal is shown
as it was. Parts are left out in this order, each time the oldest first: results of blocks, except the last turn's;
earlier messages of the user with everything they led to; whole turns of the message that is being answered. The model
is told what it is not shown any more.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import attrs

from ._messages import ChatMessage, LeftOut
from ._model_profile import DEFAULT, ModelProfile

CONTEXT_RULES = 1
"""The version of these rules. A run is pinned to it, since other rules would leave out other messages."""
BYTES_PER_TOKEN = 3  # of JSON in UTF-8; most tokenizers need fewer tokens, and a server refuses what is too long
MESSAGE_TOKENS = 8  # what a chat template adds to a message
_NOTE_TOKENS = 100  # of `NOT_SHOWN`
_KEPT = 0.75  # of the room: then several requests begin with the same text, and servers can cache it
_RESULT_SHARE = 0.25  # of the room, for one result
_ANSWER_SHARE, _ANSWER_TOKENS = 0.25, 2048  # of the context, for an answer without a limit of its own
_CUT = re.compile(r"… \(([\d,]+) (more characters|characters|bytes|items)[^()\n]{0,90}\)\Z")

_ESCAPE = re.compile(r"\\(?:x..|u.{4}|U.{8}|.)", re.DOTALL)
_WHOLE = re.compile(r"(?:[^\\]|\\(?:x..|u.{4}|U.{8}|[^xuU]))*", re.DOTALL)  # without half an escape

RESULT_NOT_SHOWN = (
    "This result had {size:,} characters. It is not shown any more: the conversation outgrew your context."
)
NOT_SHOWN = (
    "\n\n# What is not shown any more\nThis conversation has outgrown your context. Left out of it: {what}. What you "
    "wrote into your notes is still there: look it up when you need it.\n"
)


@attrs.frozen
class ContextView:
    """The messages that a model is shown.

    Attributes:
        is_more: more is left out than in the previous request.
    """

    messages: Sequence[ChatMessage]
    left_out: LeftOut = LeftOut()
    is_more: bool = False


def room_for_messages(context_tokens: int, max_tokens: int | None) -> int:
    """The tokens of a context that are available for messages: all except those for the answer."""
    answer = min(int(context_tokens * _ANSWER_SHARE), _ANSWER_TOKENS) if max_tokens is None else max_tokens
    return max(1, context_tokens - answer)


def fit_context(messages: Sequence[ChatMessage], room: int, profile: ModelProfile = DEFAULT) -> ContextView:
    """The part of *messages* that a model is shown if there is *room* for so many tokens.

    All earlier requests of the conversation are recomputed, so no state has to be kept between them. The
    system prompt, the user's last message and the last turn are shown even if they alone are too long.

    Args:
        profile: the format of the note in place of a result that is left out.
    """
    window = _Window(messages, profile)
    is_more = False
    for end in [*(number for number, message in enumerate(messages) if message.role == "assistant"), len(messages)]:
        is_more = window.show_up_to(end) > room and window.leave_out(int(room * _KEPT))
    return window.view(is_more)


class _Window:
    """The messages up to one of the requests, and what of them is left out."""

    def __init__(self, messages: Sequence[ChatMessage], profile: ModelProfile) -> None:
        self._messages, self._profile = messages, profile
        self._users = [number for number, message in enumerate(messages) if message.role == "user"]
        self._notes: dict[int, ChatMessage] = {}  # in place of results
        self._hidden: set[int] = set()
        self._hidden_turns: list[int] = []  # by their answers
        self._end = 0
        self._tokens = 0  # of what is shown up to there, without `NOT_SHOWN`

    def show_up_to(self, end: int) -> int:
        """How many tokens the model is shown in a request after *end* messages."""
        self._tokens += sum(map(_tokens, self._messages[self._end : end]))
        self._end = end
        return self._shown

    @property
    def _shown(self) -> int:
        return self._tokens + (_NOTE_TOKENS if self._hidden else 0)

    def leave_out(self, wanted: int) -> bool:
        """Leave out parts until no more than *wanted* tokens are shown; False if nothing more can be left out."""
        something = False
        for _ in self._steps():
            something = True
            if self._shown <= wanted:
                break
        return something

    def _steps(self) -> Iterator[None]:
        """Leave out one part after another."""
        users = self._users[: bisect_right(self._users, self._end - 1)]
        first = users[-1] + 1 if users else 0
        turns = [number for number in range(first, self._end) if self._messages[number].role == "assistant"]
        for number in range(turns[-1] if turns else self._end):
            if self._messages[number].role == "tool" and number not in self._hidden and self._note(number):
                yield
        for user, following in pairwise(users):
            if user not in self._hidden:
                self._hide(user, following)
                yield
        for turn, following in pairwise(turns):
            if turn not in self._hidden:
                self._hidden_turns.append(turn)
                self._hide(turn, following)
                yield

    def _note(self, number: int) -> bool:
        """Replace a result with a note; False if that would save nothing."""
        message = self._messages[number]
        text = RESULT_NOT_SHOWN.format(size=len(message.content))
        note = ChatMessage("tool", self._profile.format_result({}, text))
        saved = _tokens(message) - _tokens(note)
        if number in self._notes or saved <= 0:
            return False
        self._notes[number] = note
        self._tokens -= saved
        return True

    def _hide(self, start: int, end: int) -> None:
        for number in range(start, end):
            if number not in self._hidden:
                self._tokens -= _tokens(self._notes.pop(number, self._messages[number]))
                self._hidden.add(number)

    def view(self, is_more: bool) -> ContextView:
        if not self._notes and not self._hidden:
            return ContextView(self._messages)
        turns = [turn for turn in self._hidden_turns if not self._is_message_hidden(turn)]
        left_out = LeftOut(
            results=len(self._notes), messages=len(self._hidden.intersection(self._users)), turns=len(turns)
        )
        every = enumerate(self._messages)
        shown = [self._notes.get(number, message) for number, message in every if number not in self._hidden]
        if self._hidden:
            said = NOT_SHOWN.format(what=left_out)
            if shown[0].role == "system":
                shown[0] = ChatMessage("system", shown[0].content.rstrip() + said)
            else:
                shown.insert(0, ChatMessage("system", said.lstrip()))
        return ContextView(shown, left_out, is_more)

    def _is_message_hidden(self, turn: int) -> bool:
        before = bisect_right(self._users, turn)
        return before > 0 and self._users[before - 1] in self._hidden


def _tokens(message: ChatMessage) -> int:
    """An estimate of a message's tokens; rather too high, so that what fits by this count fits."""
    return MESSAGE_TOKENS + -(-len(message.as_json) // BYTES_PER_TOKEN)


def page_result(values: Mapping[str, str], printed: str, room: int) -> tuple[dict[str, str], str]:
    """A block's variables and printed text, cut to a first page for a model with *room* for so many tokens.

    Short texts stay whole, and the long ones are cut at one length; each says how long it is, and how to see
    the rest.
    """
    texts = [*values.values(), printed]
    sizes = sorted(map(_bytes, texts))
    left = int(room * _RESULT_SHARE) * BYTES_PER_TOKEN
    for number, size in enumerate(sizes):
        share = left // (len(sizes) - number)
        if size > share:
            break
        left -= size
    else:
        return dict(values), printed
    paged = [text if _bytes(text) <= share else _first_page(text, share) for text in texts]
    return dict(zip(values, paged, strict=False)), paged[-1]


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _first_page(text: str, size: int) -> str:
    """At most *size* bytes of a text, and a note; an existing note is rewritten."""
    cut = _CUT.search(text, max(0, len(text) - 200))
    words = f"{len(text)} characters"
    if cut is not None and cut[2] != "more characters":
        words = f"{cut[1]} {cut[2]}"
    elif cut is not None:
        words = f"{cut.start() + int(cut[1].replace(',', ''))} characters"
    shown = text[: size * len(text) // _bytes(text)]
    part = " of it"
    if text.startswith(("'", '"')) and (whole := _WHOLE.match(shown)):
        shown = whole[0]
        count = len(_ESCAPE.sub(".", shown)) - 1  # of the text that this is the repr of
        part = f" such as [{count}:{2 * count}]"
    return f"{shown}… ({words} in all; for more, assign a part{part})"
