"""A process killed, or refused by its disk, at any file operation of a commit leaves the memory before it or after
it."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trioagent import _errors

from ..open_files import open_files
from .support import (
    ALL,
    PRIVATE,
    before,
    commit_now,
    read_tree,
    recover_now,
    run_python,
    run_with_tmpfs,
    scenarios,
    switched,
)


@pytest.mark.real
@pytest.mark.parametrize("sync", [False, True])
def test_killed_anywhere(tmp_path: Path, sync: bool) -> None:
    script = "import runpy; runpy.run_module('tests.memory.crash_runner', run_name='__main__')"
    tried = json.loads(run_python(script, tmp_path, *(["sync"] if sync else [])))
    assert tried.keys() == scenarios().keys()
    assert sum(seen["before"] + seen["after"] for seen in tried.values()) > 200


@pytest.mark.parametrize(("code", "sync"), [(errno.ENOSPC, False), (errno.EIO, True)])
@pytest.mark.parametrize("scenario", scenarios())
def test_refused_anywhere(tmp_path: Path, scenario: str, code: int, sync: bool) -> None:
    new, receipt = scenarios()[scenario]
    outcomes = set()
    for number in range(1, 1000):
        root = tmp_path / str(number)
        before().lay_down(root)
        reached = False

        def refuse(
            step: int, name: str, operation: Callable[..., Any], args: tuple[Any, ...], *, number: int = number
        ) -> Any:
            nonlocal reached
            if step == number:
                reached = True
                raise OSError(code, os.strerror(code))
            return operation(*args)

        try:
            with switched(refuse, ALL):
                commit_now(root, before().changes_to(new), receipt=receipt, sync=sync)
        except _errors.MemoryStorageError as error:
            said: _errors.MemoryStorageError | None = error
            outcome = "pending" if error.pending else "unchanged"
        else:
            said, outcome = None, "saved"
        if said is not None:
            assert (said.path, said.errno, said.detail) == (str(root), code, os.strerror(code))
            assert ("unchanged" in str(said)) == (outcome == "unchanged")
        if outcome == "unchanged":
            assert read_tree(root) == before()
        elif outcome == "saved":
            assert read_tree(root) == new
        recover_now(root)
        assert read_tree(root) == (before() if outcome == "unchanged" else new)
        assert (root / PRIVATE).exists() == (receipt is not None and outcome != "unchanged")
        outcomes.add(outcome)
        if not reached:
            break
    assert {"unchanged", "saved"} <= outcomes


def test_recovery_refused_then_done(tmp_path: Path) -> None:
    """As long as the disk refuses, nobody gets the memory; the commit stays recorded."""
    new, _ = scenarios()["many notes"]
    root = tmp_path / "memory"
    before().lay_down(root)
    with pytest.raises(_errors.MemoryStorageError) as caught, _refusing("rename", after=2):
        commit_now(root, before().changes_to(new))
    assert caught.value.pending
    with pytest.raises(_errors.MemoryStorageError, match="completed when the memory is used next"), _refusing("rename"):
        recover_now(root)
    assert recover_now(root) is False
    assert read_tree(root) == new


def _refusing(name: str, after: int = 0) -> Any:
    def refuse(step: int, name: str, operation: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if step > after:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return operation(*args)

    return switched(refuse, (name,))


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 2}',
        b'{"format": 1, "moment": 0}',
        b"[" * 100_000,
        b'{"format":1,"moment":9e9,"deletes":{},"removed":[],"made":[],"writes":[],"receipt":"","payload":""}',
        b'{"format":1,"moment":9,"deletes":{"../outside":[1,2,3]},"removed":[],"made":[],"writes":[],"receipt":"","payload":""}',
        b'{"format":1,"moment":9,"deletes":{},"removed":["/etc"],"made":[],"writes":[],"receipt":"","payload":""}',
        b'{"format":1,"moment":9,"deletes":{},"removed":[],"made":[],"writes":'
        b'[{"file":"../../outside","target":"a.md","sha256":"","before":null}],"receipt":"","payload":""}',
        b'{"format":1,"moment":9,"deletes":{},"removed":[],"made":[],"writes":[],"receipt":"../../../x","payload":""}',
    ],
)
def test_foreign_record_is_dropped(tmp_path: Path, record: bytes) -> None:
    root, outside = tmp_path / "memory", tmp_path / "outside"
    outside.write_text("untouched")
    before().lay_down(root)
    (root / PRIVATE).mkdir()
    (root / PRIVATE / "redo.json").write_bytes(record)
    (root / PRIVATE / "new-0").write_bytes(b"staged")
    assert recover_now(root) is False
    assert read_tree(root) == before()
    assert not (root / PRIVATE).exists()
    assert outside.read_text() == "untouched"


def test_torn_staged_note_is_left_out(tmp_path: Path) -> None:
    """What a power cut without fsync can leave: a record whose staged notes are empty."""
    root = tmp_path / "memory"
    before().lay_down(root)
    new, _ = scenarios()["many notes"]
    with pytest.raises(_errors.MemoryStorageError), _refusing("rename", after=1):
        commit_now(root, before().changes_to(new))
    for staged in (root / PRIVATE).glob("new-*"):
        staged.write_bytes(b"torn")
    recover_now(root)
    assert read_tree(root) == before()


def test_notes_changed_after_the_crash_stay(tmp_path: Path) -> None:
    """A person who edits a note between a crash and the recovery has acted later: that edit stands."""
    root = tmp_path / "memory"
    before().lay_down(root)
    new, _ = scenarios()["all of it"]
    new.write("user.md", b"from the block\n")
    with pytest.raises(_errors.MemoryStorageError), _refusing("unlink"):
        commit_now(root, before().changes_to(new))
    later = (root / PRIVATE / "redo.json").stat().st_mtime_ns + 10**9
    for path in ("user.md", "entities/old.md"):
        (root / path).write_bytes(b"by hand\n")
        os.utime(root / path, ns=(later, later))
    recover_now(root)
    expected = new.copy()
    expected.write("user.md", b"by hand\n")
    expected.write("entities/old.md", b"by hand\n")
    assert read_tree(root) == expected


_FULL_DISK = """
def content():
    return {name: open(os.path.join(folder, name), "rb").read() for name in os.listdir(folder)}

first = {"a.md": b"a" * 50_000, "b.md": b"b" * 50_000}
trio.run(save, folder, first)
for writes in ({"a.md": b"x" * 250_000}, {"a.md": b"x" * 90_000, "b.md": b"y" * 90_000, "c.md": b"z"}):
    assert refused(folder, writes) == errno.ENOSPC
    assert content() == first, content().keys()
trio.run(save, folder, {"a.md": b"", "d.md": b"d"})
assert content() == {"a.md": b"", "b.md": first["b.md"], "d.md": b"d"}
"""


@pytest.mark.real
def test_full_disk(tmp_path: Path) -> None:
    run_with_tmpfs(_FULL_DISK, tmp_path)


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """Whatever operation fails, every folder and file that was opened is closed."""
    new, receipt = scenarios()["all of it"]
    failed = 0
    for number in range(1, 200):
        root = tmp_path / str(number)
        before().lay_down(root)

        def refuse(
            step: int, name: str, operation: Callable[..., Any], args: tuple[Any, ...], *, number: int = number
        ) -> Any:
            if step == number:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return operation(*args)

        descriptors = open_files(again=bool(failed))
        try:
            with switched(refuse, ALL):
                commit_now(root, before().changes_to(new), receipt=receipt)
        except _errors.MemoryStorageError:
            failed += 1
        assert open_files(again=True) == descriptors
    assert failed > 50
