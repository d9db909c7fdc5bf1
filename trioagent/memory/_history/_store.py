"""The store of a history: a bare git repository, whose newest revision is ``refs/heads/main``.

It is read and rewritten with `_git`; we write the reference, last. To prune and to forget, the history is rewritten
from the same trees by ``git fast-import``, and unreachable objects are removed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from ..._files import write_whole
from .. import _fsops
from .._apply import give_to
from .._paths import Folders, is_inside
from ._git import HEAD, STORE_CONFIG, Git, check_objects
from ._journal import FORGOTTEN, read_forgotten
from ._messages import CommitData
from ._revisions import CommitOrigin

STORE = "notes.git"
_MOST_PACKS = 24
_NOTE_MODES = (b"100644", b"100755")

_log = logging.getLogger("trioagent")


def make_store(history: Path, history_fd: int) -> Path:
    """The folder of the store, created if it does not exist."""
    store = history / STORE
    if not store.is_symlink() and not (store / "HEAD").exists():
        for folder in (store, *(store / name for name in ("objects", "objects/pack", "refs", "refs/heads"))):
            folder.mkdir(mode=0o700, exist_ok=True)
        (store / "config").write_text(STORE_CONFIG, encoding="ascii")
        (store / "HEAD").write_text(f"ref: {HEAD}\n", encoding="ascii")  # last: then the store is complete
        give_files(store, history_fd)
    return store


def give_files(store: Path, history_fd: int) -> None:
    """Give what root makes in a user's memory to that user."""
    owner = _fsops.fstat(history_fd)
    if os.geteuid() or not owner.st_uid:
        return
    for folder, names, files in os.walk(store):
        for name in (".", *names, *files):
            fd = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                give_to(owner, fd)
            finally:
                os.close(fd)


def store_bytes(store: Path) -> int:
    """The size of the objects on the disk."""
    return sum(
        (Path(folder) / name).stat().st_size for folder, _, files in os.walk(store / "objects") for name in files
    )


def blob_id(data: bytes) -> str:
    """Git's hash of a note's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def newest_notes(git: Git) -> dict[str, str]:
    """Path to git's hash of each note in the store's newest revision."""
    head = git.head()
    if not head:
        return {}
    notes = {}
    for entry in (git.output("ls-tree", "-r", "-z", "--full-tree", head) or b"").split(b"\0"):
        if entry:
            fields, _, path = entry.partition(b"\t")
            mode, _, blob = fields.split()
            if mode in _NOTE_MODES and is_inside(os.fsdecode(path)):  # else it was planted
                notes[os.fsdecode(path)] = blob.decode()
    return notes


def commit_command(data: CommitData, parent: str = "") -> bytes:
    """The beginning of a commit for ``git fast-import``."""
    message, when = data.message(), max(int(data.time), 0)
    kind = b"agent" if data.origin.kind in ("agent", "restore", "undo") else data.origin.kind.encode()
    author = data.author.encode("utf-8", "replace")
    command = b"commit %s\nauthor %s <%s@trioagent.invalid> %d +0000\n" % (HEAD.encode(), author, kind, when)
    command += b"committer trioagent <history@trioagent.invalid> %d +0000\ndata %d\n%s\n" % (
        when,
        len(message),
        message,
    )
    return command + (b"from %s\n" % parent.encode() if parent else b"")


def quoted(path: str) -> bytes:
    """A path in the syntax of ``git fast-import``."""
    plain = bytearray(b'"')
    for byte in os.fsencode(path):
        if byte in b'"\\' or byte < 32 or byte == 127:
            plain += b"\\%03o" % byte
        else:
            plain.append(byte)
    return bytes(plain + b'"')


def all_data(git: Git, *arguments: str) -> list[tuple[str, CommitData | None]]:
    """Every revision that ``git log`` with these arguments lists, newest first, with its tree's id after a blank."""
    if not git.head():
        return []
    text = git.output("log", "-z", "--format=%H %T%n%B", "--no-show-signature", *(arguments or (git.head(),))) or b""
    found = []
    for record in text.split(b"\0"):
        if record:
            ids, _, message = record.decode("utf-8", "surrogateescape").partition("\n")
            found.append((ids, CommitData.parse(message)))
    return found


def newest_data(git: Git) -> CommitData | None:
    """The data in the newest revision's message."""
    found = all_data(git, "--max-count=1", git.head())
    return found[0][1] if found else None


def keep_head(git: Git, store: Path, history_fd: int) -> None:
    """Make the private folder's newest revision the store's, with everything that led to it."""
    check_objects(git.memory, store)
    head = git.head()
    if not head:  # everything was forgotten
        (store / HEAD).unlink(missing_ok=True)
        for folder in (store / "objects").iterdir():
            shutil.rmtree(folder)
        (store / "objects" / "pack").mkdir(mode=0o700)
        return
    write_whole(store / HEAD, f"{head}\n".encode(), sync=True)
    give_files(store, history_fd)


def tidy_packs(git: Git, store: Path) -> None:
    """Merge small packs, so that there are never many."""
    if sum(1 for _ in (store / "objects" / "pack").glob("*.pack")) > _MOST_PACKS:
        git.output("repack", "--geometric=2", "-d", "-q")


def drop_unreachable(git: Git) -> None:
    """Remove every object that is unreachable from the newest revision."""
    git.output("repack", "-a", "-d", "-q")
    git.output("prune", "--expire=now")


def prune(git: Git, store: Path, history_fd: int, max_bytes: int) -> int:
    """Drop the oldest revisions until the store is small enough; returns how many were dropped."""
    dropped = 0
    while store_bytes(store) > max_bytes:
        revisions = all_data(git)
        keep = len(revisions) // 2
        if keep < 1:
            break
        oldest, (ids, data) = revisions[-1][1], revisions[keep]
        earlier = 0 if oldest is None else oldest.pruned
        gone = len(revisions) - keep - (1 if earlier else 0)
        newest, tree = ids.split()
        notes = (git.output("ls-tree", "-r", "-z", "--name-only", newest) or b"").count(b"\0")
        moment = time.time() if data is None else data.time
        base = CommitData(
            sequence=0 if data is None else data.sequence,
            time=moment,
            origin=CommitOrigin(kind="baseline"),
            notes=notes,
            pruned=earlier + gone,
        )
        _rewrite(git, [(tree, base), *((ids.split()[1], each) for ids, each in reversed(revisions[:keep]))])
        keep_head(git, store, history_fd)
        drop_unreachable(git)
        dropped += gone
        _log.warning(
            "history of %s: its %d oldest revisions, to %s, were dropped to keep it below %d bytes",
            git.memory,
            gone,
            time.strftime("%Y-%m-%d %H:%M", time.gmtime(moment)),
            max_bytes,
        )
    return dropped


def _rewrite(git: Git, commits: Sequence[tuple[str, CommitData | None]], without: Sequence[str] = ()) -> None:
    """Rewrite the history from these trees and messages, oldest first, without some notes."""
    git.set_head("")

    def pieces() -> Iterator[bytes]:
        for tree, data in commits:
            if data is None:
                data = CommitData(sequence=0, time=0, origin=CommitOrigin(kind="external", said="no commit of ours"))
            yield commit_command(data) + b'M 040000 %s ""\n' % tree.encode()
            for path in without:
                yield b"D " + quoted(path) + b"\n"
        yield b"done\n"

    git.feed(("fast-import", "--quiet", "--done", "--date-format=raw"), pieces())


def forget(git: Git, store: Path, history_fd: int, path: str) -> tuple[tuple[str, ...], int]:
    """Rewrite the history without a note, or a folder of notes. Returns the notes, and how many revisions changed them.

    The messages to the agent at these changes are removed as well, and so are all remaining old objects.
    """

    revisions = all_data(git)
    paths = notes_below(git, path)
    kept: list[tuple[str, CommitData | None]] = []
    changed = 0
    for ids, data in reversed(revisions):
        tree = ids.split()[1]
        if data is not None and any(_is_below(change.path, path) for change in data.changes):
            changed += 1
            rest = tuple(change for change in data.changes if not _is_below(change.path, path))
            if not rest:
                continue
            origin = attrs.evolve(data.origin, said="")
            data = attrs.evolve(data, changes=rest, notes=len(rest), origin=origin)
        kept.append((tree, data))
    if paths or changed:
        _rewrite(git, kept, [path])
        keep_head(git, store, history_fd)
    if git.head():
        drop_unreachable(git)  # always: an earlier call may have died before this step
    return paths, changed


def notes_below(git: Git, path: str) -> tuple[str, ...]:
    """The notes in the history that a path covers: one, or all that were ever in a folder."""
    options = ("-z", "--format=", "--name-only", "--no-renames", "--root", "-m")
    listed = git.output("log", *options, git.head(), "--", path) or b""
    names = {os.fsdecode(name.strip(b"\n")) for name in listed.split(b"\0")}
    return tuple(sorted(name for name in names if _is_below(name, path)))


def _is_below(name: str, path: str) -> bool:
    return name == path or name.startswith(f"{path}/")


def remember_forgotten(history: Path, history_fd: int, root_fd: int, paths: Iterable[str]) -> None:
    """Record that the present contents of these notes must not be kept either, until they change."""
    forgotten = read_forgotten(history_fd)
    with Folders(root_fd) as folders:
        for path in paths:
            version = folders.version(path)
            if version is not None:
                forgotten[path] = version
        forgotten = {path: version for path, version in forgotten.items() if folders.version(path) == version}
    write_whole(history / FORGOTTEN, json.dumps(forgotten).encode())
