"""A memory's history: every commit can be read, with every git tool, and undone."""

from __future__ import annotations

import errno
import itertools
import json
import logging
import os
import random
import resource
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio

from trioagent._errors import (
    InvalidInputError,
    MemoryConflictError,
    MemoryHistoryError,
    MemoryStorageError,
    RevisionNotFoundError,
)
from trioagent.memory import ChangeSet, CommitOrigin, HistoryConfig, Memory, NoteStore, UndoLog
from trioagent.memory._history._git import open_git
from trioagent.memory._history._history import LARGE_JOURNAL
from trioagent.memory._history._store import make_store
from trioagent.memory._lease import run_state

from .support import PRIVATE, counted, run_python

pytestmark = pytest.mark.real


async def save(
    memory: Memory,
    writes: dict[str, str | bytes] | None = None,
    *,
    deletes: frozenset[str] = frozenset(),
    **origin: str | int,
) -> None:
    contents = {path: data if isinstance(data, bytes) else data.encode() for path, data in (writes or {}).items()}
    async with memory.lease() as lease:
        await lease.commit(
            ChangeSet(writes=contents, deletes=deletes),
            origin=CommitOrigin(**origin),  # type: ignore[arg-type]
        )


def git(memory: Memory, *arguments: str) -> str:
    """What the owner's git says of the store."""
    store = memory.path / PRIVATE / "history" / "notes.git"
    command = ["git", "--git-dir", str(store), *arguments]
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout


async def test_commits_of_agents_and_their_owner(tmp_path: Path) -> None:
    (tmp_path / "old.md").write_text("old\n")
    (tmp_path / "user.md").write_text("first\n")
    memory = Memory(tmp_path, history=True)
    await save(memory, {"user.md": "second\n"}, author="gpt", chat="c1", turn=1, said="I moved to Berlin.")
    (tmp_path / "user.md").write_text("second\nby hand\n")
    await save(memory, {"user.md": "second\nby hand\nthird\n", "a/b.md": "b\n"}, author="gpt", chat="c1", turn=2)
    await memory.update_history()
    (tmp_path / "old.md").write_text("edited\n")
    (tmp_path / "new.md").write_text("new\n")
    revisions = await memory.log()
    assert [each.kind for each in revisions] == ["external", "agent", "external", "agent", "baseline"]
    assert [each.author for each in revisions] == ["external", "gpt", "external", "gpt", "baseline"]
    assert [(each.path, each.action) for each in revisions[0].changes] == [("new.md", "added"), ("old.md", "changed")]
    assert [(each.path, each.action) for each in revisions[1].changes] == [("user.md", "changed"), ("a/b.md", "added")]
    assert (revisions[3].chat, revisions[3].turn, revisions[3].said) == ("c1", 1, "I moved to Berlin.")
    assert revisions[4].notes == 2
    assert (await memory.show("user.md", at=revisions[4].id[:7])).data == b"first\n"
    assert (await memory.show("user.md", at=revisions[2].id)).content == "second\nby hand\n"
    blamed = await memory.blame("user.md")
    assert [(line.text, line.author) for line in blamed] == [
        ("second", "gpt"),
        ("by hand", "external"),
        ("third", "gpt"),
    ]
    assert [line.revision for line in blamed] == [revisions[3].id, revisions[2].id, revisions[1].id]
    assert "+third" in (await memory.diff(at=revisions[1].id)).text
    assert (await memory.diff("old.md")).text.endswith("-old\n+edited\n")
    assert [each.id for each in await memory.log("a")] == [revisions[1].id]
    json.dumps([attrs.asdict(each) for each in revisions])
    pages = [await memory.log(limit=2), await memory.log(limit=2, before=revisions[1].id)]
    assert [*pages[0], *pages[1]] == list(revisions[:4])
    assert git(memory, "log", "--format=%an") == "external\ngpt\nexternal\ngpt\nbaseline\n"
    assert "dangling" not in git(memory, "fsck", "--strict")


async def test_the_owner_changes_a_note_after_the_agent(tmp_path: Path) -> None:
    """What was changed last is in the history as soon as somebody reads it."""
    memory = Memory(tmp_path, history=True)
    await save(memory, {"user.md": "1\n", "other.md": "1\n"})
    (tmp_path / "user.md").write_text("by hand\n")
    (tmp_path / "other.md").unlink()
    assert [each.kind for each in await memory.log()] == ["external", "agent"]
    assert (await memory.show("user.md")).content == "by hand\n"
    await save(memory, {"other.md": "2\n"})
    assert [each.kind for each in await memory.log("other.md")] == ["agent", "external", "agent"]


async def test_notes_that_cannot_be_read(tmp_path: Path) -> None:
    """They are neither kept nor taken for deleted, and stop nothing."""
    if not os.geteuid():
        pytest.skip("root reads everything")
    memory = Memory(tmp_path, history=True)
    for path in ("a/b.md", "a/c.md", "d/e.md"):
        await save(memory, {path: "1\n"})
    await memory.update_history()
    (tmp_path / "a" / "b.md").chmod(0)
    (tmp_path / "d").chmod(0)
    try:
        await save(memory, {"a/c.md": "2\n"})
        assert [each.kind for each in await memory.log()] == ["agent"] * 4
    finally:
        (tmp_path / "d").chmod(0o700)


async def test_what_is_too_large_is_named(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(b"")
    os.truncate(tmp_path / "film.mp4", 17 * 1024 * 1024)
    (tmp_path / "small.md").write_text("1\n")
    memory = Memory(tmp_path, history=True)
    await save(memory, {"user.md": "1\n"}, chat="a")
    await save(memory, deletes=frozenset({"film.mp4"}), chat="b")
    assert (await memory.log())[-1].left_out == ("film.mp4",)
    with pytest.raises(MemoryHistoryError, match=r"old content of film\.mp4 was not kept"):
        await memory.undo(chat="b")


async def test_a_note_that_is_not_changed_is_not_read_again(tmp_path: Path) -> None:
    memory = Memory(tmp_path, history=True)
    await save(memory, {f"n{number}.md": "1\n" for number in range(10)})
    for number in range(10):
        os.utime(tmp_path / f"n{number}.md", ns=(1, 1))
    run_state().hashes.settle_ns = 0
    await memory.log()
    await memory.log()
    with counted(("read",)) as done:
        assert len(await memory.log()) == 1
    assert len(done) <= 1  # what is forgotten
    (tmp_path / "n3.md").write_text("2\n")
    os.utime(tmp_path / "n3.md", ns=(1, 1))
    assert (await memory.log())[0].changes[0].path == "n3.md"


async def test_nothing_is_kept_unless_asked_for(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "notes")
    await save(memory, {"user.md": "x"})
    assert await memory.log() == ()
    with pytest.raises(RevisionNotFoundError):
        await memory.show("user.md")
    assert os.listdir(memory.path) == ["user.md"]


async def test_undo(tmp_path: Path) -> None:
    memory = Memory(tmp_path, history=True)
    (tmp_path / "kept.md").write_text("kept\n")
    (tmp_path / "private.md").write_text("private\n")
    (tmp_path / "private.md").chmod(0o600)
    await save(memory, {"people/ada.md": "1\n", "user.md": "1\n"}, chat="a")
    await save(memory, {"people/ada.md": "2\n"}, chat="a")
    await save(memory, {"other.md": "1\n"}, chat="b", job="7", batch="july")
    await save(memory, deletes=frozenset({"private.md"}), chat="a")
    undone = await memory.undo(chat="a")
    assert (undone.revisions, undone.changed) == (3, True)
    assert undone.paths == ("people/ada.md", "private.md", "user.md")
    assert sorted(path.name for path in tmp_path.iterdir()) == [PRIVATE, "kept.md", "other.md", "private.md"]
    assert (tmp_path / "private.md").stat().st_mode & 0o777 == 0o600
    assert not (await memory.undo(chat="a")).changed
    assert (await memory.log())[0].kind == "undo"
    assert (await memory.undo(batch="july")).paths == ("other.md",)
    with pytest.raises(InvalidInputError, match="no commit of job 8"):
        await memory.undo(job="8")
    with pytest.raises(InvalidInputError):
        await memory.undo()
    with pytest.raises(InvalidInputError, match="chat"):
        await memory.undo(chat="")


async def test_undo_of_one_message_and_of_a_chat_that_goes_on(tmp_path: Path) -> None:
    memory = Memory(tmp_path, history=True)
    for turn in (1, 2, 3):
        await save(memory, {"a.md": f"{turn}\n"}, chat="a", turn=turn)
    with pytest.raises(MemoryConflictError):
        await memory.undo(chat="a", turn=2)
    assert (await memory.undo(chat="a", turn=3)).changed
    assert (tmp_path / "a.md").read_text() == "2\n"
    await save(memory, {"a.md": "4\n"}, chat="a", turn=4)
    assert [(each.kind, each.turn) for each in await memory.log(chat="a", turn=3)] == [("undo", 3), ("agent", 3)]
    assert (await memory.undo(chat="a")).changed
    assert not (tmp_path / "a.md").exists()
    for bad in ({"turn": 1}, {"chat": "a", "turn": 0}, {"chat": "a", "turn": True}):
        with pytest.raises(InvalidInputError, match="turn|undo"):
            await memory.undo(**bad)


async def test_what_is_rolled_back_belongs_to_its_chat(tmp_path: Path) -> None:
    """A message that was interrupted is no reason to refuse the chat's undo."""
    memory, undo = Memory(tmp_path, history=True), UndoLog()
    await save(memory, {"a.md": "1\n"}, chat="a", turn=1)
    async with memory.lease() as lease:
        changes = ChangeSet(writes={"a.md": b"2\n"})
        await lease.commit(changes, undo=undo, origin=CommitOrigin(chat="a", turn=2, said="interrupted"))
    await memory.roll_back(undo)
    await save(memory, {"a.md": "3\n"}, chat="a", turn=3)
    assert [each.kind for each in await memory.log()] == ["agent", "undo", "agent", "agent"]
    assert (await memory.undo(chat="a")).paths == ("a.md",)
    assert not (tmp_path / "a.md").exists()


async def test_undo_refuses_what_others_changed(tmp_path: Path) -> None:
    memory = Memory(tmp_path, history=True)
    await save(memory, {"a.md": "1\n", "b.md": "1\n", "c.md": "1\n"}, chat="a")
    await save(memory, {"b.md": "2\n"}, chat="b")
    await save(memory, {"b.md": "3\n"}, chat="a")
    with pytest.raises(MemoryConflictError) as caught:
        await memory.undo(chat="a")
    assert caught.value.paths == ("b.md",)
    await save(memory, {"a.md": "2\n"}, chat="c")
    (tmp_path / "a.md").write_text("by hand\n")
    with pytest.raises(MemoryConflictError) as caught:
        await memory.undo(chat="c")
    assert caught.value.paths == ("a.md",)
    assert (tmp_path / "a.md").read_text() == "by hand\n"


async def test_restore(tmp_path: Path) -> None:
    memory = Memory(tmp_path, history=True)
    data = bytes(range(256)) * 10
    await save(memory, {"a.png": data})
    await save(memory, deletes=frozenset({"a.png"}))
    first = (await memory.log())[-1]
    content = await memory.show("a.png", at=first.id)
    assert content.encoding == "base64" and content.data == data
    assert await memory.restore("a.png", at=first.id)
    assert (tmp_path / "a.png").read_bytes() == data
    assert not await memory.restore("a.png", at=first.id)
    assert [each.kind for each in await memory.log()] == ["restore", "agent", "agent"]
    with pytest.raises(RevisionNotFoundError, match=r"b\.md"):
        await memory.restore("b.md", at=first.id)
    for at in ("", "beef" * 10, "HEAD", "--all", "2020-01-01"):
        with pytest.raises(RevisionNotFoundError):
            await memory.show("a.png", at=at)
    assert (await memory.show("a.png", at="2999-01-01T00:00+00:00")).data == data


def everything_in(folder: Path) -> bytes:
    """What all files hold, unpacked where git has packed it."""
    found = b""
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in (".pack", ".idx"):
            data = path.read_bytes()
            found += data
            if path.parent.parent.name == "objects" and len(path.parent.name) == 2:
                found += zlib.decompress(data)
        elif path.suffix == ".idx":
            listed = subprocess.run(["git", "show-index"], input=path.read_bytes(), capture_output=True, check=True)
            for line in listed.stdout.decode().splitlines():
                command = ["git", "--git-dir", str(path.parents[2]), "cat-file", "--batch"]
                found += subprocess.run(command, input=line.split()[1].encode(), capture_output=True).stdout
    return found


async def test_forgotten_notes_are_gone(tmp_path: Path) -> None:
    memory = Memory(tmp_path, history=True)
    history = tmp_path / PRIVATE / "history"
    await save(memory, {"user.md": "1\n", "secrets/key.md": "swordfish 1\n"}, said="my key is swordfish")
    await save(memory, {"secrets/key.md": "swordfish 2\n"}, said="now it is swordfish 2")
    await save(memory, {"user.md": "2\n"}, said="something else")
    await memory.update_history()
    await save(memory, {"secrets/key.md": "swordfish 3\n"})
    assert b"swordfish" in everything_in(history)
    forgotten = await memory.forget("secrets")
    assert forgotten.paths == ("secrets/key.md",) and forgotten.revisions == 3
    assert b"swordfish" not in everything_in(history)
    assert [(each.said, len(each.changes)) for each in await memory.log()] == [("something else", 1), ("", 1)]
    assert b"swordfish" not in everything_in(history)  # though the note still has it
    assert git(memory, "fsck", "--strict") == ""
    assert (await memory.show("user.md")).content == "2\n"
    await save(memory, {"secrets/key.md": "none any more\n"}, chat="x")
    assert b"swordfish" not in everything_in(history)
    assert (await memory.log("secrets"))[0].changes[0].path == "secrets/key.md"
    with pytest.raises(MemoryHistoryError, match=r"old content of secrets/key\.md was not kept"):
        await memory.undo(chat="x")
    assert (await memory.forget("nothing.md")).paths == ()


async def test_all_is_forgotten(tmp_path: Path) -> None:
    memory = Memory(tmp_path, history=True)
    await save(memory, {"a.md": "1\n"})
    assert (await memory.forget("a.md")).revisions == 1
    (tmp_path / "a.md").unlink()
    assert await memory.log() == ()
    await save(memory, {"b.md": "1\n"})
    assert len(await memory.log()) == 1


async def test_a_folder_elsewhere(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "notes", history=tmp_path / "history")
    await save(memory, {"a.md": "1\n"}, said="x")
    assert os.listdir(memory.path) == ["a.md"]
    assert len(await memory.log()) == 1
    quiet = Memory(memory.path, history=HistoryConfig(folder=tmp_path / "history", keep_messages=False))
    await save(quiet, {"a.md": "2\n"}, said="not kept")
    assert [each.said for each in await quiet.log()] == ["", "x"]
    assert (tmp_path / "history").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "history" / ".gitignore").read_text() == "*\n"


async def test_the_oldest_revisions_go_when_it_is_too_large(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "kept.md").write_text("kept\n")
    config = HistoryConfig(max_bytes=60_000)
    memory = Memory(tmp_path, history=config)
    chance = random.Random(1)
    contents = [chance.randbytes(3000) for _ in range(40)]
    pruned = 0
    with caplog.at_level(logging.WARNING, "trioagent"):
        for number, data in enumerate(contents):
            await save(memory, {"a.png": data}, said=f"number {number}")
            if number % 10 == 9:
                pruned += (await memory.update_history()).pruned
    revisions = await memory.log(limit=1000)
    assert (
        pruned > 20 and "oldest revisions, to " in caplog.text and "dropped to keep it below 60000 bytes" in caplog.text
    )
    oldest = revisions[-1]
    assert (oldest.kind, oldest.pruned, oldest.notes) == ("baseline", pruned, 2)
    assert len(revisions) - 1 + oldest.pruned == 40 + 1  # each commit, and the first baseline
    kept = [each for each in reversed(revisions) if each.kind == "agent"]
    assert [each.said for each in kept] == [f"number {number}" for number in range(40 - len(kept), 40)]
    for each in kept:
        assert (await memory.show("a.png", at=each.id)).data == contents[int(each.said.split()[1])]
    assert (await memory.show("kept.md", at=oldest.id)).content == "kept\n"
    store = tmp_path / PRIVATE / "history" / "notes.git" / "objects"
    assert sum(path.stat().st_size for path in store.rglob("*")) < 80_000
    assert git(memory, "fsck", "--strict") == ""


_COMMITS = """
import sys, trio
from trioagent.memory import ChangeSet, CommitOrigin, Memory
async def main(root, name):
    memory = Memory(root, history=True)
    for number in range(40):
        async with memory.lease() as lease:
            changes = ChangeSet(writes={"shared.md": f"{name} {number}\\n".encode(), f"{name}.md": b"%d" % number})
            await lease.commit(changes, origin=CommitOrigin(author=name, turn=number + 1))
        if number % 8 == 0:
            await memory.update_history()
trio.run(main, *sys.argv[1:])
"""


async def test_two_processes_commit_and_fill(tmp_path: Path) -> None:
    """Each commit is there once, in the order in which they happened."""
    async with trio.open_nursery() as nursery:
        for name in ("ann", "bob"):
            nursery.start_soon(trio.to_thread.run_sync, run_python, _COMMITS, tmp_path, name)
    memory = Memory(tmp_path)
    revisions = list(reversed(await memory.log(limit=1000)))
    assert {each.kind for each in revisions} == {"agent"}
    for name in ("ann", "bob"):
        assert [each.turn for each in revisions if each.author == name] == list(range(1, 41))
    for number in (0, 17, 41, 79):
        each = revisions[number]
        data = (await memory.show("shared.md", at=each.id)).content
        assert data == f"{each.author} {each.turn - 1}\n"
    before = None
    for each in revisions:
        (shared,) = (change for change in each.changes if change.path == "shared.md")
        assert shared.before == before
        before = shared.after


def test_git_that_is_slow_to_read(tmp_path: Path) -> None:
    """What it is given does not fit into a pipe, and it is looked after meanwhile whether the caller is cancelled."""
    looks = 0

    def look() -> None:
        nonlocal looks
        looks += 1

    fd = os.open(tmp_path, os.O_RDONLY)
    store = make_store(tmp_path, fd)
    os.close(fd)
    with open_git(str(tmp_path), store, look) as opened:
        git = attrs.evolve(opened, poll_seconds=1e-4)
        output = git.output("cat-file", "--batch-check", given=b"beef%d\n" * 40_000) or b""
    assert output.count(b"missing\n") == 40_000 and looks


async def test_cancelling_kills_git(tmp_path: Path) -> None:
    """Nothing is lost: the rows stay until the store has them."""
    memory = Memory(tmp_path, history=True)
    for number in range(20):
        await save(memory, {f"n{number}.md": "x\n" * 1000})
    for seconds in (0.005, 0.02, 0.05, 0.1):
        with trio.move_on_after(seconds):
            await memory.update_history()
    assert len(await memory.log()) == 20
    assert list((tmp_path / PRIVATE / "history").glob("rows-*")) == []


async def test_a_process_that_runs_out_of_descriptors(tmp_path: Path) -> None:
    """At any step a system error becomes a typed one, and the next call continues."""
    memory = Memory(tmp_path, history=True)
    await save(memory, {"a.md": "1\n"})
    await memory.forget("b.md")
    refused: list[int] = []
    for left in range(50):
        with descriptors_left(left):
            try:
                await memory.forget("b.md")
                break
            except MemoryStorageError as error:
                refused.append(error.errno)
    assert set(refused) == {errno.EMFILE} and 5 < len(refused) < 50
    assert len(await memory.log()) == 1


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """So many more descriptors can be opened in the body; a child, which has none of the others, has enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    others = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]
    used = {int(name) for name in os.listdir("/proc/self/fd")}
    free = (number for number in itertools.count() if number not in used)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, count, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in others:
            os.close(each)


async def test_a_folder_elsewhere_belongs_to_one_memory(tmp_path: Path) -> None:
    kept = tmp_path / "history"
    first, second = Memory(tmp_path / "first", history=kept), Memory(tmp_path / "second", history=kept)
    await save(first, {"a.md": "1\n"})
    with pytest.raises(MemoryHistoryError, match="give each memory a folder of its own"):
        await save(second, {"b.md": "1\n"})
    assert list(second.path.iterdir()) == []
    with pytest.raises(MemoryHistoryError, match="first"):
        await second.log()
    first.path.rename(tmp_path / "moved")
    moved = Memory(tmp_path / "moved", history=kept)
    await save(moved, {"a.md": "2\n"})
    assert len(await moved.log()) == 2


async def test_commits_that_survive_a_power_cut_are_kept_so(tmp_path: Path) -> None:
    memory = Memory(tmp_path, history=True, sync=True)
    with counted(("fsync",)) as done:
        await save(memory, {"a.md": "1\n"})
    without = Memory(tmp_path, sync=True)
    with counted(("fsync",)) as usual:
        await save(without, {"a.md": "2\n"})
    assert len(done) >= len(usual) + 2  # the journal, and the folder that it is new in


@pytest.mark.parametrize("history", ["", 7, None, 1.5])
def test_bad_settings(tmp_path: Path, history: object) -> None:
    with pytest.raises(InvalidInputError, match="history"):
        Memory(tmp_path, history=history)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="max_bytes"):
        HistoryConfig(max_bytes=0)


async def test_a_journal_that_nobody_reads_does_not_grow_for_ever(tmp_path: Path) -> None:
    """A program that only writes, through a `NoteStore`, has its store filled in between, and loses no commit."""
    memory = Memory(tmp_path, history=True)
    store = NoteStore(memory)
    note, largest = await store.write("a.md", "0\n"), 0
    for number in range(1, 30):
        note = await store.write("a.md", f"{number:02}\n" * (LARGE_JOURNAL // 60), version=note.version)
        files = (tmp_path / PRIVATE / "history").iterdir()
        largest = max(largest, sum(each.stat().st_size for each in files if each.is_file()))
    assert LARGE_JOURNAL // 2 < largest < 1.5 * LARGE_JOURNAL
    assert [each.kind for each in await memory.log()] == ["agent"] * 30
    assert (await Memory(tmp_path).update_large_history()).commits == 0  # no history is kept by this one
