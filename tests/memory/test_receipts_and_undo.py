"""Receipts tell after a crash whether a commit happened; an undo log takes commits back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent._errors import MemoryConflictError, MemoryUnreadError
from trioagent.memory import ChangeSet, Knowledge, Memory, Receipt, UndoLog

from .support import PRIVATE, Tree, before, commit_now, read_tree
from .test_commit import STEPS


async def save(memory: Memory, writes: dict[str, bytes], undo: UndoLog | None = None, key: str = "") -> bool:
    async with memory.lease() as lease:
        receipt = Receipt(key, b"payload of " + key.encode()) if key else None
        return await lease.commit(ChangeSet(writes=writes), receipt=receipt, undo=undo)


async def test_receipts(tmp_path: Path) -> None:
    memory = Memory(tmp_path)
    assert await memory.read_receipt("one") is None
    await memory.drop_receipt("one")
    assert os.listdir(tmp_path) == []
    assert await save(memory, {"a.md": b"1"}, key="one")
    assert not await save(memory, {"a.md": b"1"}, key="two/../../x")  # no note changes, yet it is written
    async with memory.lease() as lease:
        assert lease.hide
    assert await memory.read_receipt("one") == b"payload of one"
    assert await memory.read_receipt("two/../../x") == b"payload of two/../../x"
    assert await memory.read_receipt("three") is None
    assert not await save(memory, {}, key="one")
    await memory.drop_receipt("one")
    await memory.drop_receipt("one")
    assert await memory.read_receipt("one") is None
    await memory.drop_receipt("two/../../x")
    assert os.listdir(tmp_path) == ["a.md"]


async def test_a_lease_knows_that_it_made_a_receipt(tmp_path: Path) -> None:
    async with Memory(tmp_path).lease() as lease:
        assert not lease.hide
        await lease.commit(ChangeSet(), receipt=Receipt("k"))
        assert lease.hide


async def test_no_receipt_of_a_refused_commit(tmp_path: Path) -> None:
    memory, stranger = Memory(tmp_path), Knowledge()
    await save(memory, {"a.md": b"1"})
    with pytest.raises(MemoryUnreadError):
        async with memory.lease() as lease:
            await lease.commit(ChangeSet(writes={"a.md": b"2"}), knowledge=stranger, receipt=Receipt("k"))
    assert await memory.read_receipt("k") is None
    assert os.listdir(tmp_path) == ["a.md"]


async def test_a_chat_taken_back(tmp_path: Path) -> None:
    before().lay_down(tmp_path)
    memory, undo, agent = Memory(tmp_path), UndoLog(), Knowledge()
    await save(memory, {"user.md": b"1", "new/deep/a.md": b"1"}, undo)
    async with memory.lease() as lease:
        changes = ChangeSet(deletes=frozenset({"user.md", "entities/old.md"}), writes={"new/deep/a.md": b"2"})
        await lease.commit(changes, undo=undo)
    await save(memory, {"user.md": b"3"}, undo)
    await save(memory, {"user.md": b"3"}, undo)  # no change
    assert undo
    assert await memory.roll_back(undo, knowledge=agent)
    assert not undo
    assert read_tree(tmp_path) == before()
    async with memory.lease() as lease:  # the agent knows the notes as they are now
        await lease.commit(ChangeSet(writes={"user.md": b"4", "new/deep/a.md": b"4"}), knowledge=agent)
    assert not await memory.roll_back(UndoLog())


async def test_nothing_is_taken_back_over_the_work_of_others(tmp_path: Path) -> None:
    before().lay_down(tmp_path)
    memory, undo = Memory(tmp_path), UndoLog()
    await save(memory, {"user.md": b"1", "b.md": b"1"}, undo)
    await save(memory, {"user.md": b"somebody else"})
    with pytest.raises(MemoryConflictError) as caught:
        await memory.roll_back(undo)
    assert caught.value.paths == ("user.md",)
    assert undo
    assert (tmp_path / "b.md").exists()


async def test_notes_of_others_in_a_new_folder_stay(tmp_path: Path) -> None:
    memory, undo = Memory(tmp_path), UndoLog()
    await save(memory, {"new/mine.md": b"1"}, undo)
    await save(memory, {"new/theirs.md": b"2"})
    assert await memory.roll_back(undo)
    assert read_tree(tmp_path) == Tree({"new/theirs.md": b"2"}, {"new"})


@given(blocks=st.lists(STEPS, min_size=1, max_size=4))
def test_whatever_was_done_can_be_undone(blocks: list[list[tuple[str, str, bytes]]], tmp_path_factory: object) -> None:
    assert isinstance(tmp_path_factory, pytest.TempPathFactory)
    root = tmp_path_factory.mktemp("memory")
    before().lay_down(root)
    state, undo = before(), UndoLog()
    for steps in blocks:
        view = state.copy()
        for kind, path, data in steps:
            view.write(path, data) if kind == "write" else getattr(view, kind)(path)
        commit_now(root, state.changes_to(view), undo=undo)
        state = view
    commit_now(root, undo.changes(), knowledge=Knowledge(seen=undo.versions()))
    assert read_tree(root) == before()
    assert not (root / PRIVATE).exists()
