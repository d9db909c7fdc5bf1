"""Nothing outside of the memory's folder is read, written, listed or counted, whatever is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trioagent.tools._disk import Disk

from .conftest import Memory


@pytest.fixture(params=["by descriptor", "by path"])
def trapped(request: pytest.FixtureRequest, memory: Memory) -> Iterator[Memory]:
    """A memory full of links that lead out, beside a folder whose name starts with the memory's."""
    memory = Memory(memory.root, by_fd=request.param == "by descriptor")
    beside = memory.root.parent / "mem2"
    beside.mkdir()
    (beside / "secret.md").write_text("secret needle")
    memory.put("user.md", "mine")
    (memory.root / "link.md").symlink_to(beside / "secret.md")
    (memory.root / "up.md").symlink_to("../mem2/secret.md")
    (memory.root / "dir").symlink_to(beside)
    (memory.root / "loop").symlink_to("loop")
    (memory.root / "inner.md").symlink_to("user.md")
    yield memory
    assert os.listdir(beside) == ["secret.md"]
    assert (beside / "secret.md").read_text() == "secret needle"
    assert sorted(os.listdir(memory.root.parent)) == ["mem", "mem2"]


PATHS = [
    "../mem2/secret.md",
    "x/../../mem2/secret.md",
    "./../mem2/secret.md",
    "..\\mem2\\secret.md",
    "link.md",
    "up.md",
    "dir/secret.md",
    "dir/../dir/secret.md",
    "loop/x.md",
]


@pytest.mark.parametrize("path", PATHS)
def test_no_tool_reaches_out(trapped: Memory, path: str) -> None:
    outside = str(trapped.root.parent / "mem2" / "secret.md")
    for each in (path, outside, f"/{path}"):
        for answer in (
            trapped.read_file(each),
            trapped.update_file(each, "secret", "changed"),
            trapped.delete_file(each),
            trapped.go_to_link(f"[[{each}]]"),
            trapped.get_size(each),
            trapped.check_if_file_exists(each),
        ):
            assert not answer and "needle" not in str(answer)
    assert not trapped.create_file(path, "changed") or path.startswith("..\\")
    assert not trapped.write_to_file(path, "+changed\n") or path.startswith("..\\")


def test_links_are_not_listed_followed_or_counted(trapped: Memory) -> None:
    assert trapped.list_files() == ["user.md"]
    assert trapped.search("needle") == [] and trapped.list_files("dir") == []
    assert trapped.get_size() == 4
    assert trapped.check_if_dir_exists("dir") is False
    assert "link" in trapped.create_dir("dir/sub") or "not a folder" in trapped.create_dir("dir/sub")
    assert not trapped.create_file("dir/new.md", "x")
    assert not trapped.create_file("inner.md", "x")
    assert trapped.read_file("user.md") == "mine"


def test_special_files_do_not_stall(trapped: Memory) -> None:
    os.mkfifo(trapped.root / "pipe.md")
    assert "no plain note" in trapped.read_file("pipe.md")
    assert "no plain note" in trapped.create_file("pipe.md", "x")
    assert trapped.list_files() == ["user.md"] and trapped.search("x") == []


@pytest.mark.parametrize("trapped", ["by descriptor"], indirect=True)  # only that closes this gap
def test_a_folder_swapped_for_a_link_while_it_is_used(trapped: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder is checked and then swapped; what counts is what is opened, not what was checked."""
    trapped.put("sub/secret.md", "fine")
    stat = os.stat

    def stat_and_swap(path: Any, **options: Any) -> os.stat_result:
        found = stat(path, **options)
        if path == "secret.md" and not swapped:
            swapped.append((trapped.root / "sub").rename(trapped.root / "was"))
            (trapped.root / "sub").symlink_to(trapped.root.parent / "mem2")
        return found

    swapped: list[Path] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat_and_swap)
        assert "needle" not in trapped.read_file("sub/secret.md")
    assert swapped


def test_the_root_itself_may_be_a_link(memory: Memory, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(memory.root)
    memory.put("user.md", "mine")
    assert Disk(str(tmp_path / "alias")).files() == ["user.md"]


def test_very_deep_folders(memory: Memory) -> None:
    here = os.open(memory.root, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    memory.put("user.md", "needle")
    assert memory.list_files() == ["user.md"]
    assert memory.search("needle") == ["user.md:1: needle"]
    assert memory.get_size() == 6
    deepest = memory.root
    for _ in range(1500):  # shutil.rmtree would recurse too deep
        os.rename(deepest / "d", memory.root / "e")
        if not (memory.root / "e" / "d").exists():
            os.rmdir(memory.root / "e")
            break
        os.rename(memory.root / "e" / "d", memory.root / "d")
        os.rmdir(memory.root / "e")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(memory: Memory) -> None:
    memory.put("a.md", "x")
    memory.put("sub/b.md", "needle")
    (memory.root / "a.md").chmod(0)
    (memory.root / "sub").chmod(0)
    try:
        assert "permission denied" in memory.read_file("a.md")
        assert memory.list_files() == ["a.md"] and memory.search("needle") == []
        assert memory.create_file("sub/c.md", "x") is not True
    finally:
        (memory.root / "sub").chmod(0o700)
