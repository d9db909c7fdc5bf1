"""A process killed, or refused by its disk, at any file operation of a commit leaves the memory before it or after
it."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trioagent import _errors
from trioagent._files import RENAME_EXCHANGE, RENAME_NOREPLACE
from trioagent.memory import ChangeSet, Knowledge, Memory, Receipt
from trioagent.memory._receipts import read_receipt
from trioagent.tools import version_of

from ..lacking_renames import refuse_renames
from ..open_files import open_files
from .support import (
    ALL,
    PRIVATE,
    before,
    commit_now,
    opened,
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


STEPS = ("exchange", "rename_new", "rename", "unlink", "mkdir", "rmdir")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO, errno.EPERM])
async def test_a_disk_that_refuses_everything_from_some_step_on(tmp_path: Path, code: int) -> None:
    """The memory can be read meanwhile, nothing can be saved; the first lease after the cure settles it."""
    new, _ = scenarios()["all of it"]
    memory = Memory(tmp_path / "memory")
    before().lay_down(memory.path)
    for after in range(3, 9):
        with _refusing(STEPS, code, after=after):
            with pytest.raises(_errors.MemoryStorageError) as caught:
                async with memory.lease() as lease:
                    await lease.commit(before().changes_to(new))
            assert caught.value.pending and caught.value.errno == code
            async with memory.lease() as lease:
                assert lease.unsettled is not None and "can be read" in str(lease.unsettled)
                assert not await lease.commit(ChangeSet())
                with pytest.raises(_errors.MemoryStorageError) as refused:
                    await lease.commit(ChangeSet(writes={"a.md": b"x"}))
                assert refused.value is lease.unsettled
        async with memory.lease() as lease:
            assert lease.unsettled is None
        assert read_tree(memory.path) in (before(), new)
        assert not (memory.path / PRIVATE).exists()
        shutil.rmtree(memory.path)
        before().lay_down(memory.path)


@pytest.mark.parametrize("scenario", sorted(scenarios().keys() - {"a receipt alone"}))
@pytest.mark.parametrize("code", [errno.EPERM, errno.EXDEV, errno.EBUSY, errno.EDQUOT, errno.EACCES])
def test_a_step_that_is_refused_for_good_undoes_the_others(tmp_path: Path, scenario: str, code: int) -> None:
    """Whichever note or folder it is: the memory is as before, usable at once, and the error says what it is."""
    new, receipt = scenarios()[scenario]
    changes = before().changes_to(new)
    for path in sorted({*changes.writes, *changes.deletes, *changes.made_dirs, *changes.removed_dirs}):
        root, name = tmp_path / path.replace("/", "_"), path.rpartition("/")[2]
        before().lay_down(root)
        old = picture(root)
        with _refusing(STEPS, code, name=name), pytest.raises(_errors.TrioAgentError) as caught:
            commit_now(root, changes, receipt=receipt)
        if code == errno.EDQUOT:
            assert isinstance(caught.value, _errors.MemoryStorageError)
            assert caught.value.errno == code and not caught.value.pending
        else:
            assert isinstance(caught.value, _errors.MemoryProtectedError)
            assert caught.value.path.rpartition("/")[2] == name
        assert picture(root) == old  # the very same files, with their modes and times
        assert recover_now(root) is False
        assert commit_now(root, ChangeSet(writes={"another.md": b"x", "yet/another.md": b"y"}))


def picture(root: Path) -> dict[str, tuple[int, ...]]:
    """Each note and folder with what tells it from another of the same content."""
    found = {}
    for path in root.rglob("*"):
        status = path.stat()
        identity = (status.st_ino, status.st_mtime_ns) if path.is_file() else ()
        found[str(path.relative_to(root))] = (status.st_mode, status.st_uid, *identity)
    return found


def _refusing(names: tuple[str, ...], code: int, *, after: int = 0, name: str | None = None) -> Any:
    """Refuse these operations after the first few of them, or those on notes and folders of one name."""

    def refuse(step: int, _: str, operation: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if step > after and (name is None or name in args):
            raise OSError(code, os.strerror(code))
        return operation(*args)

    return switched(refuse, names)


class Died(BaseException):
    """Stands for the death of the process: nothing of ours catches it."""


def _dying(names: tuple[str, ...], after: int = 0) -> Any:
    def die(step: int, _: str, operation: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        if step > after:
            raise Died
        return operation(*args)

    return switched(die, names)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"{",
        b"[]",
        b'{"format": 2}',
        b'{"format": 3}',
        b'{"format":2,"deletes":[{"path":"../x","file":"old-0","before":"1"}],"removed":[],"made":[],"writes":[],"receipt":"","payload":""}',
        b'{"format":2,"deletes":[{"path":"user.md","file":"../x","before":"1"}],"removed":[],"made":[],"writes":[],"receipt":"","payload":""}',
        b'{"format":2,"deletes":[],"removed":[{"path":"folder"}],"made":[],"writes":[],"receipt":"","payload":""}',
        b'{"format":2,"deletes":[],"removed":[],"made":[{"path":"x","mode":true}],"writes":[],"receipt":"","payload":""}',
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
    with pytest.raises(Died), _dying(("exchange", "rename_new")):
        commit_now(root, before().changes_to(new))
    for staged in (root / PRIVATE).glob("new-*"):
        staged.write_bytes(b"torn")
    recover_now(root)
    assert read_tree(root) == before()


@pytest.mark.parametrize("moved", [-86400, 0, 86400], ids=["an older time", "the time of the save", "a later time"])
@pytest.mark.parametrize("after", range(3))
def test_notes_changed_after_the_crash_stay(tmp_path: Path, after: int, moved: int) -> None:
    """A person who saves a note between a crash and the recovery has acted later: that edit stands, whatever its time.

    A backup, a synchroniser or an archive puts files in place that keep their own, older times.
    """
    root = tmp_path / "memory"
    before().lay_down(root)
    new, _ = scenarios()["all of it"]
    new.write("user.md", b"from the block\n")
    with pytest.raises(Died), _dying(("exchange", "rename"), after=after):
        commit_now(root, before().changes_to(new))
    now = time.time()
    for path in ("user.md", "entities/old.md"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(b"by hand\n")
        os.utime(root / path, (now + moved, now + moved))
    recover_now(root)
    expected = new.copy()
    expected.write("user.md", b"by hand\n")
    expected.write("entities/old.md", b"by hand\n")
    if after == 0:
        expected = before()  # no record yet
        expected.write("user.md", b"by hand\n")
        expected.write("entities/old.md", b"by hand\n")
    assert read_tree(root) == expected


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_save_that_a_dying_commit_had_displaced_is_put_back(
    tmp_path: Path, exchanges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor saves in the instant before the rename, and the process dies in the instant after it."""
    before().lay_down(tmp_path)
    new = before()
    new.write("user.md", b"from the block\n")
    new.delete("entities/old.md")

    if not exchanges:
        refuse_renames(monkeypatch, errno.EINVAL, RENAME_EXCHANGE)
    for victim, operation in (("user.md", "exchange" if exchanges else "rename"), ("old.md", "rename")):

        def save_and_die(
            _: int, name: str, step: Callable[..., Any], args: tuple[Any, ...], *, victim: str = victim
        ) -> Any:
            if victim not in args or PRIVATE in args:
                return step(*args)
            (next(tmp_path.rglob(victim))).write_bytes(b"by hand\n")
            step(*args)
            raise Died

        with pytest.raises(Died), switched(save_and_die, (operation,)):
            commit_now(tmp_path, before().changes_to(new))
        recover_now(tmp_path)
        assert next(tmp_path.rglob(victim)).read_bytes() == b"by hand\n"
        assert not (tmp_path / PRIVATE).exists()
        shutil.rmtree(tmp_path)
        before().lay_down(tmp_path)


@pytest.mark.parametrize("missing", ["nothing", "exchange", "rename flags", "links"])
@pytest.mark.parametrize("how", ["in place", "by rename", "a new note"])
def test_a_save_at_any_moment_is_not_lost(
    tmp_path: Path, missing: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the file system offers, an editor's save between any two steps of a commit is kept."""
    lacking = ["nothing", "exchange", "rename flags", "links"].index(missing)

    def no_link(*names: object, **options: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    refuse_renames(monkeypatch, errno.EINVAL, *[RENAME_EXCHANGE, RENAME_NOREPLACE][:lacking])
    if missing == "links":
        monkeypatch.setattr(os, "link", no_link)
    path = "fresh.md" if how == "a new note" else "user.md"
    new = before()
    new.write(path, b"from the block\n")
    new.write("entities/other.md", b"other\n")
    known = Knowledge(seen={name: version_of(data) for name, data in before().notes.items()})
    for number in range(1, 200):
        root, reached = tmp_path / str(number), False
        before().lay_down(root)

        def save(
            step: int,
            _: str,
            operation: Callable[..., Any],
            args: tuple[Any, ...],
            *,
            at: int = number,
            to: Path = root,
        ) -> Any:
            nonlocal reached
            if step == at:
                reached = True
                target = to.with_suffix(".saved") if how == "by rename" else to / path
                target.write_bytes(b"by hand\n")
                if how == "by rename":
                    target.rename(to / path)
            return operation(*args)

        try:
            with switched(save, ALL):
                commit_now(root, before().changes_to(new), knowledge=known)
        except (_errors.MemoryRejectedError, _errors.MemoryStorageError):
            pass
        recover_now(root)
        if not reached:
            break
        assert (root / path).read_bytes() == b"by hand\n"
    assert number > 40


def test_a_record_of_0_1_is_carried_out(tmp_path: Path) -> None:
    """Format 1 tells a note by the time of its last change and its size, and staged notes by SHA-256."""
    for name, text in (("a.md", b"old"), ("gone.md", b"gone"), ("theirs.md", b"old")):
        (tmp_path / name).write_bytes(text)
    versions = {path.name: _legacy_version(path) for path in tmp_path.iterdir()}
    (tmp_path / "theirs.md").write_bytes(b"changed since")
    os.utime(tmp_path / "theirs.md", (1, 1))
    (tmp_path / PRIVATE).mkdir()
    writes = []
    for number, name in enumerate(("a.md", "theirs.md", "folder/new.md")):
        (tmp_path / PRIVATE / f"new-{number}").write_bytes(b"staged")
        digest = hashlib.sha256(b"staged").hexdigest()
        writes.append({"file": f"new-{number}", "target": name, "sha256": digest, "before": versions.get(name)})
    receipt = Receipt("job/1", b"payload")
    record = {
        "format": 1,
        "moment": time.time_ns(),
        "deletes": {"gone.md": versions["gone.md"]},
        "removed": [],
        "made": ["folder"],
        "writes": writes,
        "receipt": receipt.file,
        "payload": base64.b64encode(receipt.payload).decode(),
    }
    (tmp_path / PRIVATE / "redo.json").write_text(json.dumps(record))
    assert recover_now(tmp_path) is True
    assert read_tree(tmp_path).notes == {"a.md": b"staged", "theirs.md": b"changed since", "folder/new.md": b"staged"}
    with opened(tmp_path) as leased:
        assert read_receipt(leased, receipt.key) == receipt.payload


def _legacy_version(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_ino, status.st_mtime_ns, status.st_size]


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
