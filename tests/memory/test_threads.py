"""Where file operations run: in a thread, but for the few that cost less than a thread does."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._steps import STEP_NAMES
from trioagent.memory import ChangeSet, Memory, SeenNotes
from trioagent.memory._commit import Receipt
from trioagent.memory._file_system import is_network_type
from trioagent.memory._lease import run_state

from .support import ALL, PRIVATE, switched

SMALL = ChangeSet(writes={"entities/a.md": b"x"})


async def threads_of(work: Callable[[], Any], names: tuple[str, ...] = ALL) -> set[bool]:
    """Of each file operation of these names that *work* does: was it done in this thread?"""
    here, seen = threading.get_ident(), set()

    def note(number: int, name: str, operation: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        seen.add(threading.get_ident() == here)
        return operation(*args)

    with switched(note, names):
        await work()
    return seen


async def commit(memory: Memory, changes: ChangeSet, **more: Any) -> set[bool]:
    async with memory.lease() as lease:
        return await threads_of(lambda: lease.commit(changes, **more))


async def hold(memory: Memory) -> None:
    async with memory.lease():
        pass


async def test_a_small_commit_to_a_memory_that_was_just_made_runs_here(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "m")
    assert await commit(memory, SMALL) == {True}
    assert await commit(memory, ChangeSet(deletes=frozenset({"entities/a.md"})), receipt=Receipt("job")) == {True}
    assert not (tmp_path / "m/entities/a.md").exists()


@pytest.mark.parametrize(
    "changes",
    [
        ChangeSet(writes={"a.md": b"x" * 300_000}),
        ChangeSet(writes={f"{number}.md": b"x" for number in range(17)}),
    ],
    ids=["bytes", "notes"],
)
async def test_a_large_one_runs_in_a_thread(tmp_path: Path, changes: ChangeSet) -> None:
    memory = Memory(tmp_path / "m")
    await commit(memory, SMALL)
    assert await commit(memory, changes) == {False}
    assert await commit(memory, ChangeSet(writes={"b.md": b"y"})) == {True}


@pytest.mark.parametrize("reads", [(), ("photo.png",)], ids=["changed", "read"])
async def test_a_large_note_is_hashed_in_a_thread(tmp_path: Path, reads: tuple[str, ...]) -> None:
    """Whatever the change itself costs: a version is a hash of all that a note holds."""
    memory = Memory(tmp_path / "m")
    await commit(memory, SMALL)
    (memory.path / "photo.png").write_bytes(bytes(2**20))
    changes = ChangeSet() if reads else ChangeSet(deletes=frozenset({"photo.png"}))
    async with memory.lease() as lease:
        work = partial(lease.commit, changes, reads=reads)
        assert await threads_of(work, ("version", "settled_version", "read", "sha256")) == {False}


async def test_one_that_waits_for_the_disk_runs_in_a_thread(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "m", sync=True)
    await commit(memory, SMALL)
    assert await commit(memory, ChangeSet(writes={"a.md": b"y"})) == {False}


async def test_notes_are_counted_in_a_thread(tmp_path: Path) -> None:
    (tmp_path / "old.md").write_text("x")
    memory = Memory(tmp_path)
    assert await commit(memory, SMALL) == {False}
    assert await commit(memory, ChangeSet(writes={"a.md": b"y"})) == {True}


async def test_many_folders_are_looked_at_in_a_thread(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "m")
    await commit(memory, ChangeSet(made_dirs=frozenset(f"{number}" for number in range(70))))
    assert await commit(memory, SMALL) == {False}


async def test_a_lease_is_taken_here_unless_something_is_to_be_made_or_recovered(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "m")
    assert False in await threads_of(lambda: hold(memory))
    assert await threads_of(lambda: hold(memory)) == {True}
    await commit(memory, SMALL, receipt=Receipt("job"))
    assert await threads_of(lambda: hold(memory)) == {True}
    (tmp_path / "m" / PRIVATE / "new-0").write_text("left by a commit that died")
    assert await threads_of(lambda: hold(memory)) == {True, False}
    assert await threads_of(lambda: hold(memory)) == {True}


async def test_a_receipt_is_dropped_here(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "m")
    await commit(memory, SMALL, receipt=Receipt("job"))
    assert await threads_of(lambda: memory.drop_receipt("job")) == {True}
    assert not (tmp_path / "m" / PRIVATE).exists()


async def test_a_cancelled_scope_begins_no_commit(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "m")
    await commit(memory, SMALL)
    async with memory.lease() as lease:
        with trio.CancelScope() as scope:
            scope.cancel()
            await lease.commit(ChangeSet(writes={"b.md": b"x"}))
    assert scope.cancelled_caught and not (tmp_path / "m/b.md").exists()


async def test_after_a_stall_everything_runs_in_threads_for_a_while(tmp_path: Path) -> None:
    memory, state = Memory(tmp_path / "m"), run_state()
    assert await commit(memory, SMALL) == {True}
    state.stall = -1.0  # whatever an operation takes is a stall now
    assert await commit(memory, ChangeSet(writes={"a.md": b"1"})) == {False}  # taking the lease was one
    assert await threads_of(partial(hold, memory)) == {False}
    state.slow_until, state.stall = time.monotonic(), 3600.0  # the while is over
    assert await commit(memory, ChangeSet(writes={"a.md": b"2"})) == {True}


async def test_on_a_network_file_system_everything_runs_in_threads(tmp_path: Path) -> None:
    """From the first operation on: the type of its file system says so, no stall is needed."""
    memory = Memory(tmp_path / "m")
    run_state().network_types = frozenset({_type_of(tmp_path)})
    assert await commit(memory, SMALL) == {False}
    assert await threads_of(partial(hold, memory)) == {False}


def _type_of(folder: Path) -> int:
    """As ``stat`` of the coreutils prints it."""
    said = subprocess.run(["stat", "-f", "-c", "%t", folder], capture_output=True, text=True, check=True)
    return int(said.stdout, 16)


@pytest.mark.parametrize(
    ("type_name", "number", "expected"),
    [
        ("nfs", 0x6969, True),
        ("cifs, sign-extended where long has 64 bits", 0xFF534D42 - (1 << 32), True),
        ("fuse", 0x65735546, True),
        ("9p", 0x01021997, True),
        ("ext4", 0xEF53, False),
        ("btrfs, sign-extended", 0x9123683E - (1 << 32), False),
        ("tmpfs", 0x01021994, False),
        ("overlayfs", 0x794C7630, False),
    ],
)
def test_types_of_file_systems(type_name: str, number: int, expected: bool) -> None:
    assert is_network_type(number) is expected


@pytest.mark.parametrize("kind", ["reads", "replaced"])
async def test_what_a_block_says_that_it_saw_may_be_too_much_to_look_through_here(tmp_path: Path, kind: str) -> None:
    memory = Memory(tmp_path / "m")
    await commit(memory, SMALL)
    for count, here in ((STEP_NAMES, {True}), (STEP_NAMES + 1, {False})):
        notes = {f"{number}.md": None for number in range(count)}
        seen = SeenNotes(reads=notes) if kind == "reads" else SeenNotes(replaced=notes)
        changes = ChangeSet(writes={"entities/a.md": b"%d" % count})
        assert await commit(memory, changes, seen=seen) == here
