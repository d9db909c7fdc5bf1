"""Helpers of the documented API: the parts of a model's answer, results as sent to models, folders of notes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from .._errors import InvalidInputError
from .._model_profile import DEFAULT, ModelProfile
from .._prompt import built_in_prompt
from . import settings
from ._folders import absolute, make_folder

__all__ = (
    "check_dir_size_limit",
    "check_file_size_limit",
    "check_memory_size_limit",
    "check_size_limits",
    "create_memory_if_not_exists",
    "delete_memory",
    "extract_python_code",
    "extract_reply",
    "extract_thoughts",
    "format_results",
    "load_system_prompt",
)


def extract_thoughts(response: str) -> str:
    """The text of the answer's first ``<think>`` block, unchanged; "" if there is none."""
    return _between(response, "think")


def extract_python_code(response: str) -> str:
    """The code of the answer's first ``<python>`` block, without a Markdown fence around it; "" if there is none."""
    code = _between(response, "python")
    if "```" not in code:
        return code.strip()
    fenced = code.split("```")[1]
    first, line_end, rest = fenced.partition("\n")
    return (rest if line_end and first.strip().isalnum() else fenced).strip()


def extract_reply(response: str) -> str:
    """The text of the answer's first ``<reply>`` block, unchanged; "" if there is none."""
    return _between(response, "reply")


def _between(text: str, tag: str) -> str:
    if not isinstance(text, str):
        raise InvalidInputError("response", f"must be text, not {text!r:.100}")
    _, found, rest = text.partition(f"<{tag}>")
    inside, closed, _ = rest.partition(f"</{tag}>")
    return inside if found and closed else ""


def format_results(results: Mapping[str, object] | tuple[object, str] | None, error_msg: str = "") -> str:
    """A block's variables and error as sent to a model.

    Args:
        results: the variables; or variables and error together, as `execute_sandboxed_code` returns them.
    """
    inside = f"({results}, {{{error_msg}}})" if error_msg else str(results)
    return f"<result>\n{inside}\n</result>"


def load_system_prompt(profile: ModelProfile = DEFAULT) -> str:
    """The system prompt: the file at ``SYSTEM_PROMPT_PATH`` if that is set, else the built-in one for *profile*.

    Raises:
        InvalidInputError: the file cannot be read.
    """
    path = settings.SYSTEM_PROMPT_PATH
    if not path:
        return built_in_prompt(profile)
    try:
        return absolute(path, "SYSTEM_PROMPT_PATH").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError("SYSTEM_PROMPT_PATH", f"{os.fspath(path)!r} cannot be read: {error}") from None


def create_memory_if_not_exists(path: str | os.PathLike[str] | None = None) -> None:
    """Create the folder *path* (by default ``memory_dir``) and its parents; an existing one is left as it is.

    Raises:
        InvalidInputError: *path* is not a path, or the folder cannot be created.
    """
    make_folder(settings.MEMORY_PATH if path is None else path, "path")


def delete_memory(path: str | os.PathLike[str] | None = None) -> None:
    """Delete the folder *path* (by default ``memory_dir``) with everything in it, if it exists.

    Raises:
        InvalidInputError: *path* is not a path or not a folder, or contains the current or the home folder.
        OSError: it cannot be deleted.
    """
    folder = _memory(path)
    kept = [Path.home().resolve(), absolute(os.curdir, "path").resolve()]
    if any(one.is_relative_to(folder.resolve()) for one in kept):
        raise InvalidInputError("path", f"{str(folder)!r} holds more than a memory; name the memory's own folder")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InvalidInputError("path", f"{str(folder)!r} is not a folder; remove it by hand if you mean it")
    if folder.exists():
        shutil.rmtree(folder)


def check_file_size_limit(file_path: str | os.PathLike[str]) -> bool:
    """Whether a note is no larger than `settings.FILE_SIZE_LIMIT`."""
    return _size(file_path) <= settings.FILE_SIZE_LIMIT


def check_dir_size_limit(dir_path: str | os.PathLike[str]) -> bool:
    """Whether everything in a folder together is no larger than `settings.DIR_SIZE_LIMIT`."""
    return _size(dir_path) <= settings.DIR_SIZE_LIMIT


def check_memory_size_limit() -> bool:
    """Whether everything in the current folder together is no larger than `settings.MEMORY_SIZE_LIMIT`."""
    return _size(absolute(os.curdir, "path")) <= settings.MEMORY_SIZE_LIMIT


def check_size_limits(file_or_dir_path: str | os.PathLike[str]) -> bool:
    """Whether a note or folder, its folder and the current folder are within their limits; False if it is missing."""
    if not os.fspath(file_or_dir_path):
        return check_memory_size_limit()
    path = absolute(file_or_dir_path, "file_or_dir_path")
    if path.is_dir():
        return check_dir_size_limit(path) and check_memory_size_limit()
    return (
        path.is_file()
        and check_file_size_limit(path)
        and check_dir_size_limit(path.parent)
        and check_memory_size_limit()
    )


def _memory(path: str | os.PathLike[str] | None) -> Path:
    return absolute(settings.MEMORY_PATH if path is None else path, "path")


def _size(path: str | os.PathLike[str]) -> int:
    """The size of a file, or of all files in a folder, in bytes."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)
