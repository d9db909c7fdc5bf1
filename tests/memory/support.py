"""A model of a memory as plain data, and a switch in the file operations of a commit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from trioagent.memory import ChangeSet, Knowledge, Receipt, SeenNotes, UndoLog, _fsops
from trioagent.memory._commit import LeasedMemory, commit
from trioagent.memory._recovery import recover
from trioagent.memory._sizes import SizesCache

PRIVATE = ".trioagent"
CHANGING = (
    "create",
    "write",
    "chmod",
    "chown",
    "set_times",
    "fsync",
    "rename",
    "rename_new",
    "exchange",
    "unlink",
    "mkdir",
    "rmdir",
    "open_append",
    "set_attribute",
    "truncate",
)
LOOKING = ("open_dir", "fstat", "lstat", "may_change", "read", "version", "settled_version", "attributes", "sha256")
ATTRIBUTES = ("kept_attributes", "default_access_list")
ALL = (*CHANGING, *LOOKING, "names", "entries", "read_at", "mark", "set_mark", *ATTRIBUTES)


@attrs.define
class Tree:
    """Notes and folders of a memory."""

    notes: dict[str, bytes] = attrs.field(factory=dict)
    folders: set[str] = attrs.field(factory=set)

    def copy(self) -> Tree:
        return Tree(dict(self.notes), set(self.folders))

    def write(self, path: str, data: bytes) -> None:
        self.delete(path)
        self.make(os.path.dirname(path))
        self.notes[path] = data

    def make(self, path: str) -> None:
        if path:
            self.make(os.path.dirname(path))
            self.notes.pop(path, None)
            self.folders.add(path)

    def delete(self, path: str) -> None:
        inside = path + "/"
        self.notes = {p: data for p, data in self.notes.items() if p != path and not p.startswith(inside)}
        self.folders = {p for p in self.folders if p != path and not p.startswith(inside)}

    def lay_down(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        for folder in sorted(self.folders):
            (root / folder).mkdir()
        for path, data in self.notes.items():
            (root / path).write_bytes(data)

    def changes_to(self, view: Tree) -> ChangeSet:
        return ChangeSet(
            writes={p: data for p, data in view.notes.items() if self.notes.get(p) != data},
            deletes=frozenset(self.notes.keys() - view.notes.keys()),
            made_dirs=frozenset(view.folders - self.folders),
            removed_dirs=frozenset(self.folders - view.folders),
        )


def read_tree(root: Path) -> Tree:
    """The files of a memory, except for our own."""
    tree = Tree()
    for folder, folders, notes in os.walk(root):
        here = os.path.relpath(folder, root)
        if here == ".":
            folders[:] = [name for name in folders if name != PRIVATE]
        for name in folders:
            tree.folders.add(os.path.normpath(os.path.join(here, name)))
        for name in notes:
            tree.notes[os.path.normpath(os.path.join(here, name))] = Path(folder, name).read_bytes()
    return tree


CACHE = SizesCache()
"""Of the commits that a test makes without a trio run."""


@contextmanager
def opened(root: Path, *, cache: SizesCache = CACHE, **settings: Any) -> Iterator[LeasedMemory]:
    root.mkdir(exist_ok=True)
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield LeasedMemory(str(root), fd, cache, **settings)
    finally:
        os.close(fd)


def commit_now(
    root: Path,
    changes: ChangeSet,
    *,
    knowledge: Knowledge | None = None,
    reads: tuple[str, ...] = (),
    seen: SeenNotes = SeenNotes(),  # noqa: B008 - frozen
    receipt: Receipt | None = None,
    undo: UndoLog | None = None,
    **settings: Any,
) -> bool:
    """A commit without a lease, in this thread."""
    with opened(root, **settings) as leased:
        return commit(leased, changes, knowledge=knowledge, reads=reads, seen=seen, receipt=receipt, undo=undo)


def recover_now(root: Path, **settings: Any) -> bool:
    with opened(root, **settings) as leased:
        return recover(leased)


@contextmanager
def switched(
    at_step: Callable[[int, str, Callable[..., Any], tuple[Any, ...]], Any], names: tuple[str, ...] = CHANGING
) -> Iterator[None]:
    """Pass every file operation of the given kinds to ``at_step(number, name, operation, arguments)``."""
    count = 0

    def wrap(name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any) -> Any:
            nonlocal count
            count += 1
            return at_step(count, name, operation, args)

        return step

    originals = {name: getattr(_fsops, name) for name in names}
    try:
        for name, operation in originals.items():
            setattr(_fsops, name, wrap(name, operation))
        yield
    finally:
        for name, operation in originals.items():
            setattr(_fsops, name, operation)


@contextmanager
def counted(names: tuple[str, ...] = ALL) -> Iterator[list[str]]:
    """The names of the file operations done meanwhile."""
    done: list[str] = []

    def note(number: int, name: str, operation: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        done.append(name)
        return operation(*args)

    with switched(note, names):
        yield done


def before() -> Tree:
    """A memory for the crash tests."""
    tree = Tree()
    tree.write("user.md", b"# Ada\n")
    tree.write("entities/berlin.md", b"a city\n")
    tree.write("entities/old.md", b"to be deleted\n")
    tree.write("archive/2020/note.md", b"gone soon\n")
    tree.write("plain", b"a note that becomes a folder\n")
    tree.write("folder/inner.md", b"a folder that becomes a note\n")
    return tree


def scenarios() -> dict[str, tuple[Tree, Receipt | None]]:
    """Name to what the memory becomes, and with which receipt."""
    one, new, many, gone, swap, deep = (before() for _ in range(6))
    one.write("user.md", b"# Ada Lovelace\n")
    new.write("people/friends/bob.md", b"# Bob\n")
    for number in range(5):
        many.write(f"entities/e{number}.md", b"x" * number)
    many.write("user.md", b"# Ada [[entities/e1]]\n")
    gone.delete("archive")
    gone.delete("entities/old.md")
    swap.delete("plain")
    swap.write("plain/inside.md", b"now a folder\n")
    swap.write("folder", b"now a note\n")
    deep.write("a/b/c/d.md", b"deep\n")
    deep.make("empty/one")
    deep.delete("entities")
    receipt = Receipt("job 7, block 2", b'{"turn": 2}')
    return {
        "one note": (one, None),
        "one note and a receipt": (one, receipt),
        "a receipt alone": (before(), receipt),
        "new folders": (new, None),
        "many notes": (many, receipt),
        "deletions": (gone, None),
        "notes and folders swapped": (swap, receipt),
        "all of it": (deep, receipt),
    }


REPOSITORY = Path(__file__).parents[2]
_WITH_TMPFS = """
import ctypes, errno, os, sys
import trio
from trioagent._errors import MemoryProtectedError, MemoryStorageError
from trioagent.memory import ChangeSet, Memory
uid, gid, folder = os.getuid(), os.getgid(), sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
if libc.unshare(0x10000000 | 0x20000):
    print("SKIP user namespaces are refused here:", os.strerror(ctypes.get_errno())); sys.exit()
for file, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
    with open("/proc/self/" + file, "w") as out:
        out.write(text)
if libc.mount(b"none", folder.encode(), b"tmpfs", 0, b"size=256k"):
    print("SKIP mounting a tmpfs is refused here:", os.strerror(ctypes.get_errno())); sys.exit()

async def save(root, writes):
    async with Memory(root).lease() as lease:
        await lease.commit(ChangeSet(writes=writes))

def refused(root, writes):
    try:
        trio.run(save, root, writes)
    except MemoryStorageError as error:
        assert not error.pending
        return error.errno
    raise AssertionError("it was saved")
"""


def run_python(script: str, *arguments: object) -> str:
    """What another Python process prints; its failure is ours."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def run_with_tmpfs(script: str, folder: Path) -> None:
    """Run *script* (it may use ``save``, ``refused``, ``folder``) with a 256 KiB file system on *folder*."""
    said = run_python(_WITH_TMPFS + script, folder)
    if said.startswith("SKIP"):
        pytest.skip(said)
