"""Files of our own are written whole, and flushed where that is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trioagent._files import write_whole


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
