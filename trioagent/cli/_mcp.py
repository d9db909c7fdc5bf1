"""``trioagent mcp``: a memory for a program that speaks the Model Context Protocol."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import click
import trio

from .._config import AgentConfig, RateLimits, VaultPolicy
from .._errors import InvalidInputError
from .._exceptions import open_helper_nursery
from ..memory import HistorySetting, Memory
from ..models import OfflineRules
from ._model_options import (
    PromptChoice,
    ResolvedModel,
    agent_config,
    debug_option,
    given_folder,
    history_options,
    model_options,
    resolve_model,
)
from ._profiles import ModelChoice
from ._runtime import open_command_runtime
from ._terminal import one_line


@click.command()
@click.option(
    "--memory",
    required=True,
    metavar="DIR",
    callback=given_folder,
    help="The folder of notes. It is created if it does not exist.",
)
@model_options
@click.option("--no-model", is_flag=True, help="Only the notes: no tools that ask an agent.")
@click.option("--read-only", is_flag=True, help="Nothing may be changed.")
@history_options
@debug_option
def mcp(memory: Path, model: ModelChoice, no_model: bool, read_only: bool, history: HistorySetting) -> int:
    """Serve a memory over standard input and output to the program that starts this one.

    The notes are available as tools (search_notes, read_note, list_notes, backlinks, write_note, edit_note, move_note,
    delete_note) and resources. If a model is chosen, there are two more tools, ask and remember, which run an agent. It
    ends when the program hangs up, or on SIGTERM or Ctrl-C.

    \b
    Examples:
      trioagent mcp --memory ~/notes --no-model
      trioagent mcp --memory ~/notes --model openrouter:anthropic/claude-sonnet-4

    \b
    In a client's configuration:
      {"mcpServers": {"notes": {"command": "trioagent", "args": ["mcp", "--memory", "/home/me/notes"]}}}
    """
    try:
        import mcp as sdk
    except ImportError as error:
        raise InvalidInputError("trioagent mcp", "needs the extra: pip install 'trioagent[mcp]'") from error
    del sdk
    found, _ = model.resolve(os.environ)
    nobody_chose = isinstance(found, OfflineRules) and found.notice
    resolved = None if no_model or nobody_chose else resolve_model(model)
    config = agent_config(model.profile, None, PromptChoice())
    kept = Memory(memory, policy=VaultPolicy(read_only=read_only), history=history)
    return trio.run(_serve, kept, resolved, model, config)


async def _serve(memory: Memory, resolved: ResolvedModel | None, model: ModelChoice, agent: AgentConfig) -> int:
    from ..server import serve_mcp  # imported on use

    async with AsyncExitStack() as stack:
        runtime = None
        if resolved is not None:
            rate = RateLimits(requests_per_minute=model.profile.rpm, tokens_per_minute=model.profile.tpm)
            for note in resolved.notes:
                click.echo(f"note: {one_line(note)}", err=True)
            runtime = await stack.enter_async_context(
                open_command_runtime(resolved.with_rate(rate), network=resolved.network)
            )
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with open_helper_nursery() as nursery:
                with trio.CancelScope() as serving:
                    nursery.start_soon(_cancel_on_signal, signals, serving)
                    await serve_mcp(memory, runtime=runtime, agent=agent)
    return 0


async def _cancel_on_signal(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    await anext(signals)
    scope.cancel()
