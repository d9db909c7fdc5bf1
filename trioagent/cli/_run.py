"""``trioagent run``: one message, one reply."""

from __future__ import annotations

import json
import sys

import attrs
import click

from .._config import AgentConfig
from .._events import AgentEvent
from .._messages import AgentResponse
from ..models import Retrying
from ._errors import INTERRUPTED
from ._interrupts import Interrupts, run_interruptible
from ._line_input import without_bom
from ._model_options import AgentOptions, agent_options, open_agent
from ._send import Interrupted, send_message
from ._terminal import one_line, safe

STDIN = "-"


@click.command()
@click.argument("message")
@agent_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: reply, thoughts, code, usage and more.")
def run(message: str, options: AgentOptions, as_json: bool) -> int:
    """Send MESSAGE to an agent and print its reply.

    A MESSAGE of - is read from stdin. Only the reply goes to stdout. Ctrl-C stops the agent and leaves the notes as
    they were.

    \b
    Examples:
      trioagent run "My sister Ada lives in Paris." --memory notes
      trioagent run "Where does Ada live?" --memory notes --json
      trioagent run - --memory notes < letter.txt

    The key for a model is read from the environment (TRIOAGENT_API_KEY, or the provider's own such as
    OPENROUTER_API_KEY). There is no option for it on purpose: every user of a machine can see a command's arguments.

    Exit code 1 if there is no reply, also if the model kept writing code when its --max-tool-turns were used up.
    """
    text = without_bom(sys.stdin.read()) if message == STDIN else message
    return run_interruptible(lambda interrupts: _run(text, options, as_json, interrupts))


async def _run(message: str, options: AgentOptions, as_json: bool, interrupts: Interrupts) -> int:
    async with open_agent(options) as (runtime, agent):
        outcome = await send_message(agent, message, _show_retry, open_interrupts=interrupts.open)
        if isinstance(outcome, Interrupted):
            runtime.history_updater.leave_rest()
            click.echo(safe(str(outcome)), err=True)
            return INTERRUPTED
        if as_json:
            body = {"reply": outcome.reply, **attrs.asdict(outcome), "model": runtime.model.name}
            click.echo(json.dumps(body))
        elif outcome.reply:
            click.echo(safe(outcome.reply))
        if problem := no_reply_reason(outcome, agent.config):
            raise click.ClickException(problem)
    return 0


def no_reply_reason(response: AgentResponse, config: AgentConfig) -> str:
    """Why there is no reply, or "" if there is one."""
    if response.stop_reason == "reply":
        return ""
    if response.stop_reason == "cut":
        return (
            "no reply: the model's last answer was cut by its token limit or a content filter, and no tool turn was "
            "left to ask again; allow more tokens with -o max_tokens=N, or more turns with --max-tool-turns"
        )
    return (
        f"no reply: the model still wanted to run code after {config.max_tool_turns} tool turns; what it saved until "
        "then is kept; allow more with --max-tool-turns"
    )


def _show_retry(event: AgentEvent) -> None:
    if isinstance(event, Retrying):
        click.echo(f"note: {one_line(str(event.error))}; trying again in {event.delay:.1f} s", err=True)
