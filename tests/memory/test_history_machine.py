"""Agents and the owner of the notes change them in any order: the history has each change, once, and by whom it was."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import attrs
import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trioagent._errors import InvalidInputError, MemoryConflictError
from trioagent.memory import ChangeSet, CommitOrigin, Memory, Revision

from ..examples import examples

pytestmark = pytest.mark.real

T = TypeVar("T")
PATHS = ("user.md", "entities/ada.md", "entities/bob.md", "plan.txt")
EDITS = st.dictionaries(st.sampled_from(PATHS), st.integers(-1, 3), min_size=1, max_size=3)
"""Path to the line before which one is added, after the line there is dropped; -1: the note is deleted."""


@attrs.frozen
class Change:
    """A commit of an agent's: its chat, and each note before and after."""

    author: str
    chat: str
    notes: dict[str, tuple[bytes | None, bytes | None]]


class HistoryMachine(RuleBasedStateMachine):
    """Every line that is added says who adds it, so that it is known what blame has to say."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="history-"))
        (self.root / "user.md").write_text("line 0 by the owner\n")
        self.notes: dict[str, bytes] = {"user.md": b"line 0 by the owner\n"}
        self.changes: list[Change] = []
        self.number = 0

    def teardown(self) -> None:
        try:
            if self.changes:
                self.everything_is_there()
        finally:
            shutil.rmtree(self.root)

    def with_memory(self, work: Callable[[Memory], Awaitable[T]]) -> T:
        """In a Trio run of its own, as another process would be."""
        return trio.run(lambda: work(Memory(self.root, history=True)))

    def edited(self, edits: dict[str, int], who: str) -> dict[str, bytes | None]:
        """The notes after somebody's edits."""
        new: dict[str, bytes | None] = {}
        for path, at in edits.items():
            self.number += 1
            lines = self.notes.get(path, b"").splitlines(keepends=True)
            lines[at : at + 1] = [b"line %d by %s\n" % (self.number, who.encode())]
            new[path] = None if at < 0 else b"".join(lines)
        return {path: data for path, data in new.items() if data != self.notes.get(path)}

    def apply(self, new: dict[str, bytes | None]) -> None:
        for path, data in new.items():
            if data is None:
                self.notes.pop(path, None)
            else:
                self.notes[path] = data

    @rule(edits=EDITS, author=st.sampled_from("ab"), chat=st.sampled_from("12"))
    def agent_commits(self, edits: dict[str, int], author: str, chat: str) -> None:
        new = self.edited(edits, author)
        if not new:
            return
        changes = ChangeSet(
            writes={path: data for path, data in new.items() if data is not None},
            deletes=frozenset(path for path, data in new.items() if data is None),
        )

        async def save(memory: Memory) -> bool:
            async with memory.lease() as lease:
                return await lease.commit(changes, origin=CommitOrigin(author=author, chat=chat))

        assert self.with_memory(save)
        before = {path: self.notes.get(path) for path in new}
        self.changes.append(Change(author, chat, {path: (before[path], data) for path, data in new.items()}))
        self.apply(new)

    @rule(edits=EDITS)
    def owner_edits(self, edits: dict[str, int]) -> None:
        new = self.edited(edits, "the owner")
        for path, data in new.items():
            target = self.root / path
            if data is None:
                target.unlink()
            else:
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(data)
        self.apply(new)

    @rule()
    def store_is_filled(self) -> None:
        self.with_memory(lambda memory: memory.update_history())

    @rule(chat=st.sampled_from("12"))
    def chat_is_undone(self, chat: str) -> None:
        first: dict[str, bytes | None] = {}
        last: dict[str, bytes | None] = {}
        others: set[str] = set()
        for change in self.changes:
            if change.chat == chat:
                for path, (before, after) in change.notes.items():
                    if path in last and last[path] != before:
                        others.add(path)
                    first.setdefault(path, before)
                    last[path] = after
        changed = {path for path in first if self.notes.get(path) != first[path]}
        refused = others or {path for path in changed if self.notes.get(path) != last[path]}
        if not first:
            with pytest.raises(InvalidInputError):
                self.with_memory(lambda memory: memory.undo(chat=chat))
        elif refused:
            with pytest.raises(MemoryConflictError) as caught:
                self.with_memory(lambda memory: memory.undo(chat=chat))
            assert set(caught.value.paths) == refused
        else:
            undone = self.with_memory(lambda memory: memory.undo(chat=chat))
            assert undone.changed or not changed  # a folder that the chat made may be all that is taken back
            assert set(undone.paths) == set(first)
            if changed:  # the undo belongs to the chat, which may go on
                self.changes.append(
                    Change("undo", chat, {path: (self.notes.get(path), first[path]) for path in changed})
                )
            self.apply(first)

    @invariant()
    def notes_are_the_models(self) -> None:
        files = [path for path in self.root.rglob("*") if path.is_file() and ".trioagent" not in path.parts]
        assert {str(path.relative_to(self.root)): path.read_bytes() for path in files} == self.notes

    def everything_is_there(self) -> None:
        async def look(memory: Memory) -> None:
            revisions = [each for each in reversed(await memory.log(limit=1000)) if each.kind in ("agent", "undo")]
            assert [(each.author, each.chat) for each in revisions] == [(c.author, c.chat) for c in self.changes]
            for revision, change in zip(revisions, self.changes, strict=True):
                await self.is_kept(memory, revision, change)
            for path, data in self.notes.items():
                assert (await memory.show(path)).data == data
                for line in await memory.blame(path):
                    author = line.text.rpartition(" by ")[2]
                    allowed = ("external", "baseline") if author == "the owner" else (author,)
                    assert line.author in allowed or line.author == "undo", line

        self.with_memory(look)

    async def is_kept(self, memory: Memory, revision: Revision, change: Change) -> None:
        assert {each.path for each in revision.changes} == set(change.notes)
        for each in revision.changes:
            before, after = change.notes[each.path]
            assert each.action == ("added" if before is None else "deleted" if after is None else "changed")
            if after is not None:
                assert (await memory.show(each.path, at=revision.id)).data == after


TestHistory = HistoryMachine.TestCase
TestHistory.settings = settings(max_examples=examples(8), stateful_step_count=14, deadline=None)
