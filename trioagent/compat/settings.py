"""The settings under the names that programs import. Environment variables are read on access."""

from __future__ import annotations

import os

from .._config import MemoryLimits, SandboxLimits
from .._errors import InvalidInputError
from ..models import OPENROUTER_DEFAULT

MAX_TOOL_TURNS = 4

OPENROUTER_BASE_URL = "https://openrouter.ai/api/v1"
OPENROUTER_STRONG_MODEL = OPENROUTER_DEFAULT

MEMORY_FOLDER = "memory"  # the folder that all memories lie in
MEMORY_PATH = "memory_dir"  # the memory of an agent that names none
FILE_SIZE_LIMIT = MemoryLimits().file_bytes
DIR_SIZE_LIMIT = MemoryLimits().dir_bytes
MEMORY_SIZE_LIMIT = MemoryLimits().total_bytes

SANDBOX_TIMEOUT = int(SandboxLimits().wall_seconds)

SAVE_CONVERSATION_PATH = "output/conversations/"

OPENROUTER_API_KEY: str | None
VLLM_HOST: str
VLLM_PORT: int


def __getattr__(name: str) -> str | int | None:
    match name:
        case "OPENROUTER_API_KEY":
            return os.environ.get(name)
        case "VLLM_HOST":
            return os.environ.get(name) or "localhost"
        case "VLLM_PORT":
            port = os.environ.get(name) or "8000"
            if not (port.isascii() and port.isdecimal()):
                raise InvalidInputError(name, f"must be a port's number, not {port!r}")
            return int(port)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
