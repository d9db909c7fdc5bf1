"""Configuration, warm-up and health of the state that all agents of a process share."""

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
    """Change the settings of all agents that are created from now on; settings that are not given are kept.

    Args:
        memory_root: the folder of relative memory paths, instead of ``memory``; ``"."`` for the current folder. None
            for the value of ``AGENT_MEMORY_ROOT``.
        env_file: replaces the ``.env`` file beside the program; None for that file.
        tier, sandbox_limits, memory_limits, sync_notes: see `trioagent.open_runtime`; fixed once a chat has begun.
        blind_overwrite: see `trioagent.AgentConfig`; "allow" by default.
        host_tools: functions that blocks may call by these names, with JSON values: sync ones run in worker threads,
            coroutine functions in the event loop that waits for the chat.
        review: see `trioagent.Agent`; it runs in Trio.
        policy, chat_filter: which notes blocks may read and write, and which must not leave a chat; see
            `trioagent.Agent`. ``<filter>`` rules in a message apply in addition.

    Raises:
        InvalidInputError: a value is invalid; or a setting of shared state is changed while it is in use.
    """
    given = {name: value for name, value in locals().items() if value is not _UNSET}
    for name in ("memory_root", "env_file"):
        if given.get(name) is not None:
            given[name] = path_text(given[name], name)
    if given.get("env_file") is not None and not absolute(given["env_file"], "env_file").is_file():
        raise InvalidInputError("env_file", f"{given['env_file']!r} is not a file")
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
    """The result of `health`.

    Attributes:
        running: the Trio thread is running.
        calls: the number of chats and other calls in progress.
        tier: the sandbox's tier; "" until it has been opened.
        zygotes: the number of live zygotes, from which blocks' processes are forked. It may be 0 for a moment after one
            was killed: it is restarted with the next block.
    """

    running: bool
    calls: int
    tier: str
    zygotes: int

    @property
    def ready(self) -> bool:
        """Whether everything is open for a chat."""
        return self.running and bool(self.tier)


def health() -> Health:
    """The state that all agents share, for a readiness probe. It starts nothing and does not block."""
    bridge = _bridge.bridge()
    sandbox = bridge.runtimes.sandbox if bridge.running and bridge.runtimes is not None else None
    return Health(
        running=bridge.running,
        calls=bridge.calls,
        tier="" if sandbox is None else sandbox.tier,
        zygotes=0 if sandbox is None else sandbox.zygotes,
    )


async def start(model: str | ModelConfig | Model | None = None, *, use_vllm: bool = False) -> Health:
    """Open the Trio thread, the sandbox and the model's connection pool before the first chat: a server's warm-up.

    Args:
        model, use_vllm: as for the agents.

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
