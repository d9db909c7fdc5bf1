"""A note that a commit writes has the access list and the group that it would have, had its folder's users made it."""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path

import pytest

from trioagent._errors import MemoryStorageError
from trioagent.memory import ChangeSet

from .support import commit_now, switched

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
OWNER, USER, GROUP, MASK, OTHERS = 0x01, 0x02, 0x04, 0x10, 0x20
NOBODY = 65534


def access_list(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, may, who) for tag, may, who in entries)


def entries_of(path: Path) -> set[tuple[int, int]]:
    data = os.getxattr(path, ACCESS)
    return {(tag, may) for tag, may, _ in struct.iter_unpack("<HHI", data[4:])}


# Somebody else may read and write, the group and others nothing.
PRIVATE_LIST = access_list(
    (OWNER, 6, 2**32 - 1), (USER, 6, NOBODY), (GROUP, 0, 2**32 - 1), (MASK, 6, 2**32 - 1), (OTHERS, 0, 2**32 - 1)
)


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    note = tmp_path / "memory" / "note.md"
    note.parent.mkdir()
    note.write_text("old")
    try:
        os.setxattr(note, ACCESS, PRIVATE_LIST)
        os.setxattr(note, "user.tags", b"red")
    except OSError as error:
        pytest.skip(f"this file system keeps no access lists: {error.strerror}")
    return note.parent


def test_a_note_that_is_replaced_keeps_its_own(memory: Path) -> None:
    before = os.getxattr(memory / "note.md", ACCESS)
    commit_now(memory, ChangeSet(writes={"note.md": b"new", "other.md": b"x"}))
    assert (memory / "note.md").read_bytes() == b"new"
    assert os.getxattr(memory / "note.md", ACCESS) == before
    assert os.getxattr(memory / "note.md", "user.tags") == b"red"
    assert os.listxattr(memory / "other.md") == []


def test_what_cannot_keep_it_is_not_saved(memory: Path) -> None:
    """Without the list its mode would let the group read it."""
    assert stat.S_IMODE((memory / "note.md").stat().st_mode) == 0o660

    def refuse(number: int, name: str, operation: object, args: tuple[object, ...]) -> None:
        raise OSError(28, "No space left on device")

    with switched(refuse, ("set_attribute",)), pytest.raises(MemoryStorageError, match="unchanged"):
        commit_now(memory, ChangeSet(writes={"note.md": b"new"}))
    assert (memory / "note.md").read_text() == "old"


def test_a_new_note_has_what_its_folder_gives(memory: Path) -> None:
    """As one that is made there by any program, but for the umask, which a list for new files stands in for."""
    shared = memory / "shared"
    shared.mkdir()
    given = access_list(
        (OWNER, 7, 2**32 - 1), (USER, 7, NOBODY), (GROUP, 5, 2**32 - 1), (MASK, 7, 2**32 - 1), (OTHERS, 0, 2**32 - 1)
    )
    os.setxattr(shared, DEFAULT, given)
    (shared / "by hand.md").write_text("x")
    commit_now(memory, ChangeSet(writes={"shared/a.md": b"x", "shared/new folder/b.md": b"x", "c.md": b"x"}))
    expected = os.getxattr(shared / "by hand.md", ACCESS)
    assert entries_of(shared / "by hand.md") == {(OWNER, 6), (USER, 7), (GROUP, 5), (MASK, 6), (OTHERS, 0)}
    for name in ("a.md", "new folder/b.md"):
        assert os.getxattr(shared / name, ACCESS) == expected
        assert (shared / name).stat().st_mode == (shared / "by hand.md").stat().st_mode
    assert os.listxattr(memory / "c.md") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder any group")
def test_a_new_note_has_the_group_of_a_shared_folder(memory: Path) -> None:
    shared = memory / "shared"
    shared.mkdir()
    os.chown(shared, -1, 4321)
    shared.chmod(0o2775)
    commit_now(memory, ChangeSet(writes={"shared/a.md": b"x", "shared/deep/b.md": b"x", "c.md": b"x"}))
    assert [(memory / name).stat().st_gid for name in ("shared/a.md", "shared/deep/b.md")] == [4321, 4321]
    assert (memory / "c.md").stat().st_gid == memory.stat().st_gid


def test_a_file_system_without_them_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "note.md").write_text("old")

    def unsupported(*names: object) -> bytes:
        raise OSError(95, "Operation not supported")

    for name in ("listxattr", "getxattr", "setxattr"):
        monkeypatch.setattr(os, name, unsupported)
    assert commit_now(tmp_path, ChangeSet(writes={"note.md": b"new", "other.md": b"x"}))
