"""The tools of blocks as functions over the notes in the current folder, for code outside of the sandbox.

Each call runs as a block of its own in the sandbox, a transaction, and takes some milliseconds; the results are those
that a block gets. See `trioagent.tools` for what each does.
"""

from __future__ import annotations

import os
from typing import Any, cast

from ..tools import NoResults, PathList, ToolError
from ._folders import absolute
from ._interop import run_sync
from ._runtimes import sandbox_for
from .settings import SANDBOX_TIMEOUT

__all__ = (
    "backlinks",
    "check_if_dir_exists",
    "check_if_file_exists",
    "create_dir",
    "create_file",
    "delete_file",
    "get_size",
    "go_to_link",
    "list_files",
    "read_file",
    "search",
    "update_file",
    "write_to_file",
)

_ANSWER = "_answer"


def create_file(file_path: str, content: str = "") -> bool | ToolError:
    """Create or replace a note, and create its folders."""
    return cast("bool | ToolError", _call("create_file", file_path, content))


def update_file(file_path: str, old_content: str, new_content: str) -> bool | ToolError:
    """Replace a passage that is in the note exactly once."""
    return cast("bool | ToolError", _call("update_file", file_path, old_content, new_content))


def write_to_file(file_path: str, diff: str) -> bool | ToolError:
    """Apply a unified diff, all of it or nothing."""
    return cast("bool | ToolError", _call("write_to_file", file_path, diff))


def read_file(file_path: str) -> str:
    """A note's text."""
    return cast("str", _call("read_file", file_path))


def delete_file(file_path: str) -> bool | ToolError:
    """Delete a note."""
    return cast("bool | ToolError", _call("delete_file", file_path))


def check_if_file_exists(file_path: str) -> bool:
    """Whether the note exists."""
    return bool(_call("check_if_file_exists", file_path))


def check_if_dir_exists(dir_path: str) -> bool:
    """Whether the folder exists."""
    return bool(_call("check_if_dir_exists", dir_path))


def create_dir(dir_path: str) -> bool | ToolError:
    """Create a folder and its parents."""
    return cast("bool | ToolError", _call("create_dir", dir_path))


def list_files(dir_path: str | None = None) -> list[str]:
    """The paths of all notes (of a folder)."""
    return cast("list[str]", _call("list_files", dir_path))


def get_size(file_or_dir_path: str = "") -> int | ToolError:
    """The size of a note, or of a folder with everything in it, in bytes."""
    return cast("int | ToolError", _call("get_size", file_or_dir_path))


def go_to_link(link_string: str) -> str:
    """The note, section or block that a link leads to."""
    return cast("str", _call("go_to_link", link_string))


def search(query: str, limit: int = 10) -> list[str]:
    """The best matching lines, as ``path:line: text``."""
    return cast("list[str]", _call("search", query, limit))


def backlinks(path: str) -> list[str]:
    """The notes that link to this one."""
    return cast("list[str]", _call("backlinks", path))


def _call(name: str, *args: object) -> Any:
    """Raises InvalidInputError if the current folder has been deleted, and the errors of `Sandbox.run`."""
    return run_sync(_in_a_block, name, args, str(absolute(os.curdir, "the current folder")), name=name)


async def _in_a_block(name: str, args: tuple[object, ...], memory_path: str) -> Any:
    answers: list[Any] = []

    async def answer(kind: str, value: object, problem: str) -> None:
        if kind == "PathList" and isinstance(value, list):
            answers.append(PathList(value))
        else:
            answers.append({"ToolError": ToolError, "NoResults": NoResults}.get(kind, lambda text: value)(problem))

    code = (
        f"_value = {name}(*{args!r})\n"
        f"{_ANSWER}(type(_value).__name__, _value, str(getattr(_value, 'error', '') or _value))"
    )
    sandbox = await sandbox_for(float(SANDBOX_TIMEOUT))
    result = await sandbox.run(code, memory_path=memory_path, host_tools={_ANSWER: answer})
    return ToolError(f"Error: {result.error}") if result.error or not answers else answers[0]
