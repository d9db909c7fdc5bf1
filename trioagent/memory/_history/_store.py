"""The store of a history: a bare git repository, filled in batches from the journal by ``git fast-import``.

What the owner of the notes changed is committed first, as "external": by the contents that rows were based on, and by
comparing the notes with the store's newest revision. The first commit is a baseline, the notes as they were before the
first row; it is made of the notes that no row has changed, and of what the first row of each other one was based on.

The store's reference is written last, by us, and then the rows go. Whoever dies in between leaves rows that are in the
store already, and are known by their sequence numbers and ids.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from ..._files import write_whole
from ...tools import is_hidden, suffix_of, version_of
from .. import _fsops
from .._apply import give_to
from .._paths import Folders
from ._git import HEAD, STORE_CONFIG, Git, check_objects
from ._journal import FORGOTTEN, LARGEST_NOTE, CommitRow, RowChange, read_forgotten, read_rows
from ._messages import CommitData, action_of
from ._revisions import CommitOrigin, HistoryUpdate, RevisedNote

STORE = "notes.git"
_MODE = b"100644"
_HELD_BYTES = 64 * 1024 * 1024  # of changed notes that are kept from the look at them to their commit
_MOST_PACKS = 24
_SHOWN_LEFT_OUT = 100
_MAX_FOLDERS = 100_000

_log = logging.getLogger("trioagent")


@attrs.define
class FoundNotes:
    """What a look at the notes found, compared with the store's newest revision.

    Attributes:
        changed: path to git's hash of the content, of notes that differ.
        contents: of them, as far as they are kept.
        gone: notes of the store that are not there.
        left_out: notes that are too large to be kept.
    """

    changed: dict[str, str] = attrs.field(factory=dict)
    contents: dict[str, bytes] = attrs.field(factory=dict)
    gone: set[str] = attrs.field(factory=set)
    left_out: list[str] = attrs.field(factory=list)


def make_store(history: Path, history_fd: int) -> Path:
    """The folder of the store, made if it is not there."""
    store = history / STORE
    if not store.is_symlink() and not (store / "HEAD").exists():
        for folder in (store, *(store / name for name in ("objects", "objects/pack", "refs", "refs/heads"))):
            folder.mkdir(mode=0o700, exist_ok=True)
        (store / "config").write_text(STORE_CONFIG, encoding="ascii")
        (store / "HEAD").write_text(f"ref: {HEAD}\n", encoding="ascii")  # last: then it is whole
        give_files(store, history_fd)
    return store


def give_files(store: Path, history_fd: int) -> None:
    """What root makes in somebody's memory belongs to that somebody."""
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
    """How much the objects take on the disk."""
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
            notes[os.fsdecode(path)] = fields.split()[2].decode()
    return notes


def look_at_notes(root_fd: int, known: dict[str, str], history_fd: int, suffixes: Collection[str]) -> FoundNotes:
    """Compare the notes with the store's newest revision.

    Looked at are the files that can be notes or attachments, and those that the store knows. It needs no lease: what a
    commit has changed meanwhile is in the journal, and that counts.
    """
    found, forgotten, held = FoundNotes(gone=set(known)), read_forgotten(history_fd), 0
    with Folders(root_fd) as folders:
        waiting = [""]
        for number, folder in enumerate(waiting):
            fd = folders.at(folder)
            if fd is None or number > _MAX_FOLDERS:
                continue
            for name, is_folder, size in sorted(_fsops.entries(fd)):
                path = f"{folder}/{name}" if folder else name
                if is_hidden(name):
                    continue
                if is_folder:
                    if path.count("/") < 128:
                        waiting.append(path)
                    continue
                if path not in known and suffix_of(path) not in suffixes:
                    continue
                if size > LARGEST_NOTE:
                    found.left_out.append(path)
                    found.gone.discard(path)
                    continue
                data = _fsops.read(name, fd, LARGEST_NOTE + 1)
                if data is None:
                    continue
                found.gone.discard(path)
                blob = blob_id(data)
                if known.get(path) == blob or (path in forgotten and forgotten[path] == version_of(data)):
                    continue
                found.changed[path] = blob
                if held + len(data) <= _HELD_BYTES:
                    held += len(data)
                    found.contents[path] = data
    return found


class Filling:
    """One run of ``git fast-import``: from the journal's closed files and a look at the notes to new revisions."""

    def __init__(self, git: Git, history_fd: int, root_fd: int, known: dict[str, str], found: FoundNotes) -> None:
        self._git, self._history_fd, self._root_fd = git, history_fd, root_fd
        self._blobs, self._found = known, found
        self._parent = git.head()
        self._new_branch = True
        newest = newest_data(git)
        self._sequence = 0 if newest is None else newest.sequence
        self._stored_ids: set[str] | None = None
        self.commits = self.external = 0

    def run(self, files: Sequence[str]) -> HistoryUpdate:
        """Add all that is new; the private folder's reference leads to it afterwards."""
        pieces = self._pieces(files)
        first = next(pieces, None)
        if first is not None:
            self._git.feed(("fast-import", "--quiet", "--done", "--date-format=raw"), _with_first(first, pieces))
        return HistoryUpdate(commits=self.commits, external=self.external)

    def _pieces(self, files: Sequence[str]) -> Iterator[bytes]:
        touched = self._first_changes(files)
        moment = next((row.time for row in self._rows(files)), time.time())
        if self._parent:
            yield from self._external(moment, touched)
        else:
            yield from self._baseline(moment, touched)
        for row in self._rows(files):
            yield from self._row(row)

    def _rows(self, files: Iterable[str]) -> Iterator[CommitRow]:
        """The rows that are not in the store yet, without what they say that did not happen."""
        before: CommitRow | None = None
        for name in files:
            for row in read_rows(name, self._history_fd):
                if row.void is not None:
                    if before is not None and before.id == row.id:
                        kept = tuple(change for change in before.changes if change.path not in row.void)
                        before = attrs.evolve(before, changes=kept)
                    continue
                if before is not None:
                    yield before
                before = None if self._is_stored(row) else row
        if before is not None:
            yield before

    def _is_stored(self, row: CommitRow) -> bool:
        if row.sequence > self._sequence:
            return False
        if self._stored_ids is None:
            self._stored_ids = {data.id for _, data in all_data(self._git) if data is not None}
        return row.id in self._stored_ids

    def _first_changes(self, files: Sequence[str]) -> dict[str, RowChange]:
        """Of each note that rows change: the first change."""
        first: dict[str, RowChange] = {}
        for row in self._rows(files):
            for change in row.changes:
                base = None if self._parent else change.base
                first.setdefault(change.path, attrs.evolve(change, content=None, base=base))
        return first

    def _baseline(self, moment: float, touched: dict[str, RowChange]) -> Iterator[bytes]:
        notes, left_out = {}, list(self._found.left_out)
        for path, change in touched.items():
            if change.base is not None:
                notes[path] = change.base
            elif change.before is not None:
                left_out.append(path)
        names = sorted({*notes, *(self._found.changed.keys() - touched.keys())})
        if not names:
            return
        origin = CommitOrigin(kind="baseline")
        data = CommitData(
            sequence=self._sequence,
            time=moment,
            origin=origin,
            notes=len(names),
            left_out=tuple(sorted(left_out)[:100]),
        )
        yield self._begin(data)
        with Folders(self._root_fd) as folders:
            for path in names:
                content = notes.get(path)
                if content is None:
                    content = self._content(folders, path)
                if content is not None:
                    yield self._modify(path, content)
        self.external += 1

    def _external(self, moment: float, touched: dict[str, RowChange]) -> Iterator[bytes]:
        """What others have changed, of notes that no new row has changed; those are based on what they found."""
        changed = sorted(self._found.changed.keys() - touched.keys())
        gone = sorted(self._found.gone - touched.keys())
        with Folders(self._root_fd) as folders:
            contents = {path: self._content(folders, path) for path in changed}
        yield from self._commit_external(moment, {**dict.fromkeys(gone), **contents}, frozenset(gone))

    def _content(self, folders: Folders, path: str) -> bytes | None:
        """A changed note, as it was when it was looked at; None if it has changed again: it is seen the next time."""
        data = self._found.contents.get(path)
        if data is None:
            data = folders.read(path, 2 * LARGEST_NOTE)
            if data is None or blob_id(data) != self._found.changed[path]:
                return None
        return data

    def _commit_external(
        self, moment: float, contents: dict[str, bytes | None], gone: Collection[str]
    ) -> Iterator[bytes]:
        changes = []
        for path, content in contents.items():
            if content is not None:
                after = version_of(content)
                changes.append(RevisedNote(path, "changed" if path in self._blobs else "added", None, after))
            elif path in gone:
                changes.append(RevisedNote(path, "deleted"))
        if not changes:
            return
        origin = CommitOrigin(kind="external")
        data = CommitData(
            sequence=self._sequence, time=moment, origin=origin, changes=tuple(changes), notes=len(changes)
        )
        yield from self._commit(data, contents)
        self.external += 1

    def _row(self, row: CommitRow) -> Iterator[bytes]:
        changes = [change for change in row.changes if not is_hidden(change.path)]
        between: dict[str, bytes | None] = {}
        for change in changes:
            if change.base is not None:
                if self._blobs.get(change.path) != blob_id(change.base):
                    between[change.path] = change.base
            elif change.before is None and change.path in self._blobs:
                between[change.path] = None
        yield from self._commit_external(row.time, between, [path for path, base in between.items() if base is None])
        self._sequence = max(self._sequence, row.sequence)
        if changes:
            revised = [
                RevisedNote(
                    change.path, action_of(change.before, change.after), change.before, change.after, change.mode
                )
                for change in changes
            ]
            yield from self._commit(
                CommitData.of_row(row, revised), {change.path: change.content for change in changes}
            )
            self.commits += 1

    def _commit(self, data: CommitData, contents: dict[str, bytes | None]) -> Iterator[bytes]:
        yield self._begin(data)
        revised = {change.path for change in data.changes}
        for path in contents:
            if path in revised and contents[path] is None:
                self._blobs.pop(path, None)
                yield b"D " + quoted(path) + b"\n"
        for path, content in contents.items():
            if content is not None:
                yield self._modify(path, content)

    def _begin(self, data: CommitData) -> bytes:
        parent = self._parent if self._new_branch else ""
        self._new_branch = False
        return commit_command(data, parent)

    def _modify(self, path: str, content: bytes) -> bytes:
        self._blobs[path] = blob_id(content)
        return b"M %s inline %s\ndata %d\n%s\n" % (_MODE, quoted(path), len(content), content)


def _with_first(first: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from pieces
    yield b"done\n"


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
    """A path as ``git fast-import`` reads it."""
    plain = bytearray(b'"')
    for byte in os.fsencode(path):
        if byte in b'"\\' or byte < 32 or byte == 127:
            plain += b"\\%03o" % byte
        else:
            plain.append(byte)
    return bytes(plain + b'"')


def all_data(git: Git, *arguments: str) -> list[tuple[str, CommitData | None]]:
    """Every revision that ``git log`` with these arguments names, newest first, with its tree's id behind a blank."""
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
    """What the newest revision's message holds."""
    found = all_data(git, "--max-count=1", git.head())
    return found[0][1] if found else None


def keep_head(git: Git, store: Path, history_fd: int) -> None:
    """Make the private folder's newest revision the store's: from now on it has all that led there."""
    check_objects(git.memory, store)
    head = git.head()
    if not head:  # everything is forgotten
        (store / HEAD).unlink(missing_ok=True)
        for folder in (store / "objects").iterdir():
            shutil.rmtree(folder)
        (store / "objects" / "pack").mkdir(mode=0o700)
        return
    write_whole(store / HEAD, f"{head}\n".encode(), sync=True)
    give_files(store, history_fd)


def tidy_packs(git: Git, store: Path) -> None:
    """Join small packs, so that there are never many."""
    if sum(1 for _ in (store / "objects" / "pack").glob("*.pack")) > _MOST_PACKS:
        git.output("repack", "--geometric=2", "-d", "-q")


def drop_unreachable(git: Git) -> None:
    """Remove every object that the newest revision does not lead to."""
    git.output("repack", "-a", "-d", "-q")
    git.output("prune", "--expire=now")


def prune(git: Git, store: Path, max_bytes: int) -> int:
    """Drop the oldest revisions until the store is small enough; how many were dropped."""
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
    """Make the history anew of these trees and messages, oldest first, without some notes."""
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


def forget(git: Git, path: str) -> tuple[tuple[str, ...], int]:
    """Make the history anew without a note, or a folder of notes: the notes, and how many revisions had changed them.

    What was said when they were changed goes as well. What remains of the old objects is removed.
    """

    def is_meant(name: str) -> bool:
        return name == path or name.startswith(f"{path}/")

    revisions = all_data(git)
    listed = git.output("log", "-z", "--format=", "--name-only", "--no-renames", "--root", "-m", git.head(), "--", path)
    names = {os.fsdecode(name.strip(b"\n")) for name in (listed or b"").split(b"\0")}
    paths = tuple(sorted(name for name in names if is_meant(name)))
    kept: list[tuple[str, CommitData | None]] = []
    changed = 0
    for ids, data in reversed(revisions):
        tree = ids.split()[1]
        if data is not None and any(is_meant(change.path) for change in data.changes):
            changed += 1
            rest = tuple(change for change in data.changes if not is_meant(change.path))
            if not rest:
                continue
            origin = attrs.evolve(data.origin, said="")
            data = attrs.evolve(data, changes=rest, notes=len(rest), origin=origin)
        kept.append((tree, data))
    if paths or changed:
        _rewrite(git, kept, [path])
        if git.head():
            drop_unreachable(git)
    return paths, changed


def remember_forgotten(history: Path, history_fd: int, root_fd: int, paths: Iterable[str]) -> None:
    """Note that what these notes hold now is not to be kept either, until they change."""
    forgotten = read_forgotten(history_fd)
    with Folders(root_fd) as folders:
        for path in paths:
            version = folders.version(path)
            if version is not None:
                forgotten[path] = version
        forgotten = {path: version for path, version in forgotten.items() if folders.version(path) == version}
    write_whole(history / FORGOTTEN, json.dumps(forgotten).encode())
