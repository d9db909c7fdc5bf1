"""Configuration, warm-up and health of what all agents of a process share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from .._chat_filter import ChatFilter
from .._config import MemoryLimits, ModelConfig, SandboxLimits, VaultPolicy
from .._errors import InvalidInputError
from ..agent import check_host_tool
from ..models import Model
from ..sandbox import Reviewer
from . import _bridge, _configuration
from ._choice import choice_of
from ._configuration import HostFunction
from ._folders import absolute, path_text
from ._host_tools import for_trio
from ._interop import run_async
from ._runtimes import runtime_for

_UNSET: Any = object()
_SHARED = ("tier", "sandbox_limits", "memory_limits", "sync_notes")


def configure(
    *,
    memory_root: str | os.PathLike[str] | None = _UNSET,
    env_file: str | os.PathLike[str] | None = _UNSET,
    tier: str | None = _UNSET,
    sandbox_limits: SandboxLimits = _UNSET,
    memory_limits: MemoryLimits = _UNSET,
    sync_notes: bool = _UNSET,
    blind_overwrite: Literal["allow", "refuse"] = _UNSET,
    host_tools: Mapping[str, HostFunction] = _UNSET,
    review: Reviewer | None = _UNSET,
    policy: VaultPolicy = _UNSET,
    chat_filter: ChatFilter | None = _UNSET,
) -> None:
    """Set what holds for all agents that are made from now on; what is not given stays as it is.

    Args:
        memory_root: the folder that relative memory paths lie below, in place of ``memory``; ``"."`` for as they are
            written. None for what ``AGENT_MEMORY_ROOT`` says.
        env_file: in place of the ``.env`` beside the program; None for that.
        tier, sandbox_limits, memory_limits, sync_notes: see `trioagent.open_runtime`; fixed once a chat has begun.
        blind_overwrite: see `trioagent.AgentConfig`; "allow" if it is never said.
        host_tools: functions that blocks may call by these names, with JSON values: sync ones run in worker threads,
            coroutine functions in the event loop that waits for the chat.
        review: see `trioagent.Agent`; it runs in Trio.
        policy, chat_filter: what blocks may touch, and what may not leave a chat; see `trioagent.Agent`. A message's
            own ``<filter>`` rules hold besides.

    Raises:
        InvalidInputError: a value cannot be used; or what all agents share is changed while they share it.
    """
    given = {name: value for name, value in locals().items() if value is not _UNSET}
    for name in ("memory_root", "env_file"):
        if given.get(name) is not None:
            given[name] = path_text(given[name], name)
    if given.get("env_file") is not None and not absolute(given["env_file"], "env_file").is_file():
        raise InvalidInputError("env_file", f"{given['env_file']!r} is no file")
    if "host_tools" in given:
        given["host_tools"] = dict(given["host_tools"])
        for name, tool in for_trio(given["host_tools"]).items():
            check_host_tool(name, tool)
    for name, kind, wanted in (
        ("policy", VaultPolicy, "a VaultPolicy"),
        ("chat_filter", ChatFilter | None, "a ChatFilter or None"),
    ):
        if name in given and not isinstance(given[name], kind):
            raise InvalidInputError(name, f"must be {wanted}, not {given[name]!r:.100}")
    config = _configuration.current()
    fixed = [name for name in _SHARED if name in given and given[name] != getattr(config, name)]
    if fixed and _bridge.bridge().running:
        raise InvalidInputError(
            "configure()", f"{', '.join(fixed)}: fixed since the first chat; set it before that, or after shutdown()"
        )
    _configuration.set_current(**given)


@attrs.frozen(kw_only=True)
class Health:
    """What `health` found.

    Attributes:
        running: the Trio thread runs.
        calls: how many chats and other calls are under way.
        tier: the sandbox's tier; "" until it has been opened.
        zygotes: how many processes are alive that blocks' processes are forked from; 0 may be right for a moment after
            one was killed: it is started again with the next block.
    """

    running: bool
    calls: int
    tier: str
    zygotes: int

    @property
    def ready(self) -> bool:
        """Whether a chat would find everything open."""
        return self.running and bool(self.tier)


def health() -> Health:
    """The state of what all agents share, for a readiness probe. It starts nothing and waits for nothing."""
    bridge = _bridge.bridge()
    sandbox = bridge.runtimes.sandbox if bridge.running and bridge.runtimes is not None else None
    return Health(
        running=bridge.running,
        calls=bridge.calls,
        tier="" if sandbox is None else sandbox.tier,
        zygotes=0 if sandbox is None else sandbox.zygotes,
    )


async def start(model: str | ModelConfig | Model | None = None, *, use_vllm: bool = False) -> Health:
    """Open the Trio thread, the sandbox and the model's connection pool ahead of the first chat: a server's warm-up.

    Args:
        model, use_vllm: as of the agents to come.

    Raises:
        InvalidInputError: the model's name or a setting cannot be used.
        SandboxUnavailableError: no sandbox tier works here.
        WrongContextError: no asyncio event loop runs here; or gevent or eventlet has patched this process.
    """
    choice = choice_of(model, use_vllm=use_vllm)

    async def warm_up() -> None:
        runtime = await runtime_for(choice)
        await runtime.sandbox.run("pass")

    await run_async(warm_up, name="start()")
    return health()
