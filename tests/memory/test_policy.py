"""What no block may touch, whatever it calls: decided from names, refused at the commit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trioagent._errors import InvalidInputError, MemoryLimitError, MemoryProtectedError
from trioagent.memory import ChangeSet, Memory, VaultPolicy
from trioagent.tools import AccessRules, glob_matches, write_problem

DOT = "\uff0e"  # a full-width full stop
UNSEEN = "\u200c"  # a zero-width non-joiner, which macOS ignores in names


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".GIT/config",
        ".envrc",
        ".obsidian/plugins/x/main.js",
        "a/b/.hidden.md",
        ".hidden/note.md",
        f"{UNSEEN}.git/config.md",
        f".g{UNSEEN}it/hooks.md",
        f"{DOT}git/config.md",
        "Makefile",
        "conftest.py",
        "run.sh",
        "note",
        "a.md/b",
        "x.html",
    ],
)
def test_names_that_may_not_be_written(path: str) -> None:
    assert write_problem(path, AccessRules())


@pytest.mark.parametrize(
    "path",
    ["user.md", "a/b/c.MD", "a.txt", "b.json", "picture.PNG", "St. Pauli.md", "1. Notes/v1.2.md", "…/x.md"],
)
def test_names_that_may(path: str) -> None:
    assert write_problem(path, AccessRules()) == ""


def test_globs_and_read_only() -> None:
    rules = AccessRules(writable=("entities/**", "*.md"))
    assert not write_problem("entities/a/b.md", rules) and not write_problem("user.md", rules)
    assert "only notes that match entities/** or *.md" in write_problem("other/a.md", rules)
    assert "read-only" in write_problem("user.md", AccessRules(read_only=True))
    assert glob_matches("a/**/b.md", "a/b.md") and glob_matches("a/**/b.md", "a/x/y/b.md")
    assert not glob_matches("*.md", "a/b.md") and not glob_matches("a?.md", "a/.md")


@pytest.mark.parametrize(
    "bad", [{"writable": ()}, {"writable": (1,)}, {"suffixes": ["md"]}, {"suffixes": [".MD"]}, {"read_only": 1}]
)
def test_policies_that_are_none(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(bad))):
        VaultPolicy(**bad)  # type: ignore[arg-type]


async def save(memory: Memory, changes: ChangeSet) -> bool:
    async with memory.lease() as lease:
        return await lease.commit(changes)


async def test_the_commit_refuses_it_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/config").write_text("[core]")
    memory = Memory(tmp_path)
    for changes in (
        ChangeSet(writes={".git/config": b"evil", "a.md": b"x"}),
        ChangeSet(deletes=frozenset({".git/config"}), writes={"a.md": b"x"}),
        ChangeSet(made_dirs=frozenset({".git/hooks"}), writes={"a.md": b"x"}),
        ChangeSet(writes={"Makefile": b"evil", "a.md": b"x"}),
    ):
        with pytest.raises(MemoryProtectedError):
            await save(memory, changes)
    assert os.listdir(tmp_path) == [".git"] and (tmp_path / ".git/config").read_text() == "[core]"


async def test_a_folder_with_hidden_files_is_not_moved(tmp_path: Path) -> None:
    (tmp_path / "folder/.obsidian").mkdir(parents=True)
    (tmp_path / "folder/a.md").write_text("a")
    moved = ChangeSet(deletes=frozenset({"folder/a.md"}), removed_dirs=frozenset({"folder"}), writes={"new/a.md": b"a"})
    with pytest.raises(MemoryProtectedError, match=r"folder cannot be changed: it holds hidden files \(.obsidian\)"):
        await save(Memory(tmp_path), moved)
    assert (tmp_path / "folder/a.md").exists() and not (tmp_path / "new").exists()


async def test_no_executable_bit_is_set_or_moved(tmp_path: Path) -> None:
    for name in ("found.md", "moved.md"):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(0o755)
    changes = ChangeSet(writes={"found.md": b"new", "elsewhere.md": b"moved.md"}, deletes=frozenset({"moved.md"}))
    await save(Memory(tmp_path), changes)
    modes = {path.name: path.stat().st_mode & 0o111 for path in tmp_path.iterdir()}
    assert modes == {"found.md": 0o111, "elsewhere.md": 0}


async def test_a_read_only_memory(tmp_path: Path) -> None:
    memory = Memory(tmp_path, policy=VaultPolicy(read_only=True))
    with pytest.raises(MemoryProtectedError, match="the memory is read-only"):
        await save(memory, ChangeSet(writes={"a.md": b"x"}))
    assert not await save(memory, ChangeSet())


@pytest.mark.parametrize("kind", ["link", "pipe"])
async def test_what_is_no_file_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    (tmp_path / "user.md").write_text("u")
    odd = tmp_path / "odd.md"
    if kind == "link":
        odd.symlink_to("user.md")
    else:
        os.mkfifo(odd)
    before = odd.lstat()
    for changes in (ChangeSet(deletes=frozenset({"odd.md"})), ChangeSet(writes={"odd.md": b"x"})):
        with pytest.raises(MemoryProtectedError, match="not a file but a symbolic link, a pipe"):
            await save(Memory(tmp_path), changes)
    assert odd.lstat() == before


async def test_new_names_that_a_block_gives_by_itself(tmp_path: Path) -> None:
    """The tools refuse names that break links; so does the commit, whatever call made them. What moves keeps its."""
    (tmp_path / "C#").mkdir()
    (tmp_path / "C#" / "F#.md").write_text("x")
    memory = Memory(tmp_path)

    async def by_block(changes: ChangeSet) -> bool:
        async with memory.lease() as lease:
            return await lease.commit(changes, by_block=True)

    for path in ("a#b.md", "a|b.md", "[a].md", "a:b.md", "a^.md", "a\\b.md", "a .md", "a..md", "dir./a.md", "x /a.md"):
        with pytest.raises(MemoryLimitError, match="; use '"):
            await by_block(ChangeSet(writes={path: b"x"}))
    assert await by_block(ChangeSet(writes={"C#/F#.md": b"y", "C#/new.md": b"z", "St. Pauli.md": b"1"}))
    moved = ChangeSet(
        writes={"D/C#/F#.md": b"y", "D/C#/new.md": b"z"},
        deletes=frozenset({"C#/F#.md", "C#/new.md"}),
        removed_dirs=frozenset({"C#"}),
    )
    assert await by_block(moved)
    assert await save(memory, ChangeSet(writes={"E#.md": b"of the host's own"}))
