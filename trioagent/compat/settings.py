"""The settings, under the names that programs import.

Environment variables, and with lower priority those of the program's ``.env`` file, are read on access. A value that a
program assigns here (``agent.settings.VLLM_PORT = 8001``) applies from then on.
"""

from __future__ import annotations

from collections.abc import Mapping

from .._config import MemoryLimits, SandboxLimits
from .._errors import InvalidInputError
from ..models import OPENROUTER_DEFAULT
from ._configuration import variables

__all__ = (
    "DIR_SIZE_LIMIT",
    "FILE_SIZE_LIMIT",
    "LITELLM_API_KEY",
    "LITELLM_BASE_URL",
    "LITELLM_MODEL",
    "MAX_TOOL_TURNS",
    "MEMORY_PATH",
    "MEMORY_SIZE_LIMIT",
    "OPENROUTER_API_KEY",
    "OPENROUTER_BASE_URL",
    "OPENROUTER_STRONG_MODEL",
    "SANDBOX_TIMEOUT",
    "SAVE_CONVERSATION_PATH",
    "SYSTEM_PROMPT_PATH",
    "VLLM_API_KEY",
    "VLLM_BASE_URL",
    "VLLM_HOST",
    "VLLM_PORT",
)

OPENROUTER_STRONG_MODEL = OPENROUTER_DEFAULT

MEMORY_PATH = "memory_dir"  # the default memory
FILE_SIZE_LIMIT = MemoryLimits().file_bytes
DIR_SIZE_LIMIT = MemoryLimits().dir_bytes
MEMORY_SIZE_LIMIT = MemoryLimits().total_bytes

SANDBOX_TIMEOUT = int(SandboxLimits().wall_seconds)

SAVE_CONVERSATION_PATH = "output/conversations/"

MAX_TOOL_TURNS: int
SYSTEM_PROMPT_PATH: str | None
OPENROUTER_BASE_URL: str
OPENROUTER_API_KEY: str | None
VLLM_HOST: str
VLLM_PORT: int
VLLM_BASE_URL: str | None
VLLM_API_KEY: str | None
LITELLM_BASE_URL: str | None
LITELLM_API_KEY: str | None
LITELLM_MODEL: str | None

_NUMBERS = {"MAX_TOOL_TURNS": (4, "a whole number, 0 or more"), "VLLM_PORT": (8000, "a port's number")}
_TEXTS: Mapping[str, str | None] = {
    "SYSTEM_PROMPT_PATH": None,
    "OPENROUTER_BASE_URL": "https://openrouter.ai/api/v1",
    "OPENROUTER_API_KEY": None,
    "VLLM_HOST": "localhost",
    "VLLM_BASE_URL": None,
    "VLLM_API_KEY": None,
    "LITELLM_BASE_URL": None,
    "LITELLM_API_KEY": None,
    "LITELLM_MODEL": None,
}


def __getattr__(name: str) -> str | int | None:
    if name in _TEXTS:
        return variables().get(name) or _TEXTS[name]
    if name not in _NUMBERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    default, wanted = _NUMBERS[name]
    said = variables().get(name)
    if not said:
        return default
    if not (said.isascii() and said.isdecimal()):
        raise InvalidInputError(name, f"must be {wanted}, not {said!r}")
    return int(said)


def assigned() -> dict[str, str]:
    """The values that the program has assigned to settings that are variables."""
    found = {name: globals()[name] for name in (*_NUMBERS, *_TEXTS) if name in globals()}
    return {name: "" if value is None else str(value) for name, value in found.items()}
