"""Process-wide settings of agents: where memories are, the sandbox, host tools; and the program's ``.env``."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from .._chat_filter import ChatFilter
from .._config import MemoryLimits, SandboxLimits, VaultPolicy
from .._errors import InvalidInputError
from ..sandbox import Reviewer

HostFunction = Callable[..., Awaitable[object] | object]

MEMORY_ROOT = "AGENT_MEMORY_ROOT"
ENV_FILE = ".env"
_ADDRESSES = (
    "TRIOAGENT_BASE_URL", "OPENROUTER_BASE_URL", "VLLM_BASE_URL", "VLLM_HOST", "VLLM_PORT", "LITELLM_BASE_URL",
)  # fmt: skip
_KEYS = ("TRIOAGENT_API_KEY", "OPENROUTER_API_KEY", "VLLM_API_KEY", "LITELLM_API_KEY", "OPENAI_API_KEY")


@attrs.frozen(kw_only=True)
class CompatConfig:
    """See `configure`, whose arguments these are."""

    memory_root: str | None = None
    env_file: str | None = None
    tier: str | None = None
    sandbox_limits: SandboxLimits = SandboxLimits()
    memory_limits: MemoryLimits = MemoryLimits()
    sync_notes: bool = False
    blind_overwrite: Literal["allow", "refuse"] = "allow"
    host_tools: Mapping[str, HostFunction] = attrs.field(factory=dict)
    review: Reviewer | None = None
    policy: VaultPolicy = attrs.field(factory=VaultPolicy)
    chat_filter: ChatFilter | None = None


class _Current:
    """The configuration of this process; a forked child inherits it."""

    def __init__(self) -> None:
        self.config = CompatConfig()
        self.program_env: tuple[str, Mapping[str, str]] | None = None  # the file, and its variables


_current = _Current()


def current() -> CompatConfig:
    """The present configuration."""
    return _current.config


def set_current(**changes: Any) -> CompatConfig:
    """Change the given settings and keep the rest; returns the new configuration."""
    _current.config = attrs.evolve(_current.config, **changes)
    _current.program_env = None
    return _current.config


def memory_root() -> str:
    """The folder of relative memory paths: as configured, else the value of `MEMORY_ROOT`, else ``memory``."""
    return _current.config.memory_root or variables().get(MEMORY_ROOT) or "memory"


def variables(*, without: str | None = None) -> dict[str, str]:
    """The environment, and with lower priority the program's ``.env`` file.

    If an address comes from the file, its key must come from there too: keys of the environment are left out then, so
    that a file that was shipped in a program's folder cannot have them sent elsewhere.

    Args:
        without: a memory's folder. A ``.env`` file in there is not read: blocks may have written it.

    Raises:
        InvalidInputError: the file cannot be read.
    """
    file, said = _program_env()
    if not said or (without is not None and _is_below(file, without)):
        return dict(os.environ)
    if any(name in said and not os.environ.get(name) for name in _ADDRESSES):
        kept = {name: value for name, value in os.environ.items() if name not in _KEYS}
    else:
        kept = dict(os.environ)
    return {**said, **kept}


def names_a_model(without: str | None = None) -> bool:
    """Whether the program's ``.env`` file names a model, server or key."""
    file, said = _program_env()
    wanted = {*_ADDRESSES, *_KEYS, "TRIOAGENT_MODEL", "OPENROUTER_STRONG_MODEL", "MODEL", "MODEL_NAME", "LITELLM_MODEL"}
    return not (without is not None and _is_below(file, without)) and any(said.get(name) for name in wanted)


def _program_env() -> tuple[str, Mapping[str, str]]:
    if _current.program_env is None:
        file = _current.config.env_file or _beside_the_program()
        _current.program_env = (file, _read(file) if file else {})
    return _current.program_env


def _beside_the_program() -> str:
    """The ``.env`` nearest to the program's file: in its folder, or above it up to its package's folder, but at least
    one folder above; "" if there is none.
    """
    program = sys.modules.get("__main__")
    script, spec = getattr(program, "__file__", None), getattr(program, "__spec__", None)
    if not isinstance(script, str):
        return ""
    try:
        folder = Path(os.path.abspath(script)).parent
    except FileNotFoundError:  # the current folder has been deleted
        return ""
    above = 1 if spec is None else max(1, spec.name.count("."))  # for a program started by ``-m package.module``
    for place in (folder, *folder.parents[:above]):
        if (place / ENV_FILE).is_file() and not (place / ".trioagent").exists():  # the folder of a memory
            return str(place / ENV_FILE)
    return ""


def _read(file: str) -> dict[str, str]:
    from dotenv import dotenv_values

    try:
        with open(file, encoding="utf-8") as stream:
            found = dotenv_values(stream=stream, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError("env_file", f"{file!r} cannot be read: {error}") from None
    return {name: value for name, value in found.items() if value}


def _is_below(file: str, folder: str) -> bool:
    return bool(file) and os.path.realpath(file).startswith(os.path.join(os.path.realpath(folder), ""))
