"""``trioagent chat``: a conversation on the terminal."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import attrs
import click
import trio

from .._errors import InvalidInputError, TrioAgentError
from .._exceptions import open_helper_nursery
from .._files import write_whole
from .._messages import ChatMessage, Usage
from .._wire import read_value, strict_converter
from ..agent import Agent
from ..memory import UndoLog
from ..sandbox import Reviewer, ReviewPolicy
from ._errors import line_and_code
from ._foreground import Foreground, run_beside_terminal
from ._line_input import LineInput, history_path
from ._memory import print_tree
from ._model_options import AgentOptions, agent_options, open_agent
from ._review import TerminalReview, nobody_to_ask
from ._run import no_reply_reason
from ._send import Interrupted, send_message
from ._spinner import Spinner
from ._terminal import console, one_line, safe
from ._turn_view import TurnView

PROMPT = "you> "
_COMMAND = re.compile(r"/([A-Za-z]+)(?:\s+(.*))?\Z", re.DOTALL)
_HELP = """\
/help            this list
/notes           the notes, with their sizes
/diff            what your last message changed in the notes
/undo            roll that back, and forget the message (again for the one before it)
/save [DIR]      save the conversation as JSON (in DIR; otherwise in output/conversations)
/quit            end (as does Ctrl-D)
Ctrl-C           while the agent works: stop it, and roll back what this message changed in the notes
                 at the prompt: clear the line"""


@click.command()
@agent_options
@click.option("-q", "--quiet", is_flag=True, help="Show only the replies, not thoughts and code.")
@click.option("--continue", "go_on", is_flag=True, help="Resume the last conversation over this memory.")
@click.option(
    "--review",
    metavar="RULES",
    is_flag=False,
    flag_value="",
    help="Show what each block of code would change in the notes, and ask before it is saved. With RULES such as "
    "'entities/** auto, user.md ask, *.canvas reject' you are asked only about changes marked ask.",
)
def chat(options: AgentOptions, quiet: bool, go_on: bool, review: str | None) -> int:
    """Chat with an agent that keeps notes in a folder.

    Thoughts are shown dim, code and its result compactly, and the reply as the model writes it. Ctrl-C while the agent
    works stops it and leaves the notes as they were before your message; Ctrl-D ends. /help lists more.

    Without a terminal on stdin, every line read is one message, and the first that fails ends the command.

    \b
    Examples:
      trioagent chat --memory notes
      trioagent chat --memory notes --model openrouter:anthropic/claude-sonnet-4
      trioagent chat --memory notes --model qwen3 --base-url http://localhost:8000/v1

    The key for a model is read from the environment (TRIOAGENT_API_KEY, or the provider's own such as
    OPENROUTER_API_KEY). There is no option for it on purpose: every user of a machine can see a command's arguments.
    """
    history = history_path(os.environ)
    lines = LineInput(history)
    saved = None if history is None else LastConversation.of(history.parent, options.memory)
    earlier = () if not go_on else saved.load() if saved is not None else ()
    if go_on and not earlier:
        raise InvalidInputError("--continue", f"there is no earlier conversation over {str(options.memory)!r}")
    rules = options.model.profile.review if review is None else review or options.model.profile.review or ""
    policy = None if rules is None else ReviewPolicy.parse(rules)
    kept = saved if lines.interactive else None
    chat = _Chat(options, lines, quiet=quiet, earlier=earlier, saved=kept, review=policy)
    return run_beside_terminal(chat.run, lines)


class _Chat:
    """One conversation; its methods run in Trio.

    Args:
        lines: where messages come from; whether it is interactive decides how errors end.
        quiet: show only the replies.
        earlier: messages of the conversation to resume.
        saved: where the conversation is kept after each message, for ``--continue``.
        review: which changes the user is asked about before they are saved; None for none.
    """

    def __init__(
        self,
        options: AgentOptions,
        lines: LineInput,
        *,
        quiet: bool,
        earlier: Sequence[ChatMessage],
        saved: LastConversation | None,
        review: ReviewPolicy | None,
    ) -> None:
        self._options, self._quiet, self._interactive = options, quiet, lines.interactive
        self._earlier, self._saved, self._review = earlier, saved, review
        self._view: TurnView | None = None  # of the running turn
        self._model = "the model"
        self._sent: list[tuple[UndoLog, list[ChatMessage]]] = []  # by message: its changes, and the history before

    async def run(self, foreground: Foreground[int]) -> int:
        async with open_agent(self._options, review=self._reviewer(foreground)) as (runtime, agent):
            agent.messages = [*agent.messages, *self._earlier]
            self._model = runtime.model.name
            if self._interactive and not self._quiet:
                click.echo(f"{runtime.model.name}, notes in {self._options.memory}. /help for help, Ctrl-D to end.")
                if note := await trio.to_thread.run_sync(about_new_memory, self._options.memory):
                    click.echo(f"note: {one_line(note)}")
            while True:
                try:
                    line = await foreground.read_line(PROMPT)
                    if await self._handle(line, agent, foreground):
                        return 0
                except EOFError:
                    if self._interactive:
                        click.echo()
                    return 0
                except KeyboardInterrupt:
                    if not self._interactive:
                        raise
                    click.echo()

    def _reviewer(self, foreground: Foreground[int]) -> Reviewer | None:
        if self._review is None:
            return None
        if not self._interactive:
            return self._review.reviewer(nobody_to_ask)

        def before() -> None:
            if self._view is not None:
                self._view.pause()

        async def ask(prompt: str) -> str:
            return await foreground.read_line(prompt, kept=False)

        return TerminalReview(policy=self._review, ask=ask, interrupt=foreground.interrupt, before=before)

    async def _handle(self, line: str, agent: Agent, foreground: Foreground[int]) -> bool:
        """Run a command, or send a message; returns True if the conversation should end."""
        if not line.strip():
            return False
        command = _COMMAND.match(line.strip())
        if command is not None and command[1].lower() in ("quit", "exit", "q"):
            return True
        try:
            if command is not None:
                await self._command(command[1].lower(), command[2] or "", agent)
            else:
                await self._send(line, agent, foreground)
        except (TrioAgentError, OSError) as error:
            if not self._interactive or isinstance(error, BrokenPipeError):
                raise
            click.echo(one_line(line_and_code(error)[0]), err=True)
        return False

    async def _command(self, name: str, argument: str, agent: Agent) -> None:
        if name == "help":
            click.echo(_HELP)
        elif name == "save":
            folder = argument.strip() or "output/conversations"
            click.echo(f"saved as {safe(str(await agent.save_conversation(save_folder=folder)))}")
        elif name == "notes":
            await trio.to_thread.run_sync(print_tree, console(), self._options.memory)
        elif name == "diff":
            await self._diff(agent)
        elif name == "undo":
            await self._undo(agent)
        else:
            click.echo(f"there is no command /{name}\n{_HELP}", err=True)

    async def _diff(self, agent: Agent) -> None:
        if not self._sent or not self._sent[-1][0]:
            click.echo("your last message changed nothing in the notes")
            return
        click.echo(safe(await trio.to_thread.run_sync(diff_since, self._sent[-1][0], agent.memory_path)), nl=False)

    async def _undo(self, agent: Agent) -> None:
        if not self._sent:
            click.echo("there is no message to undo")
            return
        undo, messages = self._sent[-1]
        changed = sorted(undo.versions())
        if undo:
            await agent.memory.roll_back(undo, knowledge=agent.knowledge)  # on a conflict the message stays
        self._sent.pop()
        agent.messages = messages
        await self._keep(agent)
        click.echo(safe(f"undone; rolled back: {', '.join(changed)}" if changed else "undone; no note had changed"))

    async def _keep(self, agent: Agent) -> None:
        """Keep the conversation for ``--continue``; an error is reported once."""
        if self._saved is None:
            return
        try:
            await trio.to_thread.run_sync(self._saved.save, tuple(agent.messages))
        except OSError as error:
            click.echo(f"note: the conversation is not kept: {self._saved.path}: {error.strerror}", err=True)
            self._saved = None

    async def _send(self, line: str, agent: Agent, foreground: Foreground[int]) -> None:
        screen = console()
        spinner, undo, before = Spinner(screen), UndoLog(), list(agent.messages)
        view = self._view = TurnView(screen, quiet=self._quiet, spinner=spinner, model=self._model)
        started = trio.current_time()
        try:
            async with open_helper_nursery() as nursery:
                nursery.start_soon(spinner.run)
                view.begin()
                outcome = await send_message(
                    agent, line, view.show, open_interrupts=foreground.open_interrupts, undo=undo
                )
                nursery.cancel_scope.cancel()
        finally:
            view.close()
            self._view = None
        if not isinstance(outcome, Interrupted):
            self._sent.append((undo, before))
            await self._keep(agent)
            if self._interactive and not self._quiet:
                console().print(usage_line(outcome.usage, trio.current_time() - started), style="dim")
        if isinstance(outcome, Interrupted):
            click.echo(safe(str(outcome)), err=True)
            if not self._interactive:
                raise KeyboardInterrupt
        elif problem := no_reply_reason(outcome, agent.config):
            if not self._interactive:
                raise click.ClickException(problem)
            click.echo(f"note: {problem}", err=True)


@attrs.frozen
class LastConversation:
    """The file with the last conversation over a memory, readable by the user only."""

    path: Path

    @classmethod
    def of(cls, state: Path, memory: Path) -> LastConversation:
        """In the folder *state*, named by a hash of the memory's own path."""
        name = hashlib.sha256(os.fsencode(memory.absolute())).hexdigest()[:16]
        return cls(state / "conversations" / f"{name}.json")

    def save(self, messages: Sequence[ChatMessage]) -> None:
        """Replace the saved conversation, without the system prompt."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        body = [attrs.asdict(message) for message in messages if message.role != "system"]
        write_whole(self.path, json.dumps(body).encode())

    def load(self) -> tuple[ChatMessage, ...]:
        """The saved messages; none if there are none.

        Raises:
            InvalidInputError: the file cannot be read.
        """
        try:
            body = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, ValueError) as error:
            raise InvalidInputError(str(self.path), f"cannot be read: {error}") from error
        return tuple(read_value(strict_converter(), body, list[ChatMessage], str(self.path)))


def usage_line(usage: Usage, seconds: float) -> str:
    """The usage of a message, on one line."""
    tokens = f"{usage.prompt_tokens:,} tokens read, {usage.completion_tokens:,} written"
    parts = [f"{tokens}{' (estimated)' if usage.estimated else ''}", f"{seconds:.1f} s"]
    if usage.cost:
        parts.append(f"cost {usage.cost:.4g}")
    return f"({', '.join(parts)})"


def about_new_memory(memory: Path) -> str:
    """A line for the user if a memory is new or empty, with an existing similar name; else ""."""
    if memory.is_dir() and any(not path.name.startswith(".") for path in memory.iterdir()):
        return ""
    what = "is empty" if memory.is_dir() else "is new"
    folder = memory.absolute().parent
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    near = difflib.get_close_matches(memory.name, [name for name in names if name != memory.name], n=1)
    return f"the memory {memory} {what}" + (f"; did you mean {memory.with_name(near[0])}?" if near else "")


def diff_since(undo: UndoLog, memory: Path) -> str:
    """Unified diffs from the notes before the changes in *undo* to the present ones."""
    before = undo.changes()
    texts = []
    for path in sorted({*before.writes, *before.deletes}):
        old = before.writes.get(path, b"").decode("utf-8", "replace").splitlines(keepends=True)
        there = memory / path
        new = there.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) if there.is_file() else []
        lines = difflib.unified_diff(old, new, f"a/{path}" if path in before.writes else "/dev/null", f"b/{path}")
        texts.append("".join(line if line.endswith("\n") else f"{line}\n" for line in lines))
    return "".join(texts)
