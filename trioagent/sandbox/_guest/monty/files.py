"""The block's own ``open``, ``os`` and ``pathlib``: Monty forwards these calls, and they are applied to the view."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Any

from pydantic_monty import NOT_HANDLED, MontyFileHandle, ScanEntry, StatResult

from ....tools import SeenLog, version_of
from .view import View, ViewFolder, fail

MAX_ENTRIES = 100_000
MAX_RANDOM = 1024 * 1024


class Files:
    """Answers Monty's calls to the operating system. The memory is ``/``; nothing else exists.

    Args:
        seen: records each note that the block opens to read, and each that it changes.
    """

    def __init__(self, view: View, seen: SeenLog) -> None:
        self._view, self._seen = view, seen
        self._answers: dict[str, Callable[..., Any]] = {
            "Path.exists": lambda path: bool(self._kind(path)),
            "Path.is_file": lambda path: self._kind(path) == "file",
            "Path.is_dir": lambda path: self._kind(path) == "folder",
            "Path.is_symlink": lambda path: False,
            "open": self._open,
            "Path.read_text": self._read_text,
            "Path.read_bytes": self._read,
            "Path.write_text": lambda path, data: self._write(path, data.encode(), len(data)),
            "Path.write_bytes": lambda path, data: self._write(path, data, len(data)),
            "Path.append_text": lambda path, data: self._append(path, data.encode(), len(data)),
            "Path.append_bytes": lambda path, data: self._append(path, data, len(data)),
            "Path.mkdir": self._make_folder,
            "Path.unlink": self._remove,
            "Path.rmdir": self._remove_folder,
            "Path.iterdir": lambda path: [f"/{name}" for name in self._children(relative(path))],
            "Path.scan": self._scan,
            "Path.stat": self._stat,
            "Path.rename": self._rename,
            "Path.resolve": lambda path: f"/{relative(path)}",
            "Path.absolute": lambda path: f"/{relative(path)}",
            "os.getenv": lambda key, default=None: default,
            "os.environ": dict,
            "os.urandom": _random,
        }

    def __call__(self, *, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], **_: Any) -> Any:
        answer = self._answers.get(name)
        if answer is None:
            return NOT_HANDLED
        try:
            return answer(*args, **kwargs)
        except OSError as error:
            # As an interpreter on a disk would report it: with the path as given.
            if error.errno is None or not args:
                raise
            error.filename = named(args[0])
            raise

    def _kind(self, path: Any) -> str:
        try:
            return self._view.kind(relative(path))
        except OSError:
            return ""

    def _at(self, path: str, do: Callable[[ViewFolder, str], Any]) -> Any:
        folder, _, name = path.rpartition("/")
        if not name:
            fail(errno.EISDIR, path)
        with self._view.folder(folder) as here:
            assert isinstance(here, ViewFolder)
            return do(here, name)

    def _open(self, path: Any, mode: str) -> MontyFileHandle:
        relative_path = relative(path)
        kind = self._view.kind(relative_path)
        if kind == "folder":
            fail(errno.EISDIR, relative_path)
        if kind == "other":
            fail(errno.ELOOP, relative_path)
        if "w" not in mode and not self._seen.knows(relative_path):
            self._seen.read(relative_path, self._view.version(relative_path))
        if "r" in mode:
            if not kind:
                fail(errno.ENOENT, relative_path)
        elif "w" in mode or not kind:
            self._write(path, b"", 0)
        return MontyFileHandle(f"/{relative_path}", mode)

    def _read(self, path: Any) -> bytes:
        relative_path = relative(path)
        kind = self._view.kind(relative_path)
        if kind in ("folder", "other"):
            fail(errno.EISDIR if kind == "folder" else errno.ELOOP, relative_path)
        if not kind:
            self._seen.read(relative_path, None)
        data = self._view.read(relative_path)
        if not self._seen.knows(relative_path):
            self._seen.read(relative_path, version_of(data))
        return data

    def _read_text(self, path: Any) -> str:
        return self._read(path).decode().replace("\r\n", "\n").replace("\r", "\n")

    def _write(self, path: Any, data: bytes, count: int) -> int:
        relative_path = relative(path)
        self._changes(relative_path)
        self._at(relative_path, lambda folder, name: folder.write(name, data))
        return count

    def _changes(self, relative_path: str) -> None:
        """Called before a note is changed, created or removed; anything else has no version, and no call changes it."""
        if self._view.kind(relative_path) in ("folder", "other"):
            return
        self._seen.change(relative_path, None if self._seen.knows(relative_path) else self._view.version(relative_path))

    def _append(self, path: Any, data: bytes, count: int) -> int:
        relative_path = relative(path)
        old = self._read(path) if self._view.kind(relative_path) == "file" else b""
        return self._write(path, old + data, count)

    def _make_folder(self, path: Any, parents: bool = False, exist_ok: bool = False) -> None:
        relative_path = relative(path)
        if self._view.kind(relative_path) == "folder":
            if not exist_ok:
                fail(errno.EEXIST, relative_path)
        elif parents:
            with self._view.folder(relative_path, make=True):
                return
        else:
            self._at(relative_path, lambda folder, name: folder.make_folder(name))

    def _remove(self, path: Any) -> None:
        self._changes(relative(path))
        self._at(relative(path), lambda folder, name: folder.remove(name))

    def _remove_folder(self, path: Any) -> None:
        self._at(relative(path), lambda folder, name: folder.remove_folder(name))

    def _children(self, path: str) -> list[str]:
        with self._view.folder(path) as folder:
            start = f"{path}/" if path else ""
            return sorted(start + entry.name for entry in folder.scan())

    def _scan(self, path: Any, *, max_depth: int | None = None, **_: Any) -> list[ScanEntry]:
        """A folder and everything below it, *max_depth* levels deep. Links are never followed."""
        top = relative(path)
        if not self._view.kind(top):
            fail(errno.ENOENT, top)
        found: list[ScanEntry] = []
        waiting = [("", 0)]
        while waiting:
            here, depth = waiting.pop()
            relative_path = "/".join(filter(None, (top, here)))
            kind = self._kind(f"/{relative_path}")
            found.append(ScanEntry(here, kind == "folder", kind == "file", False))
            if len(found) > MAX_ENTRIES:
                raise RuntimeError(f"more than {MAX_ENTRIES} files and folders")
            if kind == "folder" and (max_depth is None or depth < max_depth):
                names = [child.rpartition("/")[2] for child in self._children(relative_path)]
                waiting += [(f"{here}/{name}" if here else name, depth + 1) for name in reversed(names)]
        return found

    def _stat(self, path: Any) -> StatResult:
        relative_path = relative(path)
        if not relative_path:
            return StatResult.dir_stat()
        info: os.stat_result = self._at(relative_path, lambda folder, name: folder.stat(name))
        if stat.S_ISDIR(info.st_mode):
            return StatResult.dir_stat(mtime=info.st_mtime)
        return StatResult.file_stat(info.st_size, mtime=info.st_mtime)

    def _rename(self, path: Any, target: Any) -> None:
        source, goal = relative(path), relative(target)
        if not self._view.kind(source):
            fail(errno.ENOENT, source)
        if source == goal:
            return
        if f"{goal}/".startswith(f"{source}/") or not goal:
            fail(errno.EINVAL, source)
        if self._view.kind(source) != "folder":
            data = self._view.read(source)
            self._write(f"/{goal}", data, len(data))
            self._remove(f"/{source}")
            return
        if self._view.kind(goal) == "folder":
            self._remove_folder(f"/{goal}")
        self._make_folder(f"/{goal}")
        for child in self._children(source):
            self._rename(f"/{child}", f"/{goal}/{child.rpartition('/')[2]}")
        self._remove_folder(f"/{source}")


def named(path: Any) -> str:
    return path.path if isinstance(path, MontyFileHandle) else str(path)


def relative(path: Any) -> str:
    """A path from Monty (absolute, with the memory as ``/``) relative to the memory; ``..`` stops at the top."""
    text = named(path)
    if "\0" in text:
        raise ValueError("embedded null byte")
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _random(size: int) -> bytes:
    if size > MAX_RANDOM:
        raise MemoryError(f"os.urandom: more than {MAX_RANDOM} bytes")
    return os.urandom(size)
