"""The changes of a chat's blocks, for the clients that follow it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import trio

from .._errors import InvalidInputError
from ..memory import Memory, UndoStep, Vault, access_rules
from ..tools import is_shown, version_of
from ._diff import diff_notes
from ._memories import vault_of
from ._transcript import ChangeEntry


async def changes_of(memory: Memory, step: UndoStep) -> list[ChangeEntry]:
    """The changes of a commit, note by note, except for notes that have changed again since."""
    return await trio.to_thread.run_sync(partial(_changes, memory, step))


def _changes(memory: Memory, step: UndoStep) -> list[ChangeEntry]:
    vault, rules = vault_of(memory), access_rules(memory.policy)

    def entries() -> Iterator[ChangeEntry]:
        for path, version in sorted(step.after.items()):
            if not is_shown(path, rules):  # writable, but not readable
                continue
            before = step.before.get(path)
            if version is None:
                yield ChangeEntry(path=path, action="deleted", hunks=diff_notes(before, None))
                continue
            lost = path in step.lost
            after = None if lost else _content(vault, path, version)
            made = not lost and before is None
            hunks = None if after is None else diff_notes(before, after)
            yield ChangeEntry(path=path, action="made" if made else "changed", hunks=hunks)

    return list(entries())


def _content(vault: Vault, path: str, version: str) -> bytes | None:
    """The content of the note, if it still has this version."""
    try:
        data = vault.data(path)
    except InvalidInputError:
        return None
    return data if version_of(data) == version else None
