"""`MemoryTool`: Anthropic's memory tool over a memory, so that Claude writes into the same notes as agents do.

The commands, and the texts of their results, are those of the tool's documentation (type ``memory_20250818``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from ._errors import InvalidInputError, MemoryRejectedError, MemoryStorageError, WrongContextError
from .memory import ChangeSet, CommitOrigin, Memory, NoteStore, Vault
from .tools import NoteText, Version, version_of

ROOT = "/memories"
MAX_LINES = 999_999
_ORIGIN = CommitOrigin(author="memory tool")
_SNIPPET = 4  # lines shown before and after the changed ones
_LEFT_OUT = "node_modules"
_MISSING = "The path {path} does not exist. Please provide a valid path."
_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "view": ("path",),
    "create": ("path", "file_text"),
    "str_replace": ("path", "old_str", "new_str"),
    "insert": ("path", "insert_line", "insert_text"),
    "delete": ("path",),
    "rename": ("old_path", "new_path"),
}
_CommandPlan = tuple[ChangeSet, Mapping[str, Version | None], str]


class _RefusedCommand(Exception):
    """A command was refused; ``str()`` is the result for the model."""


class MemoryTool:
    """Executes the commands of Anthropic's memory tool: ``view, create, str_replace, insert, delete, rename``.

    Each command that changes something is one commit of the memory, within its policy and limits, and in its history
    if one is kept. Results and errors are texts for the model: nothing is raised for a mistake of the model.

    ::

        tool = MemoryTool(Memory("notes"))
        message = client.messages.create(..., tools=[tool.definition])
        for block in message.content:
            if block.type == "tool_use" and block.name == tool.name:
                result = tool.run_sync(block.input)   # or, in Trio: await tool.run(block.input)

    Args:
        memory: the notes, which are the model's ``/memories``; or their folder.
        origin: the author of the changes, for the history.

    Raises:
        MemoryPathError: the path cannot be that of a memory.
    """

    name = "memory"
    definition: Mapping[str, str] = {"type": "memory_20250818", "name": name}

    def __init__(self, memory: Memory | str | os.PathLike[str], *, origin: CommitOrigin = _ORIGIN) -> None:
        self.memory: Memory = memory if isinstance(memory, Memory) else Memory(memory)
        self._store = NoteStore(self.memory, origin=origin)

    async def run(self, command: Mapping[str, Any]) -> str:
        """Execute a command, the ``input`` of a ``tool_use`` block; returns the result for the model.

        Cancelling: a commit that has begun completes.

        Raises:
            MemoryPathError: the memory's folder cannot be used.
            MemoryStorageError: this process has run out of a resource, such as file descriptors.
        """
        await trio.lowlevel.checkpoint()
        try:
            return await self._run(_checked(command))
        except _RefusedCommand as refusal:
            return str(refusal)
        except InvalidInputError as error:
            return f"Error: {error.problem}"
        except (MemoryRejectedError, MemoryStorageError) as error:
            return f"Error: {error}"

    def run_sync(self, command: Mapping[str, Any]) -> str:
        """`run` for a thread without Trio; it blocks the thread.

        Raises:
            WrongContextError: Trio runs in this thread.
            MemoryPathError: the memory's folder cannot be used.
        """
        if trio.lowlevel.in_trio_run():
            raise WrongContextError("MemoryTool.run_sync", "would block the running Trio loop; use await run(...)")
        return trio.run(self.run, command)

    async def _run(self, command: Mapping[str, Any]) -> str:
        async with self.memory.lease():  # creates the folder
            pass
        match command["command"]:
            case "view":
                return await self._store.look(lambda vault: self._view(vault, command))
            case "rename":
                return await self._store.change(lambda vault: self._rename(vault, command))
            case name:
                plan: Callable[[Vault, str, str, Mapping[str, Any]], _CommandPlan] = {
                    "create": _create,
                    "str_replace": _str_replace,
                    "insert": _insert,
                    "delete": self._delete,
                }[name]
                shown = command["path"]
                return await self._store.change(lambda vault: plan(vault, shown, self._place(shown), command))

    def _place(self, shown: object) -> str:
        """The path in the memory, "" for the memory itself."""
        if not isinstance(shown, str) or (shown != ROOT and not shown.startswith(f"{ROOT}/")):
            raise _RefusedCommand(f"Error: The path {shown!s:.300} is not below {ROOT}. Please provide a valid path.")
        parts = [part for part in shown.removeprefix(ROOT).split("/") if part]
        if any(part in (".", "..") for part in parts) or "\0" in shown:
            raise _RefusedCommand(f"Error: The path {shown:.300} is not below {ROOT}. Please provide a valid path.")
        path = "/".join(parts)
        if path and not (self._store.may_read(path) or self._store.may_read(path, is_folder=True)):
            raise _RefusedCommand(f"Error: {_MISSING.format(path=shown)}")
        return path

    def _view(self, vault: Vault, command: Mapping[str, Any]) -> str:
        shown = command["path"]
        path = self._place(shown)
        kind = "folder" if not path else vault.kind(path)
        if kind == "folder":
            return _listing(vault, shown.rstrip("/"), path)
        if kind != "file" or not self._store.may_read(path):
            raise _RefusedCommand(_MISSING.format(path=shown))
        lines = _lines(NoteText(vault.data(path)).shown)
        if len(lines) > MAX_LINES:
            raise _RefusedCommand(f"File {shown} exceeds maximum line limit of 999,999 lines.")
        first, last = _range(command.get("view_range"), len(lines))
        return f"Here's the content of {shown} with line numbers:\n{_numbered(lines, first, last)}"

    def _delete(self, vault: Vault, shown: str, path: str, command: Mapping[str, Any]) -> _CommandPlan:
        if not path:
            raise _RefusedCommand(f"Error: {ROOT} itself cannot be deleted; delete what is in it")
        kind = vault.kind(path)
        if kind == "file" and self._store.may_read(path):
            changes = ChangeSet(deletes=frozenset({path}))
            return changes, {path: version_of(vault.data(path))}, f"Successfully deleted {shown}"
        if kind != "folder":
            raise _RefusedCommand(f"Error: The path {shown} does not exist")
        files, folders = _inside(vault, path)
        changes = ChangeSet(deletes=frozenset(files), removed_dirs=frozenset(folders))
        return changes, {file: version_of(vault.data(file)) for file in files}, f"Successfully deleted {shown}"

    def _rename(self, vault: Vault, command: Mapping[str, Any]) -> _CommandPlan:
        old_shown, new_shown = command["old_path"], command["new_path"]
        old, new = self._place(old_shown), self._place(new_shown)
        kind = vault.kind(old) if old else ""
        if kind not in ("file", "folder") or (kind == "file" and not self._store.may_read(old)):
            raise _RefusedCommand(f"Error: The path {old_shown} does not exist")
        if not new or vault.has(new):
            raise _RefusedCommand(f"Error: The destination {new_shown} already exists")
        if new.startswith(f"{old}/"):
            raise _RefusedCommand(f"Error: The destination {new_shown} is inside of {old_shown}")
        files, folders = ([old], list[str]()) if kind == "file" else _inside(vault, old)
        data = {file: vault.data(file) for file in files}
        changes = ChangeSet(
            writes={new + file[len(old) :]: content for file, content in data.items()},
            deletes=frozenset(files),
            made_dirs=frozenset(new + folder[len(old) :] for folder in folders),
            removed_dirs=frozenset(folders),
        )
        seen: dict[str, Version | None] = {file: version_of(content) for file, content in data.items()}
        return changes, seen | dict.fromkeys(changes.writes), f"Successfully renamed {old_shown} to {new_shown}"


def _checked(command: object) -> Mapping[str, Any]:
    """The command, if it is complete."""
    name = command.get("command") if isinstance(command, Mapping) else command
    if not isinstance(command, Mapping) or not isinstance(name, str) or name not in _COMMANDS:
        raise _RefusedCommand(f"Error: Unknown command {name!r:.100}; use one of {', '.join(_COMMANDS)}")
    for argument in _COMMANDS[command["command"]]:
        wanted = int if argument == "insert_line" else str
        value = command.get(argument)
        if not isinstance(value, wanted) or isinstance(value, bool):
            kind = "a whole number" if wanted is int else "a text"
            raise _RefusedCommand(f"Error: {command['command']} needs `{argument}`, {kind}, not {value!r:.100}")
    return command


def _create(vault: Vault, shown: str, path: str, command: Mapping[str, Any]) -> _CommandPlan:
    if not path or vault.has(path):
        raise _RefusedCommand(f"Error: File {shown} already exists")
    changes = ChangeSet(writes={path: _encoded(command["file_text"], "file_text")})
    return changes, {path: None}, f"File created successfully at: {shown}"


def _str_replace(vault: Vault, shown: str, path: str, command: Mapping[str, Any]) -> _CommandPlan:
    data = _data(vault, path, f"Error: {_MISSING.format(path=shown)}")
    note, old = NoteText(data), command["old_str"].replace("\r\n", "\n")
    start = note.shown.find(old) if old else -1
    if start < 0:
        said = f"No replacement was performed, old_str `{command['old_str']}` did not appear verbatim in {shown}."
        raise _RefusedCommand(said)
    found = []
    at = start
    while at >= 0:
        found.append(str(note.shown.count("\n", 0, at) + 1))
        at = note.shown.find(old, at + len(old))
    if len(found) > 1:
        raise _RefusedCommand(
            f"No replacement was performed. Multiple occurrences of old_str `{command['old_str']}` in lines: "
            f"{', '.join(found)}. Please ensure it is unique"
        )
    _encoded(command["new_str"], "new_str")
    after = note.splice(start, start + len(old), command["new_str"])
    lines, first = _lines(NoteText(after).shown), int(found[0])
    last = first + command["new_str"].count("\n")
    snippet = _numbered(lines, max(1, first - _SNIPPET), min(len(lines), last + _SNIPPET))
    changes, seen = ChangeSet(writes={path: after}), {path: version_of(data)}
    return changes, seen, f"The memory file has been edited.\n{snippet}".rstrip("\n")


def _insert(vault: Vault, shown: str, path: str, command: Mapping[str, Any]) -> _CommandPlan:
    data = _data(vault, path, f"Error: The path {shown} does not exist")
    note, number = NoteText(data), command["insert_line"]
    lines = _lines(note.shown)
    if not 0 <= number <= len(lines):
        raise _RefusedCommand(
            f"Error: Invalid `insert_line` parameter: {number}. It should be within the range of lines of the file: "
            f"[0, {len(lines)}]"
        )
    text = command["insert_text"]
    _encoded(text, "insert_text")
    at = sum(len(line) + 1 for line in lines[:number])
    if at > len(note.shown):  # the last line has no line end
        at, text = len(note.shown), f"\n{text}"
    if at < len(note.shown) and not text.endswith("\n"):
        text += "\n"
    changes = ChangeSet(writes={path: note.splice(at, at, text)})
    return changes, {path: version_of(data)}, f"The file {shown} has been edited."


def _data(vault: Vault, path: str, missing: str) -> bytes:
    if not path or vault.kind(path) != "file":
        raise _RefusedCommand(missing)
    return vault.data(path)


def _encoded(text: str, argument: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _RefusedCommand(f"Error: `{argument}` holds half a character at {error.start}; leave it out") from None


def _inside(vault: Vault, folder: str) -> tuple[list[str], list[str]]:
    """The files and folders below *folder*, including itself."""
    start = f"{folder}/"
    files = [path for path in vault.sizes() if path.startswith(start)]
    return files, [path for path in vault.folders() if path == folder or path.startswith(start)]


def _listing(vault: Vault, shown: str, path: str) -> str:
    """Two levels of a folder, each entry with the bytes in it."""
    start = f"{path}/" if path else ""
    sizes = {"": 0}
    entries = [*((file, size) for file, size in vault.sizes().items()), *((folder, 0) for folder in vault.folders())]
    for entry, size in entries:
        if not entry.startswith(start):
            continue
        parts = entry[len(start) :].split("/")
        if _LEFT_OUT in parts:
            continue
        sizes[""] += size
        for depth in range(1, min(len(parts), 2) + 1):
            inner = "/".join(parts[:depth])
            sizes[inner] = sizes.get(inner, 0) + size
    head = f"Here're the files and directories up to 2 levels deep in {shown}, excluding hidden items and node_modules:"
    rows = [f"{_human(size)}\t{shown}{'/' if inner else ''}{inner}" for inner, size in sorted(sizes.items())]
    return "\n".join([head, *rows])


def _human(size: float) -> str:
    """Bytes as people write them: 512B, 5.5K, 1.2M."""
    units = iter("BKMG")
    unit = next(units)
    while size >= 1024 and unit != "G":
        size, unit = size / 1024, next(units)
    return f"{size:.1f}".removesuffix(".0") + unit


def _lines(text: str) -> list[str]:
    lines = text.split("\n")
    return lines[:-1] if lines[-1] == "" else lines


def _numbered(lines: Sequence[str], first: int, last: int) -> str:
    return "\n".join(f"{number:>6}\t{lines[number - 1]}" for number in range(first, last + 1))


def _range(wanted: object, count: int) -> tuple[int, int]:
    """The first and last line to show, from 1."""
    if wanted is None:
        return 1, count
    if not (isinstance(wanted, Sequence) and len(wanted) == 2 and all(type(number) is int for number in wanted)):
        raise _RefusedCommand(
            f"Error: Invalid `view_range`: {wanted!r:.100}. It should be two whole numbers, such as [1, 10]"
        )
    first, last = wanted
    if not 1 <= first <= max(count, 1) or (last != -1 and last < first):
        raise _RefusedCommand(
            f"Error: Invalid `view_range`: [{first}, {last}]. It should be within the range of lines of the file: "
            f"[1, {count}]"
        )
    return first, count if last == -1 else min(last, count)
