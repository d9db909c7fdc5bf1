"""Running git over a store of objects that may come from somebody else, with a git folder of our own.

A memory is a folder that people send each other, so anything in its history may have been planted. Git reads
commands from a repository's configuration, hooks and attributes, and objects from wherever its alternates lead. So it
is never run in a folder inside a memory: each time a private one is made elsewhere, with our configuration and no
hooks. Only the objects come from the memory, after they have been checked (`check_objects`). The
environment is ours too: no configuration of the system or the user is read, and no variable of the caller is passed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

import attrs

from ..._errors import MemoryHistoryError

HEAD = "refs/heads/main"
_CONFIG = """[core]
\trepositoryformatversion = 0
\tbare = true
\thooksPath = /dev/null
\tattributesFile = /dev/null
\texcludesFile = /dev/null
\tfsmonitor = false
\tcommitGraph = false
\tmultiPackIndex = false
\tprotectNTFS = false
\tprotectHFS = false
\tlogAllRefUpdates = false
\tuseReplaceRefs = false
\tquotePath = true
[fastimport]
\tunpackLimit = 0
[gc]
\tauto = 0
[maintenance]
\tauto = false
[pack]
\tthreads = 1
[repack]
\twriteBitmaps = false
[protocol]
\tallow = never
"""
STORE_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
"""The configuration of the store itself, for people who look at it with git."""

OLDEST_GIT = (2, 32)
"""Older versions have neither GIT_CONFIG_GLOBAL nor ``repack --geometric``."""

_VERSION_SECONDS = 10.0
_OBJECT_FOLDER, _OBJECT = re.compile(r"[0-9a-f]{2}"), re.compile(r"[0-9a-f]{38}")
_PACK = re.compile(r"pack-[0-9a-f]{40}\.(?:pack|idx|rev|keep)")
_UNFINISHED = re.compile(r"\.?tmp_?[A-Za-z0-9_.-]*|\.tmp-[A-Za-z0-9_.-]*")
_INFO = {"packs"}
_POLL = 0.05  # s between two checks whether the caller has been cancelled
_ERROR_BYTES = 2000


def git_version() -> str | None:
    """The version of the git that is used here, such as "2.39.5"; None if there is none that answers.

    It blocks this thread, for some seconds at most.
    """
    path = _find_git()
    if path is None:
        return None
    try:
        said = subprocess.run(
            [path, "--version"],
            cwd=os.path.sep,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(rb"git version (\d+(?:\.\d+)*)", said.stdout)
    return found[1].decode() if found else None


def is_new_enough(version: str) -> bool:
    """Whether histories can be read and filled with this version of git."""
    return tuple(map(int, version.split(".")[:2])) >= OLDEST_GIT


@attrs.frozen
class Git:
    """Git with a private folder, which is removed at the end.

    Attributes:
        memory: the path of the memory, for errors.
        folder: the private folder.
        objects: the store's objects.
        check_cancelled: raises if the caller has been cancelled.
        poll_seconds: between two calls of it while git works.
    """

    memory: str
    folder: Path
    objects: Path
    check_cancelled: Callable[[], None]
    poll_seconds: float = _POLL

    def output(self, *arguments: str, given: bytes = b"", missing: bool = False) -> bytes | None:
        """The output of git for *arguments*.

        Args:
            given: its standard input.
            missing: a failure means that the object does not exist, and returns None.

        Raises:
            MemoryHistoryError: git failed.
        """
        # From a file: a pipe is no longer written to once `communicate` has been interrupted (as of Python 3.11).
        with tempfile.TemporaryFile() as file:
            file.write(given)
            file.seek(0)
            with self._process(arguments, stdin=file) as process:
                while True:
                    try:
                        data, errors = process.communicate(timeout=self.poll_seconds)
                        break
                    except subprocess.TimeoutExpired:
                        self.check_cancelled()
        if process.returncode:
            if missing:
                return None
            raise self._failure(arguments, errors)
        return data

    def text(self, *arguments: str) -> str:
        """The output, without the last line break."""
        return (self.output(*arguments) or b"").decode("utf-8", "surrogateescape").rstrip("\n")

    def feed(self, arguments: Sequence[str], pieces: Iterable[bytes]) -> None:
        """Run git with *pieces* as its standard input; they are made as it reads them.

        Raises:
            MemoryHistoryError: git failed.
        """
        with tempfile.TemporaryFile() as errors, self._process(arguments, errors=errors) as process:
            assert process.stdin is not None
            try:
                for piece in pieces:
                    self.check_cancelled()
                    process.stdin.write(piece)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it has ended, with an error message
            while True:
                try:
                    process.wait(self.poll_seconds)
                    break
                except subprocess.TimeoutExpired:
                    self.check_cancelled()
            if process.returncode:
                errors.seek(0)
                raise self._failure(arguments, errors.read(_ERROR_BYTES))

    def head(self) -> str:
        """The newest revision's id; "" if there is none."""
        try:
            return (self.folder / HEAD).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""

    def set_head(self, revision: str) -> None:
        path = self.folder / HEAD
        if revision:
            path.write_text(f"{revision}\n", encoding="ascii")
        else:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _process(
        self,
        arguments: Sequence[str],
        *,
        stdin: IO[bytes] | int = subprocess.PIPE,
        errors: IO[bytes] | int = subprocess.PIPE,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A git process; it has ended when the block ends."""
        command = [_git_path(self.memory), "--no-pager", "--literal-pathspecs", *arguments]
        env = {
            "PATH": os.defpath,
            "HOME": str(self.folder),
            "LC_ALL": "C",
            "TZ": "UTC",
            "GIT_DIR": str(self.folder),
            "GIT_OBJECT_DIRECTORY": str(self.objects),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
        }
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            stdin=stdin,
            stdout=subprocess.DEVNULL if errors is not subprocess.PIPE else subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
            process.wait()

    def _failure(self, arguments: Sequence[str], errors: bytes) -> MemoryHistoryError:
        said = errors[:_ERROR_BYTES].decode("utf-8", "replace").strip() or "no message"
        return MemoryHistoryError(self.memory, f"git {arguments[0]} failed: {said}")


def _find_git() -> str | None:
    """The path of git: the system's path is searched first, so that no folder of a user comes before it."""
    return shutil.which("git", path=os.defpath) or shutil.which("git")


def _git_path(memory: str) -> str:
    found = _find_git()
    if found is None:
        problem = "git is not installed, which reads and fills it; install it (as with `apt install git`)"
        raise MemoryHistoryError(memory, f"{problem}. Commits go on being kept, in the journal.")
    return os.path.abspath(found)


@contextlib.contextmanager
def open_git(memory: str, store: Path, check_cancelled: Callable[[], None]) -> Iterator[Git]:
    """Git over the objects of *store*, which exists, with a private folder for this block.

    Raises:
        MemoryHistoryError: the objects include something forbidden, or git is not installed.
    """
    _git_path(memory)
    check_objects(memory, store)
    with tempfile.TemporaryDirectory(prefix="trioagent-git-") as name:
        folder = Path(name)
        (folder / "refs" / "heads").mkdir(parents=True)
        (folder / "objects").mkdir()
        (folder / "HEAD").write_text(f"ref: {HEAD}\n", encoding="ascii")
        (folder / "config").write_text(_CONFIG, encoding="ascii")
        git = Git(memory, folder, store / "objects", check_cancelled)
        git.set_head(read_head(memory, store))
        yield git


def read_head(memory: str, store: Path) -> str:
    """The newest revision's id in a store; "" if there is none.

    Raises:
        MemoryHistoryError: the file contains something else.
    """
    for folder in (store / "refs", store / "refs" / "heads"):
        _check_folder(memory, folder)
    path = store / HEAD
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > 100:
            raise _planted(memory, path)
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""
    if not re.fullmatch(r"[0-9a-f]{40}", text):
        raise _planted(memory, path)
    return text


def check_objects(memory: str, store: Path) -> None:
    """Check that a store's objects folder contains nothing but objects, and no link.

    Files that git has left unfinished are removed.

    Raises:
        MemoryHistoryError: names what may not be there, such as alternates, which would add foreign objects.
    """
    objects = store / "objects"
    for folder in (store, objects):
        _check_folder(memory, folder)
    for entry in _entries(objects):
        if _UNFINISHED.fullmatch(entry.name):
            _remove(Path(entry.path))
        elif entry.name in ("pack", "info") or _OBJECT_FOLDER.fullmatch(entry.name):
            _check_folder(memory, Path(entry.path))
            for inner in _entries(Path(entry.path)):
                _check_object(memory, entry.name, inner)
        else:
            raise _planted(memory, Path(entry.path))


def _check_object(memory: str, folder: str, entry: os.DirEntry[str]) -> None:
    if _UNFINISHED.fullmatch(entry.name):
        _remove(Path(entry.path))
        return
    if folder == "pack":
        known = _PACK.fullmatch(entry.name) is not None
    else:
        known = entry.name in _INFO if folder == "info" else _OBJECT.fullmatch(entry.name) is not None
    if not known or not entry.is_file(follow_symlinks=False):
        raise _planted(memory, Path(entry.path))


def _check_folder(memory: str, folder: Path) -> None:
    try:
        if stat.S_ISDIR(folder.lstat().st_mode):
            return
    except FileNotFoundError:
        raise MemoryHistoryError(memory, f"{str(folder)!r} is missing; restore it, or move the store away") from None
    raise _planted(memory, folder)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _planted(memory: str, path: Path) -> MemoryHistoryError:
    problem = f"{str(path)!r} was not put there by trioagent; look at it, and move it away"
    return MemoryHistoryError(memory, problem)
