"""``trioagent chat --review``: shows what a block would change in the notes, and asks for a decision."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import attrs
import click
import trio

from ..memory import NoteChange
from ..sandbox import (
    AcceptChanges,
    EditChanges,
    RejectChanges,
    ReviewDecision,
    ReviewPolicy,
    ReviewRequest,
    edited_diff,
)
from ._terminal import console, one_line, safe

QUESTION = "save this? [y]es, [n]o, [e]dit, or words for the agent: "
WHY = "what should the agent know? "
_EDITORS = ("sensible-editor", "nano", "vim", "vi")
_STYLES = (("+++", "bold"), ("---", "bold"), ("@@", "cyan"), ("+", "green"), ("-", "red"))
_HELP = """\
y      save it
n      save nothing; the agent can be told why
e      change what is saved, in an editor (VISUAL or EDITOR)
words  save nothing, and tell the agent these words"""


@attrs.frozen(kw_only=True)
class TerminalReview:
    """Asks on the terminal.

    Attributes:
        policy: which notes may change without a question.
        ask: asks the user for a line; raises EOFError if there is none.
        interrupt: the action for Ctrl-C at a question; it does not return.
        before: called before anything is shown.
        env: has the editor's name.
    """

    policy: ReviewPolicy
    ask: Callable[[str], Awaitable[str]]
    interrupt: Callable[[], Awaitable[None]]
    before: Callable[[], None]
    env: Mapping[str, str] = attrs.field(factory=lambda: os.environ)

    async def __call__(self, request: ReviewRequest) -> ReviewDecision:
        return await self.policy.reviewer(self._review)(request)

    async def _review(self, request: ReviewRequest) -> ReviewDecision:
        self.before()
        edits: dict[str, str | None] = {}
        show_diff(request.diff)
        while True:
            answer = (await self._line(QUESTION)).strip()
            match answer.lower():
                case "y" | "yes":
                    return EditChanges(edits) if edits else AcceptChanges()
                case "n" | "no":
                    return RejectChanges((await self._line(WHY)).strip())
                case "e" | "edit":
                    await self._edit(request, edits)
                case "" | "?" | "h" | "help":
                    click.echo(_HELP)
                case _:
                    return RejectChanges(answer)

    async def _line(self, prompt: str) -> str:
        """A line; end of input means no, without a reason."""
        try:
            return await self.ask(prompt)
        except EOFError:
            click.echo()
            return "n" if prompt == QUESTION else ""
        except KeyboardInterrupt:
            click.echo()
            await self.interrupt()
            raise AssertionError("an interrupt ends the message") from None

    async def _edit(self, request: ReviewRequest, edits: dict[str, str | None]) -> None:
        texts = {change.path: text for change in request.changes if (text := _text(change)) is not None}
        if not texts:
            click.echo("there is no text to edit: notes are deleted, or attachments change")
            return
        path = next(iter(texts)) if len(texts) == 1 else await self._choice(list(texts))
        if path is None:
            return
        before = edits.get(path)
        text = await edit_text(texts[path] if before is None else before, Path(path).suffix, self.env)
        if text is None:
            click.echo("no editor was found, or it failed; set VISUAL or EDITOR", err=True)
            return
        edits[path] = text
        show_diff(await trio.to_thread.run_sync(edited_diff, request.changes, dict(edits)))

    async def _choice(self, paths: list[str]) -> str | None:
        for number, path in enumerate(paths, 1):
            click.echo(f"  {number}  {one_line(path)}")
        answer = (await self._line("which note? ")).strip()
        if answer in paths:
            return answer
        if answer.isdecimal() and 0 < int(answer) <= len(paths):
            return paths[int(answer) - 1]
        click.echo(f"there is no note {safe(answer)!r} here")
        return None


async def nobody_to_ask(request: ReviewRequest) -> ReviewDecision:
    """The reviewer of a command whose input is not a terminal."""
    return RejectChanges("nobody can be asked, since the input is not a terminal")


def _text(change: NoteChange) -> str | None:
    try:
        return None if change.after is None else change.after.decode()
    except UnicodeDecodeError:
        return None


def show_diff(diff: str) -> None:
    """A unified diff, in colours if the terminal has them."""
    screen = console()
    for line in safe(diff).split("\n"):
        screen.print(line, style=next((style for mark, style in _STYLES if line.startswith(mark)), ""))


async def edit_text(text: str, suffix: str, env: Mapping[str, str]) -> str | None:
    """The user's edited version of *text*, from an editor on this terminal; None if that fails.

    Cancelling ends the editor.
    """
    named = env.get("VISUAL") or env.get("EDITOR") or next(filter(shutil.which, _EDITORS), "")
    if not named:
        return None
    with tempfile.TemporaryDirectory(prefix="trioagent-review-") as folder:
        file = trio.Path(folder) / f"note{suffix}"
        await file.write_text(text, encoding="utf-8")
        try:
            done = await trio.run_process([*shlex.split(named), str(file)], stdin=None, check=False)
            return None if done.returncode else await file.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return None
