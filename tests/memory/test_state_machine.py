"""Any sequence of blocks by two agents, with refusals and crashes between, against a dict: memory and tools together.

A block works on a copy of the memory with the real tools, as a confined one works on its view; what it changed is
committed under a real lease. The model is a `Tree`, and what each agent has seen of its notes.
"""

from __future__ import annotations

import difflib
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trioagent._errors import MemoryConflictError, MemoryUnreadError
from trioagent.memory import ChangeSet, Knowledge, Memory, Receipt, SeenNotes
from trioagent.tools import NoteTools, SeenLog

from ..examples import examples
from .support import CHANGING, PRIVATE, Tree, read_tree, switched

NOTES = st.sampled_from(["user.md", "a/n.md", "a/b/m.md", "b/n.md"])
FOLDERS = st.sampled_from(["a", "a/b", "b", "c"])
LINES = st.lists(st.sampled_from(["x", "y", "", "- é"]), max_size=4)
AGENTS = st.integers(0, 1)


class Died(BaseException):
    """The process died; no ``except`` of the library's may take it for an error."""


@attrs.define
class Seen:
    """What an agent knows: the library's own account, and the model's."""

    knowledge: Knowledge = attrs.field(factory=Knowledge)
    contents: dict[str, bytes | None] = attrs.field(factory=dict)  # None: it was not there


@attrs.define
class Block:
    """What one agent does until its commit."""

    agent: int
    folder: Path
    view: Tree
    seen: SeenLog = attrs.field(factory=SeenLog)

    @property
    def tools(self) -> NoteTools:
        return NoteTools(str(self.folder), self.seen)


class Memories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.where = Path(tempfile.mkdtemp())
        self.root = self.where / "memory"
        self.memory = Memory(self.root)
        self.tree = Tree()
        self.agents = [Seen(), Seen()]
        self.block: Block | None = None
        self.blocks = 0
        self.receipts: dict[str, bytes] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.where)

    @initialize()
    def begin(self) -> None:
        trio.run(self._commit, ChangeSet(writes={"user.md": b"x\n"}), Knowledge(), SeenLog(), None)
        self.tree.write("user.md", b"x\n")

    async def _commit(self, changes: ChangeSet, knowledge: Knowledge, block: SeenLog, receipt: Receipt | None) -> bool:
        seen = SeenNotes(reads=block.reads, replaced=block.replaced, complete=block.complete)
        async with self.memory.lease() as lease:
            return await lease.commit(changes, knowledge=knowledge, seen=seen, receipt=receipt)

    # A block

    @precondition(lambda self: self.block is None)
    @rule(agent=AGENTS)
    def start(self, agent: int) -> None:
        folder = self.where / "view"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.root, folder, ignore=shutil.ignore_patterns(PRIVATE))
        self.block = Block(agent, folder, self.tree.copy())

    @precondition(lambda self: self.block is not None)
    @rule(path=NOTES, lines=LINES)
    def create(self, path: str, lines: list[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        assert self._block.tools.create_file(path, text) is True
        self._block.view.write(path, text.encode())

    @precondition(lambda self: self.block is not None)
    @rule(path=NOTES, old=st.sampled_from(["x", "y", "z"]), new=st.sampled_from(["x", "yy", ""]))
    def update(self, path: str, old: str, new: str) -> None:
        there = self._block.view.notes.get(path, b"")
        answer = self._block.tools.update_file(path, old, new)
        fits = there.count(old.encode()) == 1
        assert bool(answer) == fits, answer
        if fits:
            self._block.view.write(path, there.replace(old.encode(), new.encode()))

    @precondition(lambda self: self.block is not None)
    @rule(path=NOTES, lines=LINES)
    def write_diff(self, path: str, lines: list[str]) -> None:
        before = self._block.view.notes.get(path, b"").decode().splitlines(keepends=True)
        after = [f"{line}\n" for line in lines]
        if not before or before == after or not before[-1].endswith("\n"):
            return
        diff = "".join(difflib.unified_diff(before, after, path, path))
        assert self._block.tools.write_to_file(path, diff) is True
        self._block.view.write(path, "".join(after).encode())

    @precondition(lambda self: self.block is not None)
    @rule(path=NOTES)
    def delete(self, path: str) -> None:
        assert bool(self._block.tools.delete_file(path)) == (path in self._block.view.notes)
        self._block.view.delete(path)

    @precondition(lambda self: self.block is not None)
    @rule(path=FOLDERS)
    def make_folder(self, path: str) -> None:
        self._block.tools.create_dir(path)
        self._block.view.make(path)

    @precondition(lambda self: self.block is not None)
    @rule(path=NOTES, folder=FOLDERS)
    def look(self, path: str, folder: str) -> None:
        tools, view = self._block.tools, self._block.view
        assert tools.check_if_file_exists(path) == (path in view.notes)
        assert tools.check_if_dir_exists(folder) == (folder in view.folders)
        assert tools.list_files() == sorted(view.notes)
        assert tools.get_size() == sum(map(len, view.notes.values()))
        inside = {name: data for name, data in view.notes.items() if name.startswith(folder + "/")}
        if folder in view.folders:
            assert tools.list_files(folder) == sorted(inside)
            assert tools.get_size(folder) == sum(map(len, inside.values()))
        answer = tools.read_file(path)
        assert self._block.seen.knows(path)
        if path in view.notes:
            assert answer == view.notes[path].decode()
        else:
            assert not answer

    # Its end

    @precondition(lambda self: self.block is None)
    @rule(agent=AGENTS, path=NOTES, lines=LINES, read=st.booleans())
    def note_down(self, agent: int, path: str, lines: list[str], read: bool) -> None:
        """A whole block that writes a note, blindly or not: what two agents mostly do to each other."""
        self.start(agent)
        if read:
            self._block.tools.read_file(path)
        self.create(path, lines)
        self.commit(receipt=False)

    @precondition(lambda self: self.block is not None)
    @rule()
    def abort(self) -> None:
        self.block = None

    @precondition(lambda self: self.block is not None)
    @rule(receipt=st.booleans())
    def commit(self, receipt: bool) -> None:
        block, seen = self._end()
        made = Receipt(f"block {self.blocks}", b"payload") if receipt else None
        lost = self._lost(block, seen)
        changes = self.tree.changes_to(block.view)
        write = partial(trio.run, self._commit, changes, seen.knowledge, block.seen, made)
        unread = self._unread(block, seen)
        if lost or unread:
            with pytest.raises(MemoryConflictError if lost else MemoryUnreadError) as refused:
                write()
            assert isinstance(refused.value, MemoryConflictError | MemoryUnreadError)
            assert refused.value.paths == tuple(lost or unread)
            event("a lost update was refused" if lost else "a blind overwrite was refused")
            return
        assert write() == (block.view != self.tree)
        self._adopt(block.view, seen)
        if made is not None:
            self.receipts[made.key] = made.payload

    @precondition(lambda self: self.block is not None)
    @rule(step=st.integers(1, 20))
    def crash_while_committing(self, step: int) -> None:
        """The agent's process dies; another one recovers, and an agent begins anew."""
        block, seen = self._end()
        if self._lost(block, seen) or self._unread(block, seen):
            return
        made = Receipt(f"block {self.blocks}", b"payload")
        changes = self.tree.changes_to(block.view)

        def die(number: int, name: str, operation: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            if number >= step:
                raise Died
            return operation(*args)

        try:
            with switched(die, CHANGING):
                trio.run(self._commit, changes, seen.knowledge, block.seen, made)
        except Died:
            pass
        if trio.run(self.memory.read_receipt, made.key) is not None:
            self.receipts[made.key] = made.payload
            self._adopt(block.view, seen)
            event("a crash after the commit")
        else:
            event("a crash before the commit")
        self.agents[block.agent] = Seen()

    @precondition(lambda self: self.block is None and self.receipts)
    @rule()
    def drop_a_receipt(self) -> None:
        key, payload = self.receipts.popitem()
        assert trio.run(self.memory.read_receipt, key) == payload
        trio.run(self.memory.drop_receipt, key)
        assert trio.run(self.memory.read_receipt, key) is None

    @invariant()
    def the_memory_is_what_the_model_says(self) -> None:
        if self.root.exists():
            assert read_tree(self.root) == self.tree
            assert (self.root / PRIVATE).exists() == bool(self.receipts)

    # The model

    @property
    def _block(self) -> Block:
        assert self.block is not None
        return self.block

    def _end(self) -> tuple[Block, Seen]:
        """The block is over; what it read, its agent has seen, whatever comes of it."""
        block, self.block = self._block, None
        self.blocks += 1
        assert read_tree(block.folder) == block.view
        seen = self.agents[block.agent]
        for path in block.seen.reads:
            seen.contents[path] = self.tree.notes.get(path)
        return block, seen

    def _changed(self, view: Tree) -> set[str]:
        paths = self.tree.notes.keys() | view.notes.keys()
        return {path for path in paths if self.tree.notes.get(path) != view.notes.get(path)}

    def _lost(self, block: Block, seen: Seen) -> list[str]:
        """The notes whose last change the agent has not seen, and would overwrite."""
        notes = self.tree.notes
        return sorted(
            path
            for path in self._changed(block.view)
            if path in seen.contents and seen.contents[path] != notes.get(path)
        )

    def _unread(self, block: Block, seen: Seen) -> list[str]:
        """The notes that the agent would write over without ever having read them."""
        there = self.tree.notes.keys() & block.view.notes.keys()
        return sorted(path for path in self._changed(block.view) & there if path not in seen.contents)

    def _adopt(self, view: Tree, seen: Seen) -> None:
        for path in self._changed(view):
            seen.contents[path] = view.notes.get(path)
        self.tree = view


Memories.TestCase.settings = settings(max_examples=examples(20), stateful_step_count=30, deadline=None)
TestMemories = pytest.mark.real(Memories.TestCase)
