"""Files of our own are written whole, and flushed where that is asked for."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from trioagent._files import RENAME_EXCHANGE, replace_folder, write_whole

from .lacking_renames import refuse_renames


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What has been flushed, file or folder, by the path that it had then."""
    found: list[str] = []
    fsync = os.fsync

    def note(fd: int) -> None:
        found.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    return found


def test_a_flush_covers_the_file_and_then_its_folder(tmp_path: Path, flushed: list[str]) -> None:
    write_whole(tmp_path / "a.json", b"1", sync=True)
    assert (tmp_path / "a.json").read_bytes() == b"1"
    assert flushed == [str(tmp_path / ".a.json.tmp"), str(tmp_path)]


def test_without_it_nothing_is_flushed(tmp_path: Path, flushed: list[str]) -> None:
    write_whole(tmp_path / "a.json", b"1")
    assert (tmp_path / "a.json").read_bytes() == b"1" and not flushed


def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.json").write_bytes(b"old")

    def refuse(source: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a.json", b"new", sync=True)
    assert os.listdir(tmp_path) == ["a.json"] and (tmp_path / "a.json").read_bytes() == b"old"


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("before", [None, {}, {"a": "old", "b": "old"}])
def test_a_folder_takes_the_place_of_another(
    before: dict[str, str] | None, can_exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        refuse_renames(monkeypatch, errno.EINVAL, RENAME_EXCHANGE)
    new, old = tmp_path / "new", tmp_path / "old"
    new.mkdir()
    (new / "a").write_text("new")
    if before is not None:
        old.mkdir()
        for name, text in before.items():
            (old / name).write_text(text)
    replace_folder(new, old)
    assert os.listdir(tmp_path) == ["old"]
    assert {path.name: path.read_text() for path in old.iterdir()} == {"a": "new"}


@pytest.mark.parametrize("error", [errno.EINVAL, errno.EACCES])
def test_a_folder_stays_where_it_cannot_be_replaced(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EACCES: the exchange is refused. EINVAL: the file system has none, and the second of two renames fails."""
    rename = Path.rename

    def rename_to(self: Path, target: Path) -> Path:
        if self.name == "new" and target.exists() is False:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        return rename(self, target)

    refuse_renames(monkeypatch, error, RENAME_EXCHANGE)
    monkeypatch.setattr(Path, "rename", rename_to)
    for name in ("new", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a").write_text(name)
    with pytest.raises(OSError, match="Permission denied"):
        replace_folder(tmp_path / "new", tmp_path / "old")
    assert {path.name: (path / "a").read_text() for path in tmp_path.iterdir()} == {"new": "new", "old": "old"}
