"""Memories that somebody made to hurt: deep, wide, oddly named, full of things that are no notes, changed under us."""

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trioagent._config import MemoryLimits
from trioagent._errors import MemoryLimitError, MemoryPathError, MemoryRejectedError, MemoryStorageError
from trioagent.memory import ChangeSet, Memory, Receipt, UndoLog
from trioagent.memory._receipts import drop_receipt, read_receipt

from ..deep_trees import Nest
from .support import PRIVATE, REPOSITORY, before, commit_now, opened, read_tree, recover_now
from .test_races import outside, picture

TERABYTE = 2**40
FOLDER = os.O_RDONLY | os.O_DIRECTORY


def sparse(path: Path, size: int = TERABYTE) -> None:
    with open(path, "wb") as file:
        file.truncate(size)


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def record(**parts: object) -> bytes:
    empty = {"deletes": {}, "removed": [], "made": [], "writes": [], "receipt": "", "payload": ""}
    return json.dumps({"format": 1, "moment": 2**62, **empty, **parts}).encode()


def test_a_tree_3000_deep(tmp_path: Path, nest: Nest) -> None:
    nest(tmp_path, 3000)
    assert commit_now(tmp_path, ChangeSet(writes={"user.md": b"x"}))
    assert commit_now(tmp_path, ChangeSet(writes={"d/d/user.md": b"x"}))
    deep = "/".join("d" * 3000)
    for changes in (
        ChangeSet(writes={f"{deep}/x.md": b""}),
        ChangeSet(deletes=frozenset({deep})),
        ChangeSet(removed_dirs=frozenset("/".join("d" * depth) for depth in range(1, 3001)), writes={"d": b""}),
        ChangeSet(made_dirs=frozenset({f"{deep}/x"})),
    ):
        with pytest.raises(MemoryRejectedError):
            commit_now(tmp_path, changes)
    assert sorted(os.listdir(tmp_path)) == ["d", "user.md"]


def test_a_hundred_thousand_notes(tmp_path: Path) -> None:
    first = tmp_path / "many" / "0"
    first.parent.mkdir()
    first.write_bytes(b"x")
    for number in range(1, 100_000):
        if number % 50_000 == 0:  # some file systems allow 65,000 links to one file
            first = tmp_path / "many" / str(number)
            first.write_bytes(b"x")
        else:
            os.link(first, tmp_path / "many" / str(number))
    assert commit_now(tmp_path, ChangeSet(writes={"many/new": b"y", "user.md": b"z"}))
    limits = MemoryLimits(dir_bytes=100_001)
    with pytest.raises(MemoryLimitError, match="would hold 100,002 bytes"):
        commit_now(tmp_path, ChangeSet(writes={"many/newer": b"y"}), limits=limits)
    assert len(os.listdir(tmp_path / "many")) == 100_001


def test_names_of_255_bytes_and_no_utf8(tmp_path: Path) -> None:
    longest = "n" * 255
    (tmp_path / longest).mkdir()
    for encoded in (b"\xff\xfe", b"\xff" * 255, b"a\nb", b"\xed\xa0\x80"):
        with open(os.fsencode(tmp_path / longest) + b"/" + encoded, "wb") as file:
            file.write(b"kept")
    assert commit_now(tmp_path, ChangeSet(writes={f"{longest}/{longest}": b"x"}))
    with pytest.raises(MemoryLimitError, match="256 bytes"):
        commit_now(tmp_path, ChangeSet(writes={f"{longest}x": b""}))
    for name in ("a/\udcff", "\ud800", "\udcff.md"):
        with pytest.raises(MemoryLimitError) as caught:
            commit_now(tmp_path, ChangeSet(writes={name: b""}))
        assert caught.value.path == name
    odd = os.fsdecode(b"\xff\xfe")
    assert commit_now(tmp_path, ChangeSet(deletes=frozenset({f"{longest}/{odd}"})))
    assert len(os.listdir(tmp_path / longest)) == 4


def test_things_that_are_no_notes(tmp_path: Path) -> None:
    """They may be replaced and deleted like notes; none is ever opened in a way that waits."""
    os.mkfifo(tmp_path / "fifo")
    os.mknod(tmp_path / "socket", stat.S_IFSOCK | 0o600)
    assert commit_now(tmp_path, ChangeSet(deletes=frozenset({"fifo"}), writes={"socket": b"note"}))
    sparse(tmp_path / "huge.md")
    os.link(tmp_path / "huge.md", tmp_path / "twin.md")
    low = peak()
    assert commit_now(tmp_path, ChangeSet(writes={"huge.md": b"small"}))
    with pytest.raises(MemoryStorageError, match="bytes; its notes are unchanged"):
        commit_now(tmp_path, ChangeSet(deletes=frozenset({"twin.md"})), undo=UndoLog())
    assert commit_now(tmp_path, ChangeSet(deletes=frozenset({"twin.md"})))
    assert peak() - low < 2**27
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"socket": b"note", "huge.md": b"small"}


def test_our_own_files_swollen(tmp_path: Path) -> None:
    """Record, staged note and receipt of a terabyte each, which cost the sender of such a memory nothing."""
    before().lay_down(tmp_path)
    private = tmp_path / PRIVATE
    private.mkdir()
    receipt, low = Receipt("k"), peak()
    sparse(private / "redo.json")
    assert recover_now(tmp_path) is False
    private.mkdir()
    sparse(private / "new-0")
    staged = {"file": "new-0", "target": "user.md", "sha256": "0" * 64, "before": None}
    (private / "redo.json").write_bytes(record(writes=[staged]))
    assert recover_now(tmp_path) is False
    assert read_tree(tmp_path) == before()
    private.mkdir()
    sparse(private / receipt.file)

    with opened(tmp_path) as leased:
        with pytest.raises(MemoryStorageError, match="has more than"):
            read_receipt(leased, "k")
        drop_receipt(leased, "k")
    assert not private.exists()
    assert peak() - low < 2**27


@pytest.mark.parametrize(
    "parts",
    [
        {"made": ["x" * 300, "ok"]},
        {"removed": ["x" * 300]},
        {"deletes": {"x" * 300: [1, 2, 3], "user.md/x": [1, 2, 3]}},
        {"writes": [{"file": "new-0", "target": "x" * 300, "sha256": "", "before": None}]},
        {"made": ["a/" * 2000 + "a"]},
        {"made": ["user.md/inside", "entities"]},
        {"removed": ["user.md", "entities"]},
    ],
)
def test_a_record_that_cannot_be_carried_out_does_not_lock_the_memory(tmp_path: Path, parts: dict[str, object]) -> None:
    before().lay_down(tmp_path)
    (tmp_path / PRIVATE).mkdir()
    (tmp_path / PRIVATE / "new-0").write_bytes(b"")
    (tmp_path / PRIVATE / "redo.json").write_bytes(record(**parts))
    assert recover_now(tmp_path) is False
    assert read_tree(tmp_path).notes == before().notes


@pytest.mark.parametrize("name", ["new-0", "redo.json", "redo.tmp"])
def test_folders_where_our_files_would_be(tmp_path: Path, name: str) -> None:
    (tmp_path / PRIVATE / name).mkdir(parents=True)
    with pytest.raises(MemoryPathError, match="move it away"):
        recover_now(tmp_path)
    (tmp_path / PRIVATE / name).rmdir()
    assert recover_now(tmp_path) is False


def test_a_commit_too_large_for_its_record(tmp_path: Path) -> None:
    """What recovery would not read is not written: refused, and nothing is left."""
    with pytest.raises(MemoryLimitError, match="change them in parts"):
        commit_now(tmp_path, ChangeSet(writes={f"note{number}.md": b"" for number in range(10)}), record_bytes=500)
    assert os.listdir(tmp_path) == []


def test_a_folder_mark_cannot_make_room(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "note").write_bytes(b"x" * 90)
    changed = (tmp_path / "a").stat().st_mtime_ns
    try:
        os.setxattr(tmp_path / "a", "user.trioagent.size", json.dumps([changed, changed, -(10**9), []]).encode())
    except OSError:
        pytest.skip("no extended attributes here")
    with pytest.raises(MemoryLimitError, match="would hold 110 bytes"):
        commit_now(tmp_path, ChangeSet(writes={"a/more": b"x" * 20}), limits=MemoryLimits(dir_bytes=100))


@pytest.mark.real
async def test_somebody_swaps_folders_for_links_all_the_time(tmp_path: Path) -> None:
    """Leases and commits against a real second process: typed errors or success, and nothing gets out, or in."""
    root, victim = tmp_path / "memory", outside(tmp_path / "outside")
    for name in ("archive", "a", PRIVATE):
        (victim / name).mkdir(exist_ok=True)
        (victim / name / "note.md").write_text("CANARY")
    (victim / "user.md").write_text("CANARY")
    (victim / "note.md").write_text("CANARY")
    (victim / "new-0").write_text("CANARY")
    expected = picture(victim)
    before().lay_down(root)
    memory, seen = Memory(root), {"saved": 0, "refused": 0}
    command = [sys.executable, "-m", "tests.memory.swapper", str(root), str(victim)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as enemy:  # noqa: ASYNC220
        try:
            assert enemy.stdout is not None and enemy.stdout.readline() == b"at it\n"
            for number in range(5000):
                if number >= 300 and min(seen.values()) >= 20:
                    break
                text = f"mine {number}".encode()
                changes = ChangeSet(
                    writes={"user.md": text, "entities/note.md": text, "a/b/c.md": text, "archive/x.md": text},
                    deletes=frozenset({"entities/old.md"}) if number % 2 else frozenset(),
                )
                undo = UndoLog() if number % 3 == 0 else None
                try:
                    async with memory.lease() as lease:
                        await lease.commit(changes, receipt=Receipt("k", text), undo=undo)
                    if undo is not None:
                        await memory.roll_back(undo)
                    await memory.read_receipt("k")
                    seen["saved"] += 1
                except (MemoryRejectedError, MemoryStorageError, MemoryPathError):
                    seen["refused"] += 1
        finally:
            enemy.kill()
    assert min(seen.values()) >= 20, seen
    assert picture(victim) == expected
    for folder, _, files in os.walk(root):
        for name in files:
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                continue
            assert b"CANARY" not in path.read_bytes(), path
