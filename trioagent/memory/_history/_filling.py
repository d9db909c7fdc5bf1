"""Filling a store: new revisions from the journal's closed files and a scan of the notes, by ``git fast-import``.

The owner's changes to the notes are committed first, as "external": found by the contents that rows were based on, and
by comparing the notes with the store's newest revision. The first commit is a baseline, the notes as they were before
the first row. It is made of the notes that no row has changed, and of the content that the first row of each other note
was based on.

We write the store's reference last, and then the rows are removed. A process that dies in between leaves rows that are
in the store already, and are recognised by their sequence numbers and ids.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from ...tools import is_hidden, suffix_of, version_of
from .. import _fsops
from .._paths import Folders
from ._git import Git, open_git
from ._journal import LARGEST_NOTE, read_forgotten, read_rows
from ._messages import CommitData, action_of
from ._revisions import CommitOrigin, HistoryUpdate, RevisedNote
from ._rows import CommitRow, RowChange
from ._store import (
    STORE,
    all_data,
    blob_id,
    commit_command,
    give_files,
    keep_head,
    make_store,
    newest_data,
    newest_notes,
    prune,
    quoted,
    tidy_packs,
)
from ._tips import NoteHashes, NoteStamp

_MODE = b"100644"
_HELD_BYTES = 64 * 1024 * 1024  # of changed notes that are kept from the scan to their commit
_SHOWN_LEFT_OUT = 100
_MAX_FOLDERS, _DEEPEST = 100_000, 128


@attrs.frozen
class OpenHistory:
    """A history whose lock is held.

    Attributes:
        memory: the path of the memory.
        path: the history's folder.
        fd: its descriptor.
        root_fd: that of the memory's folder.
    """

    memory: str
    path: Path
    fd: int
    root_fd: int

    @property
    def store(self) -> Path:
        return self.path / STORE


@attrs.define
class FoundNotes:
    """The result of a scan of the notes, compared with the store's newest revision.

    Attributes:
        changed: path to git's hash of the content, of notes that differ.
        contents: their contents, as far as they are kept.
        gone: notes of the store that no longer exist.
        left_out: notes that are too large to be kept.
    """

    changed: dict[str, str] = attrs.field(factory=dict)
    contents: dict[str, bytes] = attrs.field(factory=dict)
    gone: set[str] = attrs.field(factory=set)
    left_out: list[str] = attrs.field(factory=list)


def look(
    opened: OpenHistory, suffixes: Collection[str], hashes: NoteHashes, check_cancelled: Callable[[], None]
) -> tuple[dict[str, str], FoundNotes]:
    """The first step of filling: the newest notes in the store, created if need be, and how the notes differ."""
    store = make_store(opened.path, opened.fd)
    with open_git(opened.memory, store, check_cancelled) as git:
        known = newest_notes(git)
    before, settled = hashes.take(opened.memory), time.time_ns() - hashes.settle_ns
    after: dict[str, tuple[NoteStamp, str]] = {}
    found = look_at_notes(opened.root_fd, known, opened.fd, suffixes, before, after, settled)
    hashes.put(opened.memory, after)
    return known, found


def put(
    opened: OpenHistory,
    known: dict[str, str],
    found: FoundNotes,
    files: Sequence[str],
    max_bytes: int,
    check_cancelled: Callable[[], None],
) -> tuple[HistoryUpdate, bool]:
    """The last step: add what a scan has found, and the closed files of the journal, which are then removed.

    Returns:
        What was added; and whether another scan is needed, since a note that rows have changed had, when it was
        scanned, another content than the rows gave it: its owner may have changed it since.
    """
    if not files and not found.changed and not found.gone:
        return HistoryUpdate(), False
    with open_git(opened.memory, opened.store, check_cancelled) as git:
        before = git.head()
        filling = Filling(git, opened.fd, opened.root_fd, known, found)
        update = filling.run(files)
        if before and not files and not found.changed and _tree(git, before) == _tree(git, git.head()):
            git.set_head(before)  # a planted tree has names that cannot be removed: avoid a new revision at each scan
            update = HistoryUpdate()
        if git.head():
            keep_head(git, opened.store, opened.fd)
        for name in files:
            _fsops.unlink(name, opened.fd)
        tidy_packs(git, opened.store)
        pruned = prune(git, opened.store, opened.fd, max_bytes)
        give_files(opened.store, opened.fd)
    return attrs.evolve(update, pruned=pruned), filling.is_outdated


def _tree(git: Git, revision: str) -> str:
    return git.text("rev-parse", f"{revision}^{{tree}}")


def look_at_notes(
    root_fd: int,
    known: dict[str, str],
    history_fd: int,
    suffixes: Collection[str],
    before: Mapping[str, tuple[NoteStamp, str]],
    after: dict[str, tuple[NoteStamp, str]],
    settled: int,
) -> FoundNotes:
    """Compare the notes with the store's newest revision.

    Scanned are the files that can be notes or attachments, and those that the store has. It needs no lease: what a
    commit has changed meanwhile is in the journal, and the journal takes precedence.

    Args:
        before, after: cached hashes of notes by the metadata of their files, from the last scan and for the next.
        settled: when a file must have changed last for its hash to be kept, in ns.
    """
    found, forgotten, held = FoundNotes(gone=set(known)), read_forgotten(history_fd), 0
    with Folders(root_fd) as folders:
        waiting = [""]
        for number, folder in enumerate(waiting):
            if number > _MAX_FOLDERS:
                break
            try:
                fd = folders.at(folder)
                entries = [] if fd is None else sorted(_fsops.entries(fd))
            except OSError:  # not readable, so its contents are unknown
                found.gone = {path for path in found.gone if not path.startswith(f"{folder}/")}
                continue
            for name, is_folder, size in entries:
                path = f"{folder}/{name}" if folder else name
                if fd is None or is_hidden(name):
                    continue
                if is_folder:
                    if path.count("/") < _DEEPEST:
                        waiting.append(path)
                    continue
                if path not in known and suffix_of(path) not in suffixes:
                    continue
                if size > LARGEST_NOTE:
                    found.left_out.append(path)
                    found.gone.discard(path)
                    continue
                status = _fsops.lstat(name, fd)
                if status is None:
                    continue
                stamp = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                if path in before and before[path] == (stamp, known.get(path)):
                    after[path] = before[path]
                    found.gone.discard(path)
                    continue
                try:
                    data = _fsops.read(name, fd)
                except OSError:  # not readable, or too large by now
                    found.left_out.append(path)
                    found.gone.discard(path)
                    continue
                if data is None:
                    continue
                found.gone.discard(path)
                blob = blob_id(data)
                if status.st_ctime_ns < settled:
                    after[path] = (stamp, blob)
                if known.get(path) == blob or (path in forgotten and forgotten[path] == version_of(data)):
                    continue
                found.changed[path] = blob
                if held + len(data) <= _HELD_BYTES:
                    held += len(data)
                    found.contents[path] = data
    return found


class Filling:
    """One run of ``git fast-import``: new revisions from the journal's closed files and a scan of the notes."""

    def __init__(self, git: Git, history_fd: int, root_fd: int, known: dict[str, str], found: FoundNotes) -> None:
        self._git, self._history_fd, self._root_fd = git, history_fd, root_fd
        self._blobs, self._found = known, found
        self._parent = git.head()
        self._new_branch = True
        newest = newest_data(git)
        self._sequence = 0 if newest is None else newest.sequence
        self._stored_ids: set[str] | None = None
        self._seen: dict[str, str | None] = {}
        self.commits = self.external = 0

    @property
    def is_outdated(self) -> bool:
        """Whether a note that rows have changed was found with another content."""
        return any(self._blobs.get(path) != blob for path, blob in self._seen.items())

    def run(self, files: Sequence[str]) -> HistoryUpdate:
        """Add everything new; the private folder's reference leads to it afterwards."""
        pieces = self._pieces(files)
        first = next(pieces, None)
        if first is not None:
            self._git.feed(("fast-import", "--quiet", "--done", "--date-format=raw"), _with_first(first, pieces))
        return HistoryUpdate(commits=self.commits, external=self.external)

    def _pieces(self, files: Sequence[str]) -> Iterator[bytes]:
        touched = self._first_changes(files)
        found = self._found
        for path in touched:
            before = None if path in found.gone else self._blobs.get(path)
            self._seen[path] = found.changed.get(path, before)
        moment = next((row.time for row in self._rows(files)), time.time())
        if self._parent:
            yield from self._external(moment, touched)
        else:
            yield from self._baseline(moment, touched)
        for row in self._rows(files):
            yield from self._row(row)

    def _rows(self, files: Iterable[str]) -> Iterator[CommitRow]:
        """The rows that are not in the store yet, without the changes that did not happen."""
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
        """For each note that rows change: the first change."""
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
            left_out=tuple(sorted(left_out)[:_SHOWN_LEFT_OUT]),
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
        """Others' changes to notes that no new row has changed; rows are based on the contents that they found."""
        changed = sorted(self._found.changed.keys() - touched.keys())
        gone = sorted(self._found.gone - touched.keys())
        with Folders(self._root_fd) as folders:
            contents = {path: self._content(folders, path) for path in changed}
        yield from self._commit_external(moment, {**dict.fromkeys(gone), **contents}, frozenset(gone))

    def _content(self, folders: Folders, path: str) -> bytes | None:
        """A changed note, as it was when it was scanned; None if it has changed again: the next scan finds that."""
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
