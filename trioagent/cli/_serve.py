"""``trioagent serve``: memories over HTTP, for chat programs, editors, other agents, and a page."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import trio

from .._config import RateLimits
from .._errors import InvalidInputError
from .._exceptions import open_helper_nursery
from ._model_options import (
    PolicyChoice,
    PromptChoice,
    ResolvedModel,
    agent_config,
    debug_option,
    given_folder,
    model_options,
    policy_options,
    prompt_options,
    resolve_model,
    turns_option,
)
from ._profiles import ModelChoice
from ._runtime import open_command_runtime
from ._terminal import one_line, safe

if TYPE_CHECKING:
    from ..runtime import Runtime
    from ..server import Server, ServerConfig

TOKEN_VARIABLE = "TRIOAGENT_SERVER_TOKEN"


@click.command()
@click.argument("root", metavar="DIR", callback=given_folder)
@model_options
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8460, show_default=True, help="0 is any free port.")
@click.option(
    "--unix-socket",
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Listen on a Unix socket instead, which only this user can open; no token is needed there.",
)
@click.option(
    "--runs", metavar="DIR", type=click.Path(path_type=Path), help="Show a run directory too, or a folder of some."
)
@click.option("--allow-host", metavar="HOST", multiple=True, help="A further name that clients call the server by.")
@click.option("--allow-origin", metavar="ORIGIN", multiple=True, help="Another page that may use the server.")
@click.option(
    "--grace",
    metavar="SECONDS",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="How long chats may continue after SIGTERM or Ctrl-C.",
)
@turns_option
@prompt_options
@policy_options
@debug_option
def serve(
    root: Path,
    model: ModelChoice,
    host: str,
    port: int,
    unix_socket: Path | None,
    runs: Path | None,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    grace: float,
    max_tool_turns: int | None,
    prompt: PromptChoice,
    policy: PolicyChoice,
) -> int:
    """Serve the memories in DIR over HTTP.

    DIR has one memory in each of its folders, or is a memory itself. The link that is printed opens the page. Its
    fragment contains the token that every client must present; TRIOAGENT_SERVER_TOKEN sets another one. SIGTERM and
    Ctrl-C let chats end; a second one ends them at once.

    \b
    Examples:
      trioagent serve memories --model openrouter:anthropic/claude-sonnet-4
      trioagent serve notes --port 0
      TRIOAGENT_SERVER_TOKEN=$(cat token) trioagent serve memories --host 0.0.0.0 --allow-host notes.example.org

    \b
    The OpenAI-compatible endpoint is at /v1: a client's base URL is http://127.0.0.1:8460/v1,
    its key the token, and its model memory/NAME.
    """
    from ..server import ServerConfig  # imported on use

    resolved = resolve_model(model)
    for note in resolved.notes:
        click.echo(f"note: {one_line(note)}", err=True)
    rate = RateLimits(requests_per_minute=model.profile.rpm, tokens_per_minute=model.profile.tpm)
    config = ServerConfig(
        root=root,
        runs=runs,
        host=host,
        port=port,
        unix_socket=unix_socket,
        token=os.environ.get(TOKEN_VARIABLE) or None,
        allowed_hosts=allow_host,
        allowed_origins=allow_origin,
        agent=agent_config(model.profile, max_tool_turns, prompt),
        policy=policy.over(model.profile),
        grace_seconds=grace,
    )
    return trio.run(_serve, config, resolved, rate)


async def _serve(config: ServerConfig, resolved: ResolvedModel, rate: RateLimits) -> int:
    async with open_command_runtime(
        resolved.with_rate(rate), network=resolved.network, history=config.history
    ) as runtime:
        return await serve_until_signal(config, f"{runtime.model.name}, memories in {config.root}", runtime)


async def serve_until_signal(config: ServerConfig, what: str, runtime: Runtime | None = None) -> int:
    """Serve, and print *what* is served and the link, until SIGINT or SIGTERM."""
    try:
        from ..server import serve as serve_memories
    except ImportError as error:
        raise InvalidInputError("a server", "needs the extra: pip install 'trioagent[server]'") from error

    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_helper_nursery() as nursery:
            async with trio.open_nursery() as serving:
                server = await serving.start(partial(serve_memories, config, runtime=runtime))
                where = config.unix_socket if config.unix_socket is not None else server.link
                click.echo(safe(f"{what}: {where}"))
                nursery.start_soon(_stop_on_signal, signals, server, serving.cancel_scope)
    return 0


async def _stop_on_signal(signals: AsyncIterator[int], server: Server, scope: trio.CancelScope) -> None:
    """The first signal lets chats end, the second one ends them at once."""
    async for _ in signals:
        if server.stopping:
            scope.cancel()
        else:
            click.echo("stopping: chats may end; once more to stop at once", err=True)
            server.stop()
