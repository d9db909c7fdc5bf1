"""Images: the contents of notes before a job's blocks changed them, and rolling the changes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
import trio

from .._errors import MemoryConflictError, MemoryRejectedError
from ..memory import NO_ORIGIN, ChangeSet, CommitOrigin, Knowledge, Memory, UndoLog, UndoStep
from ..tools import version_of
from ._events import NoteImage, ResultEvent

MOST_BYTES = 1024 * 1024
"""Total size of one block's images; larger notes are not kept."""


def images_of(undo: UndoLog) -> dict[str, NoteImage]:
    """The contents that the last commit in *undo* replaced; that commit is removed from it. Empty without changes."""
    if not undo.steps:
        return {}
    step = undo.steps.pop()
    images = {path: NoteImage(data, step.modes.get(path)) for path, data in step.before.items()}
    images |= {path: NoteImage(mode=step.modes.get(path), lost=True) for path in step.lost}
    images |= {f"{path}/": NoteImage() for path in step.made}
    return images | {f"{path}/": NoteImage(b"", step.modes.get(path)) for path in step.removed}


async def take_back(
    memory: Memory, results: Iterable[ResultEvent], origin: CommitOrigin = NO_ORIGIN
) -> tuple[str, ...]:
    """Restore notes to their contents before *results*, atomically; doing it twice does no harm.

    Returns:
        The notes that are left unchanged: somebody else has changed them since, or their old content was not kept.

    Raises:
        MemoryPathError, MemoryStorageError: the memory cannot be used; nothing was changed.
    """
    results = list(results)
    undo, left = _undo_of(results)
    changes, expected = undo.changes(), {**undo.versions()}
    if not await trio.Path(memory.path).is_dir():
        return ()
    try:
        async with memory.lease() as lease:
            while changes := _without(changes, left):
                try:
                    # A note that has its old content already is not a change, and causes no conflict.
                    seen = Knowledge(seen=dict(expected), blind_overwrite="allow")
                    await lease.commit(changes, knowledge=seen, origin=attrs.evolve(origin, kind="undo"))
                except MemoryConflictError as conflict:
                    if not left < (left := left | set(conflict.paths)):
                        raise
                else:
                    break
    except MemoryRejectedError:
        left |= set(expected)  # nothing was changed
    return tuple(sorted(left))


def _undo_of(results: Iterable[ResultEvent]) -> tuple[UndoLog, set[str]]:
    """The log to undo the results, and the notes for which that is known to be impossible."""
    undo, left, after = UndoLog(), set[str](), dict[str, str | None]()
    for result in results:
        written, images = result.written or {}, result.images
        if images is None:
            left |= written.keys()
            continue
        notes = {path: image for path, image in images.items() if not path.endswith("/")}
        for path, image in notes.items():
            before = None if image.data is None else version_of(image.data)
            if image.lost or path not in written or after.get(path, before) != before:
                left.add(path)
            after[path] = written.get(path)
        undo.steps.append(_step_of(images, notes, written))
    return undo, left


def _step_of(
    images: Mapping[str, NoteImage], notes: Mapping[str, NoteImage], written: Mapping[str, str | None]
) -> UndoStep:
    folders = {path[:-1]: image for path, image in images.items() if path.endswith("/")}
    return UndoStep(
        before={path: image.data for path, image in notes.items()},
        after={path: written.get(path) for path in notes},
        made=tuple(path for path, image in folders.items() if image.data is None),
        removed=tuple(path for path, image in folders.items() if image.data is not None),
        modes={path: image.mode for path, image in (*notes.items(), *folders.items()) if image.mode is not None},
    )


def _without(changes: ChangeSet, left: set[str]) -> ChangeSet:
    return attrs.evolve(
        changes,
        writes={path: data for path, data in changes.writes.items() if path not in left},
        deletes=frozenset(changes.deletes - left),
    )
