"""The input of the checks: a conversation, and the notes before and after it. Plain data."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

import attrs

from .._config import Flow
from .._messages import ChatMessage
from ._persona import Fact, Persona


@attrs.frozen(kw_only=True)
class Exchange:
    """One message of the persona and the agent's reaction.

    Attributes:
        said: by the persona.
        reply: of the agent; "" if there was none.
        stop_reason: see `AgentResponse`.
        errors: of each block that ran, in order; "" for success.
        cut: one of the agent's answers was cut by a token limit or a content filter.
    """

    said: str
    reply: str
    stop_reason: str = "reply"
    errors: tuple[str, ...] = ()
    cut: bool = False


@attrs.frozen(kw_only=True)
class Transcript:
    """One completed attempt.

    Attributes:
        messages: all of them, as the agent has them: roles "system", "user", "assistant", "tool".
        before, after: the notes' texts by path.
        broken_links: links that are broken now and were not before.
    """

    flow: Flow
    persona: Persona
    facts: tuple[Fact, ...]
    messages: tuple[ChatMessage, ...]
    exchanges: tuple[Exchange, ...]
    before: Mapping[str, str]
    after: Mapping[str, str]
    broken_links: tuple[str, ...] = ()

    @property
    def diff(self) -> dict[str, str]:
        """The changes to each note that changed, as unified diffs by path."""
        found = {}
        for path in sorted({*self.before, *self.after}):
            old, new = self.before.get(path), self.after.get(path)
            if old != new:
                names = ("/dev/null" if old is None else f"a/{path}", "/dev/null" if new is None else f"b/{path}")
                found[path] = "".join(difflib.unified_diff(_lines(old), _lines(new), *names))
        return found


@attrs.frozen
class Verdict:
    """The result of one check of a conversation.

    Attributes:
        check: its name.
        passed: whether the conversation passes it.
        reason: why not, or a judge's text.
    """

    check: str
    passed: bool
    reason: str = ""


def _lines(text: str | None) -> list[str]:
    """Lines with their ends; a last one without gets the usual mark."""
    lines = (text or "").splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n\\ No newline at end of file\n"
    return lines
