"""What hostile code can leave in its view, made by hand: read as plain data, or refused in words; nothing hangs."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trioagent._errors import MemoryLimitError, MemoryStorageError
from trioagent.memory import ChangeSet
from trioagent.sandbox._collect_changes import TooManyNamesError, read_changes
from trioagent.sandbox._guest.limits import MAX_DEPTH
from trioagent.sandbox._mixed_ownership import MixedOwnership

from ..deep_trees import Nest
from ..open_files import open_files

pytestmark = pytest.mark.real
FOLDER = os.O_RDONLY | os.O_DIRECTORY
LIMIT = 1_000_000


@contextmanager
def opened(*paths: Path) -> Iterator[list[int]]:
    fds = [os.open(path, FOLDER) for path in paths]
    try:
        yield fds
    finally:
        for fd in fds:
            os.close(fd)


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    (tmp_path / "upper").mkdir()
    return tmp_path / "upper"


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    root = tmp_path / "memory"
    (root / "entities" / "deep").mkdir(parents=True)
    for name in ("user.md", "entities/a.md", "entities/deep/b.md"):
        (root / name).write_text(name)
    return root


def changes(upper: Path, lower: Path) -> ChangeSet:
    before = open_files()
    try:
        with opened(upper, lower) as (above, below):
            return read_changes(above, below, max_bytes=LIMIT)
    finally:
        assert open_files(again=True) == before


def whiteout(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(0, 0))
    except PermissionError:
        pytest.skip("this user may not make whiteouts here")


def opaque(path: Path) -> None:
    try:
        os.setxattr(path, "user.overlay.opaque", b"y")
    except OSError:
        pytest.skip("no extended attributes here")


def test_names_are_counted_before_they_are_listed(upper: Path, lower: Path) -> None:
    """One whiteout in a layer may stand for any number of notes: too many are left to a thread."""
    for number in range(40):
        (lower / "entities" / "deep" / f"{number}.md").touch()
    whiteout(upper / "entities")
    names = 1 + 2 + 41  # the whiteout, what is in the removed folder, and what is in the one below
    with opened(upper, lower) as (above, below):
        found = read_changes(above, below, max_bytes=LIMIT, max_names=names)
        for most in (0, 1, 3, names - 1):
            with pytest.raises(TooManyNamesError):
                read_changes(above, below, max_bytes=LIMIT, max_names=most)
    assert found == changes(upper, lower)
    assert len(found.deletes) == 42


def test_special_files_are_refused(upper: Path, lower: Path) -> None:
    for make in (
        lambda path: os.mkfifo(path),
        lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
        lambda path: path.symlink_to("/etc/passwd"),
        lambda path: path.symlink_to(lower, target_is_directory=True),
    ):
        for name in ("user.md", "new"):
            make(upper / name)
            with pytest.raises(MemoryLimitError, match=f"{name}: is not a plain file or folder"):
                changes(upper, lower)
            (upper / name).unlink()


def test_a_device_is_no_whiteout(upper: Path, lower: Path) -> None:
    try:
        os.mknod(upper / "user.md", stat.S_IFCHR | 0o666, os.makedev(1, 5))  # /dev/zero: reading it never ends
    except PermissionError:
        pytest.skip("this user may not make devices")
    with pytest.raises(MemoryLimitError, match="is not a plain file"):
        changes(upper, lower)


def test_a_sparse_file_of_a_terabyte_is_not_read(upper: Path, lower: Path) -> None:
    with open(upper / "huge.md", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(MemoryLimitError, match=r"huge.md: has 1099511627776 bytes"):
        changes(upper, lower)


def test_a_terabyte_in_the_memory_is_not_read_either(upper: Path, lower: Path) -> None:
    with open(lower / "user.md", "r+b") as file:
        file.truncate(2**40)
    (upper / "user.md").write_text("mine")
    assert changes(upper, lower).writes == {"user.md": b"mine"}


def test_many_hard_links_to_one_large_file_count_each(upper: Path, lower: Path) -> None:
    (upper / "0").write_bytes(b"x" * (LIMIT // 4))
    for number in range(1, 4):
        os.link(upper / "0", upper / str(number))
    assert sum(map(len, changes(upper, lower).writes.values())) == LIMIT
    os.link(upper / "0", upper / "4")
    with pytest.raises(MemoryLimitError, match="more than one block may write"):
        changes(upper, lower)


def test_depth_is_bounded(upper: Path, lower: Path, nest: Nest) -> None:
    nest(upper, 3000)
    with pytest.raises(MemoryLimitError, match=f"deeper than {MAX_DEPTH}"):
        changes(upper, lower)


def test_a_tree_3000_deep_cannot_be_deleted_by_a_block(upper: Path, lower: Path, nest: Nest) -> None:
    (lower / "well").mkdir()
    nest(lower / "well", 3000)
    whiteout(upper / "well")
    with pytest.raises(MemoryLimitError, match="cannot be removed here"):
        changes(upper, lower)


@pytest.mark.parametrize("name", [b"\xff", b"a\xed\xa0\x80", b"\xff" * 255])
def test_names_that_are_not_utf8(upper: Path, lower: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(upper / "entities"))).mkdir()
    with open(os.fsencode(upper / "entities") + b"/" + name, "wb"):
        pass
    with pytest.raises(MemoryLimitError, match=r"entities: holds a name that is not UTF-8") as caught:
        changes(upper, lower)
    str(caught.value).encode()


def test_the_longest_and_oddest_names(upper: Path, lower: Path) -> None:
    names = ["n" * 255, "é" * 127, "\n", "\x1b[2J", "...", "\u202e", "con", "-rf", "*", "a\\b"]
    for name in names:
        (upper / name).write_text("x")
    assert set(changes(upper, lower).writes) == set(names)


def test_whiteouts_and_opaque_folders(upper: Path, lower: Path) -> None:
    whiteout(upper / "user.md")
    whiteout(upper / "never-was-there")
    (upper / "entities").mkdir()
    opaque(upper / "entities")
    (upper / "entities" / "a.md").write_text("anew")
    whiteout(upper / "entities" / "deep")  # in an opaque folder it hides nothing, and must not count twice
    found = changes(upper, lower)
    assert found.writes == {"entities/a.md": b"anew"}
    assert found.deletes == {"user.md", "entities/deep/b.md"}
    assert found.removed_dirs == {"entities/deep"}
    assert not found.made_dirs


def test_our_own_name_is_refused_unless_hidden(upper: Path, lower: Path) -> None:
    (upper / ".trioagent").mkdir()
    with pytest.raises(MemoryLimitError, match="reserved name"):
        changes(upper, lower)
    (upper / ".trioagent").rmdir()
    whiteout(upper / ".trioagent")
    assert not changes(upper, lower)


def test_a_folder_swapped_for_a_link_while_it_is_compared(
    upper: Path, lower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An outside program does that between the look and the opening; the link is not followed."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (upper / "entities").mkdir()
    opaque(upper / "entities")
    real = os.stat

    def swapping(name: Any, **options: Any) -> os.stat_result:
        status = real(name, **options)
        if name == "entities" and os.path.samestat(real(options["dir_fd"]), real(lower)):
            (lower / "entities").rename(tmp_path / "moved")
            (lower / "entities").symlink_to(tmp_path / "outside")
        return status

    monkeypatch.setattr(os, "stat", swapping)
    with pytest.raises(MemoryStorageError) as caught:
        changes(upper, lower)
    assert caught.value.path == str(lower) and "notes are unchanged" in str(caught.value)


async def look_for_others(root: Path) -> None:
    with opened(root) as (fd,):
        assert not await MixedOwnership(all_ids=os.getuid() == 0).needs_copy(fd)


async def test_looking_for_others_in_a_deep_tree(lower: Path, nest: Nest) -> None:
    nest(lower, 3000)
    await look_for_others(lower)


async def test_looking_for_others_in_a_wide_tree(lower: Path) -> None:
    """More folders side by side than a process may have descriptors."""
    for number in range(600):
        (lower / str(number)).mkdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        await look_for_others(lower)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give notes away")
async def test_a_copy_follows_no_link_and_waits_for_no_fifo(lower: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    (lower / "link").symlink_to(tmp_path / "outside")
    os.mkfifo(lower / "fifo")
    os.chown(lower / "user.md", 54321, 54321)
    with opened(lower) as (fd,):
        ownership = MixedOwnership(all_ids=True)
        assert await ownership.needs_copy(fd)
        async with ownership.copied(fd) as copy:
            assert copy != fd
            assert sorted(os.listdir(copy)) == ["entities", "link", "user.md"]
            assert os.readlink("link", dir_fd=copy) == str(tmp_path / "outside")
