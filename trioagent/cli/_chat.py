"""``trioagent chat``: a conversation on the terminal."""

from __future__ import annotations

import os
import re

import click

from .._errors import TrioAgentError
from ..agent import Agent
from ._errors import line_and_code
from ._foreground import Foreground, run_beside_terminal
from ._line_input import LineInput, history_path
from ._model_options import AgentOptions, agent_options, open_agent
from ._run import no_reply_reason
from ._send import Interrupted, send_message
from ._terminal import console, one_line, safe
from ._turn_view import TurnView

PROMPT = "you> "
_COMMAND = re.compile(r"/([A-Za-z]+)(?:\s+(.*))?\Z", re.DOTALL)
_HELP = """\
/help            this list
/save [DIR]      save the conversation as JSON (in DIR; otherwise in output/conversations)
/quit            end (as does Ctrl-D)
Ctrl-C           while the agent works: stop it, and take back what this message changed in the notes
                 at the prompt: clear the line"""


@click.command()
@agent_options
@click.option("-q", "--quiet", is_flag=True, help="Show only the replies, not thoughts and code.")
def chat(options: AgentOptions, quiet: bool) -> int:
    """Talk with an agent that keeps notes in a folder.

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
    lines = LineInput(history_path(os.environ))
    chat = _Chat(options, lines, quiet=quiet)
    return run_beside_terminal(chat.run, lines)


class _Chat:
    """One conversation; its methods run in Trio.

    Args:
        lines: where messages come from; whether it is interactive decides how errors end.
        quiet: show only the replies.
    """

    def __init__(self, options: AgentOptions, lines: LineInput, *, quiet: bool) -> None:
        self._options, self._quiet, self._interactive = options, quiet, lines.interactive

    async def run(self, foreground: Foreground[int]) -> int:
        async with open_agent(self._options) as (runtime, agent):
            if self._interactive and not self._quiet:
                click.echo(f"{runtime.model.name}, notes in {self._options.memory}. /help for help, Ctrl-D to end.")
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

    async def _handle(self, line: str, agent: Agent, foreground: Foreground[int]) -> bool:
        """Run a command, or send a message; True if the conversation is to end."""
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
        else:
            click.echo(f"there is no command /{name}\n{_HELP}", err=True)

    async def _send(self, line: str, agent: Agent, foreground: Foreground[int]) -> None:
        view = TurnView(console(), quiet=self._quiet)
        try:
            outcome = await send_message(agent, line, view.show, open_interrupts=foreground.open_interrupts)
        finally:
            view.close()
        if isinstance(outcome, Interrupted):
            click.echo(safe(str(outcome)), err=True)
            if not self._interactive:
                raise KeyboardInterrupt
        elif problem := no_reply_reason(outcome, agent.config):
            if not self._interactive:
                raise click.ClickException(problem)
            click.echo(f"note: {problem}", err=True)
