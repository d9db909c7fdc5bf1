"""The commands of a session's clients, by WebSocket and by POST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import attrs

from .._errors import InvalidInputError
from .._wire import read_value, strict_converter
from ..sandbox import AcceptChanges, EditChanges, RejectChanges, ReviewDecision
from ._sessions import Session


@attrs.frozen
class SayCommand:
    """Send a message to the agent.

    Attributes:
        text: the message.
        id: the client's own name for it, repeated in ``said``.
    """

    text: str
    id: str = ""

    async def apply(self, session: Session) -> dict[str, Any]:
        return {"chat": session.say(self.text, id=self.id[:100])}


@attrs.frozen
class CancelCommand:
    """Cancel the running chat."""

    async def apply(self, session: Session) -> dict[str, Any]:
        session.cancel()
        return {}


@attrs.frozen
class ReviewCommand:
    """Decide on a block that waits for review.

    Attributes:
        review: the number of the review.
        decision: "accept", "reject" (with a *reason* for the model) or "edit".
        notes: for "edit": what to save instead, by path; None for no note.
    """

    review: int
    decision: Literal["accept", "reject", "edit"]
    reason: str = ""
    notes: dict[str, str | None] = attrs.field(factory=dict)

    async def apply(self, session: Session) -> dict[str, Any]:
        session.decide(self.review, self._decision())
        return {}

    def _decision(self) -> ReviewDecision:
        if self.decision == "reject":
            return RejectChanges(self.reason)
        return EditChanges(self.notes) if self.decision == "edit" else AcceptChanges()


@attrs.frozen
class UndoCommand:
    """Undo the last message."""

    async def apply(self, session: Session) -> dict[str, Any]:
        await session.undo()
        return {}


@attrs.frozen
class CloseCommand:
    """End the session."""

    async def apply(self, session: Session) -> dict[str, Any]:
        session.close()
        return {}


Command = SayCommand | CancelCommand | ReviewCommand | UndoCommand | CloseCommand
COMMANDS: Mapping[str, type[Any]] = {
    "say": SayCommand,
    "cancel": CancelCommand,
    "review": ReviewCommand,
    "undo": UndoCommand,
    "close": CloseCommand,
}
_converter = strict_converter()


def read_command(value: Any) -> Command:
    """Parse a client's JSON into a command.

    Raises:
        InvalidInputError: it is not a command; names the wrong field.
    """
    if not isinstance(value, Mapping):
        raise InvalidInputError("command", "must be an object with a type")
    body = dict(value)
    kind = body.pop("type", None)
    if not isinstance(kind, str) or kind not in COMMANDS:
        raise InvalidInputError("command.type", f"must be one of {', '.join(COMMANDS)}, not {kind!r:.60}")
    command: Command = read_value(_converter, body, COMMANDS[kind], "command")
    return command
