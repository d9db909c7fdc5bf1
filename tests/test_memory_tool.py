"""The commands of Anthropic's memory tool, with the results that its documentation specifies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent import CommitOrigin, Memory, MemoryTool, VaultPolicy
from trioagent._errors import WrongContextError

pytestmark = pytest.mark.real


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "projects" / "2025" / "deep").mkdir(parents=True)
    (folder / "user.md").write_text("# Ana\n- city: Paris\n- pet: cat\n")
    (folder / "projects" / "plan.txt").write_text("x" * 5632)
    (folder / "projects" / "2025" / "deep" / "a.md").write_text("a")
    (folder / ".obsidian").mkdir()
    (folder / ".obsidian" / "app.json").write_text("{}")
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "x.md").write_text("x")
    return folder


@pytest.fixture
def tool(notes: Path) -> MemoryTool:
    return MemoryTool(notes)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


async def test_view_a_directory(tool: MemoryTool) -> None:
    assert await tool.run({"command": "view", "path": "/memories"}) == (
        "Here're the files and directories up to 2 levels deep in /memories, excluding hidden items and node_modules:\n"
        "5.5K\t/memories\n"
        "5.5K\t/memories/projects\n"
        "1B\t/memories/projects/2025\n"
        "5.5K\t/memories/projects/plan.txt\n"
        "31B\t/memories/user.md"
    )
    assert (await tool.run({"command": "view", "path": "/memories/projects"})).splitlines()[1:] == [
        "5.5K\t/memories/projects",
        "1B\t/memories/projects/2025",
        "1B\t/memories/projects/2025/deep",
        "5.5K\t/memories/projects/plan.txt",
    ]


async def test_view_a_file(tool: MemoryTool, notes: Path) -> None:
    assert await tool.run({"command": "view", "path": "/memories/user.md"}) == (
        "Here's the content of /memories/user.md with line numbers:\n"
        "     1\t# Ana\n     2\t- city: Paris\n     3\t- pet: cat"
    )
    for wanted, shown in (([2, 3], "     2\t- city: Paris\n     3\t- pet: cat"), ([3, -1], "     3\t- pet: cat")):
        said = await tool.run({"command": "view", "path": "/memories/user.md", "view_range": wanted})
        assert said.partition("\n")[2] == shown
    (notes / "long.txt").write_text("\n" * 1_000_000)
    assert await tool.run({"command": "view", "path": "/memories/long.txt"}) == (
        "File /memories/long.txt exceeds maximum line limit of 999,999 lines."
    )


async def test_create(tool: MemoryTool, notes: Path) -> None:
    new = {"command": "create", "path": "/memories/a/b.txt", "file_text": "one\ntwo\n"}
    assert await tool.run(new) == "File created successfully at: /memories/a/b.txt"
    assert (notes / "a" / "b.txt").read_text() == "one\ntwo\n"
    assert await tool.run({**new, "file_text": "x"}) == "Error: File /memories/a/b.txt already exists"
    assert (notes / "a" / "b.txt").read_text() == "one\ntwo\n"


async def test_str_replace(tool: MemoryTool, notes: Path) -> None:
    change = {"command": "str_replace", "path": "/memories/user.md", "old_str": "Paris", "new_str": "Rome"}
    assert await tool.run(change) == (
        "The memory file has been edited.\n     1\t# Ana\n     2\t- city: Rome\n     3\t- pet: cat"
    )
    assert (notes / "user.md").read_text() == "# Ana\n- city: Rome\n- pet: cat\n"
    assert await tool.run(change) == (
        "No replacement was performed, old_str `Paris` did not appear verbatim in /memories/user.md."
    )
    assert await tool.run({**change, "old_str": "- "}) == (
        "No replacement was performed. Multiple occurrences of old_str `- ` in lines: 2, 3. Please ensure it is unique"
    )
    for path in ("/memories/nobody.md", "/memories/projects"):
        assert await tool.run({**change, "path": path}) == (
            f"Error: The path {path} does not exist. Please provide a valid path."
        )


@pytest.mark.parametrize(
    ("before", "line", "text", "after"),
    [
        ("a\nb\n", 0, "x\n", "x\na\nb\n"),
        ("a\nb\n", 1, "x", "a\nx\nb\n"),
        ("a\nb\n", 2, "x\n", "a\nb\nx\n"),
        ("a\nb", 2, "x", "a\nb\nx"),
        ("", 0, "x\n", "x\n"),
        ("a\r\nb\r\n", 1, "x\n", "a\r\nx\r\nb\r\n"),
        ("\ufeffa\n", 1, "é", "\ufeffa\né"),
    ],
)
async def test_insert(tool: MemoryTool, notes: Path, before: str, line: int, text: str, after: str) -> None:
    (notes / "t.md").write_bytes(before.encode())
    command = {"command": "insert", "path": "/memories/t.md", "insert_line": line, "insert_text": text}
    assert await tool.run(command) == "The file /memories/t.md has been edited."
    assert (notes / "t.md").read_bytes() == after.encode()


async def test_insert_where_it_cannot_be(tool: MemoryTool) -> None:
    command = {"command": "insert", "path": "/memories/user.md", "insert_line": 4, "insert_text": "x"}
    for number in (4, -1):
        assert await tool.run({**command, "insert_line": number}) == (
            f"Error: Invalid `insert_line` parameter: {number}. It should be within the range of lines of the file: "
            "[0, 3]"
        )
    missing = await tool.run({**command, "path": "/memories/projects"})
    assert missing == "Error: The path /memories/projects does not exist"


async def test_delete(tool: MemoryTool, notes: Path) -> None:
    assert (
        await tool.run({"command": "delete", "path": "/memories/user.md"}) == "Successfully deleted /memories/user.md"
    )
    assert await tool.run({"command": "delete", "path": "/memories/projects"}) == (
        "Successfully deleted /memories/projects"
    )
    assert files(notes) == {".obsidian/app.json", "node_modules/x.md"}
    assert not (notes / "projects").exists()
    missing = await tool.run({"command": "delete", "path": "/memories/user.md"})
    assert missing == "Error: The path /memories/user.md does not exist"
    assert (await tool.run({"command": "delete", "path": "/memories"})).startswith("Error: /memories itself cannot be")


async def test_rename(tool: MemoryTool, notes: Path) -> None:
    move = {"command": "rename", "old_path": "/memories/user.md", "new_path": "/memories/people/ana.md"}
    assert await tool.run(move) == "Successfully renamed /memories/user.md to /memories/people/ana.md"
    assert await tool.run(move) == "Error: The path /memories/user.md does not exist"
    folder = {"command": "rename", "old_path": "/memories/projects", "new_path": "/memories/work"}
    assert await tool.run({**folder, "new_path": "/memories/people"}) == (
        "Error: The destination /memories/people already exists"
    )
    assert (await tool.run({**folder, "new_path": "/memories/projects/x"})).startswith("Error: The destination")
    assert await tool.run(folder) == "Successfully renamed /memories/projects to /memories/work"
    assert not (notes / "projects").exists()
    assert files(notes) >= {"people/ana.md", "work/plan.txt", "work/2025/deep/a.md"}


@pytest.mark.parametrize(
    "path",
    [
        "/memories/../secret.md", "/etc/passwd", "memories/x.md", "/memoriesx/a.md", "/memories/a/../../x.md", "", 5,
        None,
        "/memories/\0.md",
    ],
)  # fmt: skip
async def test_no_path_leads_out(tool: MemoryTool, notes: Path, path: Any) -> None:
    before = files(notes.parent)
    for command in ("view", "create", "str_replace", "insert", "delete"):
        arguments = {"file_text": "x", "old_str": "a", "new_str": "b", "insert_line": 0, "insert_text": "x"}
        assert (await tool.run({"command": command, "path": path, **arguments})).startswith("Error: ")
    for old, new in ((path, "/memories/x.md"), ("/memories/user.md", path)):
        assert (await tool.run({"command": "rename", "old_path": old, "new_path": new})).startswith("Error: ")
    assert files(notes.parent) == before


@pytest.mark.parametrize(
    "command",
    [
        {}, {"command": "rm"}, {"command": ["view"]}, "view", None, {"command": "view"},
        {"command": "insert", "path": "/memories/user.md", "insert_line": True, "insert_text": "x"},
        {"command": "create", "path": "/memories/x.md", "file_text": "\ud800"},
        {"command": "view", "path": "/memories/user.md", "view_range": [0, 2]},
        {"command": "view", "path": "/memories/user.md", "view_range": "all"},
        {"command": "create", "path": "/memories/program.exe", "file_text": "x"},
        {"command": "create", "path": "/memories/.obsidian/x.md", "file_text": "x"},
        {"command": "create", "path": "/memories/big.md", "file_text": "x" * 2_000_000},
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_said(tool: MemoryTool, notes: Path, command: Any) -> None:
    before = files(notes)
    assert (await tool.run(command)).startswith("Error: ")
    assert files(notes) == before


async def test_the_policy_holds(notes: Path) -> None:
    hidden = MemoryTool(Memory(notes, policy=VaultPolicy(readable=("!projects/**",))))
    assert "projects" not in await hidden.run({"command": "view", "path": "/memories"})
    assert "does not exist" in await hidden.run({"command": "view", "path": "/memories/projects/plan.txt"})
    assert "does not exist" in await hidden.run({"command": "delete", "path": "/memories/projects/plan.txt"})
    frozen = MemoryTool(Memory(notes, policy=VaultPolicy(read_only=True)))
    refused = await frozen.run({"command": "delete", "path": "/memories/user.md"})
    assert refused.startswith("Error: ") and "read-only" in refused
    assert (notes / "user.md").exists()


async def test_changes_are_in_the_history(notes: Path) -> None:
    memory = Memory(notes, history=True)
    tool = MemoryTool(memory, origin=CommitOrigin(author="claude"))
    await tool.run({"command": "create", "path": "/memories/new.md", "file_text": "x"})
    newest = (await memory.log())[0]
    assert (newest.author, [change.path for change in newest.changes]) == ("claude", ["new.md"])


async def test_a_folder_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    tool = MemoryTool(tmp_path / "new")
    assert (await tool.run({"command": "view", "path": "/memories"})).endswith("\n0B\t/memories")


def test_without_trio(tool: MemoryTool, notes: Path) -> None:
    new = {"command": "create", "path": "/memories/s.md", "file_text": "x"}
    assert tool.run_sync(new) == "File created successfully at: /memories/s.md"

    async def in_a_loop() -> str:
        return tool.run_sync({"command": "view", "path": "/memories/s.md"})

    assert asyncio.run(in_a_loop()).endswith("     1\tx")


async def test_the_sync_form_refuses_to_block_trio(tool: MemoryTool) -> None:
    await trio.lowlevel.checkpoint()
    with pytest.raises(WrongContextError, match=r"MemoryTool\.run_sync"):
        tool.run_sync({"command": "view", "path": "/memories"})
