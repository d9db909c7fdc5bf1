"""A commit does the same work among 10 notes and 10,000, counted in file operations."""

from __future__ import annotations

import errno
import os
import subprocess
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trioagent._config import MemoryLimits
from trioagent._errors import MemoryLimitError
from trioagent.memory import ChangeSet, Receipt, _fsops
from trioagent.memory._receipts import drop_receipt
from trioagent.memory._sizes import SizesCache

from .support import ALL, CHANGING, commit_now, counted, opened, read_tree, switched


def grown(root: Path, notes: int) -> Path:
    folders = ("entities", "people/friends", ".")
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(notes):
        with open(f"{root}/{folders[number % 3]}/note{number}.md", "wb") as file:
            file.write(b"x" * 50)
    return root


def operations(root: Path, number: int) -> list[str]:
    changes = ChangeSet(
        writes={
            f"entities/new{number}.md": b"new",
            "people/friends/note1.md": b"%d" % number,
            "user.md": b"%d" % number,
        },
        deletes=frozenset({f"note{3 * number + 2}.md"}),
        made_dirs=frozenset({f"folder{number}"}),
    )
    with counted() as done:
        assert commit_now(root, changes, receipt=Receipt("k", b"%d" % number))
        with opened(root) as leased:
            drop_receipt(leased, "k")
    return done


def test_same_operations_whatever_the_size(tmp_path: Path) -> None:
    small, large = grown(tmp_path / "small", 12), grown(tmp_path / "large", 10_000)
    for root in (small, large):
        commit_now(root, ChangeSet(writes={"user.md": b"", "entities/x.md": b"", "people/friends/x.md": b""}))
    for number in range(3):
        few, many = operations(small, number), operations(large, number)
        assert few == many
        assert "entries" not in few
        assert len(few) < 140


def test_operations_of_one_small_change(tmp_path: Path) -> None:
    commit_now(tmp_path, ChangeSet(writes={"user.md": b"0", "new.md": b"0"}))
    with counted(tuple(set(CHANGING) - {"set_times", "chmod", "chown"})) as done:
        commit_now(tmp_path, ChangeSet(writes={"user.md": b"1"}))
    assert done == ["mkdir", "create", "write", "exchange", "unlink", "rmdir"]
    with counted() as done:
        commit_now(tmp_path, ChangeSet(writes={"user.md": b"1"}))
    assert set(done) <= {"lstat", "version", "fstat"}


@pytest.mark.parametrize("marks", [True, False])
def test_another_process_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, marks: bool) -> None:
    """It leaves the sizes on the folders; without such marks, the folders that changed are counted again."""
    if not marks:
        monkeypatch.setattr(os, "setxattr", _no_marks)
    elif not marks_work(tmp_path):
        pytest.skip("this file system has no extended attributes")
    grown(tmp_path, 30)
    for folder in ("entities", "people/friends", "people"):
        os.utime(tmp_path / folder, (1e9, 1e9))  # a folder changed just now would not be trusted
    caches = [SizesCache(), SizesCache()]
    for number in range(4):
        for cache in caches:
            changes = ChangeSet(writes={"entities/a.md": b"x" * 100 * number + b"%d" % id(cache)})
            with counted(("entries",)) as listed:
                commit_now(tmp_path, changes, cache=cache)
            if number:
                assert len(listed) == (0 if marks else 2)  # the root and entities, not people
            total = sum(map(len, read_tree(tmp_path).notes.values()))
            with opened(tmp_path) as leased:
                sizes = cache.take(leased.path)
                assert sizes.totals[""] == total
                cache.put(leased.path, sizes)


def _no_marks(*arguments: object) -> None:
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


def marks_work(folder: Path) -> bool:
    fd = os.open(folder, os.O_RDONLY)
    try:
        _fsops.set_mark(fd, b"x")
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


@pytest.mark.parametrize(
    "mark",
    [b"", b"x", b"[]", b"{}", b"7", b'["a", 1, 1, []]', b"[%d, %d, 5, [1]]", b'[%d, %d, 5, ["../.."]]', b"[" * 3900],
)
def test_marks_of_others(tmp_path: Path, mark: bytes) -> None:
    if not marks_work(tmp_path):
        pytest.skip("this file system has no extended attributes")
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.md").write_bytes(b"x" * 10)
    moment = time.time_ns()
    os.utime(tmp_path / "d", ns=(moment, moment))
    try:
        os.setxattr(tmp_path / "d", "user.trioagent.size", mark % (moment, moment) if b"%" in mark else mark)
    except OSError:
        pytest.skip("so large a mark cannot be made")
    with pytest.raises(MemoryLimitError, match="d: would hold 11"):
        commit_now(tmp_path, ChangeSet(writes={"d/b.md": b"x"}), cache=SizesCache(), limits=MemoryLimits(dir_bytes=10))


def test_old_counts_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What outside programs overwrite in place does not move a folder's stamp."""
    limits = MemoryLimits(dir_bytes=10)
    commit_now(tmp_path, ChangeSet(writes={"d/a.md": b"x" * 5}), limits=limits)
    (tmp_path / "d/a.md").write_bytes(b"x" * 9)
    commit_now(tmp_path, ChangeSet(writes={"d/b.md": b"x" * 2}), limits=limits)
    later = time.time_ns() + 2 * 3600 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    with pytest.raises(MemoryLimitError, match="d: would hold 12"):
        commit_now(tmp_path, ChangeSet(writes={"d/c.md": b"x"}), limits=limits)


def test_cache_is_bounded(tmp_path: Path) -> None:
    cache = SizesCache(max_folders=10)

    def commit_in(name: str, folders: int) -> str:
        """Returns the memory, which has so many folders besides its own."""
        notes = {f"{number}/a.md": b"x" for number in range(folders)}
        assert commit_now(tmp_path / name, ChangeSet(writes=notes), cache=cache)
        return str(tmp_path / name)

    *_, fourth_last, _, _, last = [commit_in(f"m{number}", 2) for number in range(20)]
    assert (cache.folders_of(last), cache.folders_of(fourth_last)) == (3, 0)
    assert cache.folders_of(commit_in("huge", 10)) == 0


def test_deep_tree_of_others_does_not_stop_us(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(400):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    try:
        assert commit_now(tmp_path, ChangeSet(writes={"a.md": b"x", "d/b.md": b"x"}))
        with pytest.raises(MemoryLimitError):
            commit_now(tmp_path, ChangeSet(writes={"d/" * 40 + "b.md": b"x"}))
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # shutil.rmtree recurses


def test_kinds_of_operations_are_all_counted() -> None:
    functions = {name: value for name, value in vars(_fsops).items() if isinstance(value, types.FunctionType)}
    public = {name for name in functions if not name.startswith("_") and functions[name].__module__ == _fsops.__name__}
    assert public == {*ALL, "close", "path_of"}  # the last one is for the texts of errors only


def test_sizes_that_miss_a_folder_are_counted_again(tmp_path: Path) -> None:
    """Another process moved the folder away while it was read, and put it back before the commit."""
    memory, elsewhere = tmp_path / "memory", tmp_path / "elsewhere"
    (memory / "a").mkdir(parents=True)
    (memory / "a" / "note.md").write_bytes(b"x" * 60)
    commit_now(memory, ChangeSet(writes={"user.md": b"x"}))
    (memory / "by hand.md").touch()  # so that the folders are looked at again

    def step(_: int, name: str, operation: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if name == "entries" and not moved:
            moved.append((memory / "a").rename(elsewhere))
        elif name not in ("entries", "fstat", "open_dir", "mark", "set_mark") and elsewhere.exists():
            elsewhere.rename(memory / "a")
        return operation(*args)

    moved: list[Path] = []
    with switched(step, ALL):
        assert commit_now(memory, ChangeSet(writes={"a/b/c.md": b"x" * 30}))
    assert moved and not elsewhere.exists()
    assert (memory / "a" / "b" / "c.md").read_bytes() == b"x" * 30
    with pytest.raises(MemoryLimitError, match="would hold 110 bytes"):
        commit_now(memory, ChangeSet(writes={"a/b/d.md": b"x" * 20}), limits=MemoryLimits(dir_bytes=100))
