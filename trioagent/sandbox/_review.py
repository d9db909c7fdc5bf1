"""Review before commit: a reviewer decides on a block's changes after it ran and before they are saved."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Literal

import attrs
import trio

from .._errors import InvalidInputError
from ..memory import ChangeSet, NoteChange
from ..tools import glob_matches

_SHOWN_LINES = 2000  # of one note in a diff: people read no more, and comparing more takes too long

Action = Literal["auto", "ask", "reject"]
_ACTIONS: Mapping[str, Action] = {"auto": "auto", "ask": "ask", "reject": "reject"}


@attrs.frozen(kw_only=True)
class ReviewRequest:
    """The changes that a block would make to the notes.

    Attributes:
        code: the block's code.
        changes: each note that would be changed, with its content before and after.
        diff: the changes as a unified diff, bounded for reading.
        reads: the notes that the block read or looked for.
    """

    code: str
    changes: tuple[NoteChange, ...]
    diff: str
    reads: tuple[str, ...]


@attrs.frozen
class AcceptChanges:
    """Save what the block changed."""


@attrs.frozen
class RejectChanges:
    """Save nothing, and tell the model why.

    Attributes:
        reason: the reason, for the model.
    """

    reason: str = ""


@attrs.frozen
class EditChanges:
    """Save other contents instead of the block's.

    Attributes:
        notes: for paths of the request's changes: the content to save, or None for no note. The other changes are
            saved as they are.
    """

    notes: Mapping[str, str | None]


ReviewDecision = AcceptChanges | RejectChanges | EditChanges
Reviewer = Callable[[ReviewRequest], Awaitable[ReviewDecision]]


@attrs.frozen
class ReviewPolicy:
    """Which notes may change without review, as data.

    Attributes:
        rules: globs of paths, each with an action; the first that matches a path applies. ``*`` and ``?`` stay within
            a folder, ``**`` crosses folders.
        otherwise: the action for paths that no glob matches.
    """

    rules: tuple[tuple[str, Action], ...] = ()
    otherwise: Action = "ask"

    def __attrs_post_init__(self) -> None:
        for action in (*(action for _, action in self.rules), self.otherwise):
            if action not in _ACTIONS:
                raise InvalidInputError("ReviewPolicy", f"knows auto, ask and reject, not {action!r}")

    @classmethod
    def parse(cls, text: str) -> ReviewPolicy:
        """Parse a policy such as ``entities/** auto, user.md ask``.

        Raises:
            InvalidInputError: a rule is not a glob and an action.
        """
        rules: list[tuple[str, Action]] = []
        for rule in filter(None, (part.strip() for part in text.split(","))):
            glob, blank, action = rule.rpartition(" ")
            known = _ACTIONS.get(action) if blank else None
            if known is None:
                raise InvalidInputError("ReviewPolicy", f"must have rules like 'entities/** auto', not {rule!r}")
            rules.append((glob.strip(), known))
        return cls(tuple(rules))

    def action(self, path: str) -> Action:
        """The action for a change of the note at *path*."""
        return next((action for glob, action in self.rules if glob_matches(glob, path)), self.otherwise)

    def reviewer(self, ask: Reviewer) -> Reviewer:
        """A reviewer that asks *ask* only about blocks with a change that this policy does not decide.

        A block with a change that the policy rejects is rejected as a whole.
        """

        async def review(request: ReviewRequest) -> ReviewDecision:
            actions = {change.path: self.action(change.path) for change in request.changes}
            if refused := [path for path, action in actions.items() if action == "reject"]:
                return RejectChanges(f"{', '.join(refused)} must not be changed")
            if "ask" in actions.values():
                return await ask(request)
            return AcceptChanges()

        return review


def edited_diff(changes: Sequence[NoteChange], notes: Mapping[str, str | None]) -> str:
    """The diff of *changes* after a reviewer's edits (see `EditChanges`)."""

    def edited(change: NoteChange) -> NoteChange:
        if change.path not in notes:
            return change
        text = notes[change.path]
        return NoteChange(change.path, change.before, None if text is None else _encoded(change.path, text))

    return _diff([edited(change) for change in changes])


async def request_for(code: str, changes: tuple[NoteChange, ...], reads: Sequence[str]) -> ReviewRequest:
    """The request, with its diff made off the event loop."""
    diff = await trio.to_thread.run_sync(partial(_diff, changes))
    return ReviewRequest(code=code, changes=changes, diff=diff, reads=tuple(reads))


def reviewed(changes: ChangeSet, request: ReviewRequest, decision: object) -> ChangeSet | RejectChanges:
    """*changes* as the reviewer decided.

    Raises:
        InvalidInputError: the reviewer did not return a decision, or edited notes that the block does not change.
    """
    match decision:
        case AcceptChanges():
            return changes
        case RejectChanges():
            return decision
        case EditChanges(notes):
            known = {change.path for change in request.changes}
            writes, deletes = dict(changes.writes), set(changes.deletes)
            for path, text in notes.items():
                if path not in known:
                    raise InvalidInputError("review", f"the block does not change {path!r}, so that cannot be edited")
                writes.pop(path, None)
                deletes.discard(path)
                if text is None:
                    deletes.add(path)
                else:
                    writes[path] = _encoded(path, text)
            return attrs.evolve(changes, writes=writes, deletes=frozenset(deletes))
    raise InvalidInputError(
        "review", f"must return AcceptChanges, RejectChanges or EditChanges, not {type(decision).__name__}"
    )


def _encoded(path: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInputError("review", f"the text for {path!r} is not valid Unicode at {error.start}") from error


def _diff(changes: Sequence[NoteChange]) -> str:
    lines = []
    for change in changes:
        sides = [_lines(change.before), _lines(change.after)]
        if None in sides:
            lines.append(f"Binary file {change.path} changes")
            continue
        old, new = (side or [] for side in sides)
        if max(len(old), len(new)) > _SHOWN_LINES:
            lines.append(f"{change.path} changes from {len(old):,} to {len(new):,} lines")
            continue
        before, after = ("/dev/null" if side is None else change.path for side in (change.before, change.after))
        lines.extend(difflib.unified_diff(old, new, before, after, lineterm=""))
    return "\n".join(lines)


def _lines(content: bytes | None) -> list[str] | None:
    """The lines of a note; None if it is not text."""
    try:
        return [] if content is None else content.decode().splitlines()
    except UnicodeDecodeError:
        return None
