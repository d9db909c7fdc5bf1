"""What an editor saves while a block runs stays, in every tier, however it is saved and however the block works."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest

from trioagent._errors import SandboxUnavailableError
from trioagent.memory import Knowledge, Memory
from trioagent.sandbox import BlockResult, HostTool, Sandbox, open_sandbox
from trioagent.sandbox._sandbox import TIERS

pytestmark = pytest.mark.real

Save = Callable[[Path], Awaitable[None]]
OLD, SAVED = "base\n", "base\nsaved by an editor\n"


@pytest.fixture(params=TIERS)
async def tier(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    try:
        async with open_sandbox(request.param) as sandbox:
            yield sandbox
    except SandboxUnavailableError as error:
        pytest.skip(str(error))


async def in_place(note: Path) -> None:
    note.write_text(SAVED)


async def by_rename(note: Path) -> None:
    hidden = note.with_name(f".{note.name}.tmp")
    hidden.write_text(SAVED)
    os.replace(hidden, note)


async def by_a_copy_with_an_old_time(note: Path) -> None:
    await by_rename(note)
    os.utime(note, (1, 1))


BLOCKS = {
    "read, then written": "text = open('a.md').read()\neditor()\nopen('a.md', 'w').write(text + 'x')",
    "read by a tool, then updated": "read_file('a.md')\neditor()\nupdate_file('a.md', 'base', 'BASE')",
    "updated, then saved by the editor": "update_file('a.md', 'base', 'BASE')\neditor()",
    "appended to": "with open('a.md', 'a') as file:\n    file.write('x')\neditor()",
    "read, then deleted": "read_file('a.md')\neditor()\ndelete_file('a.md')",
    "deleted, then saved by the editor": "from pathlib import Path\nPath('a.md').unlink()\neditor()",
    "renamed": "from pathlib import Path\nPath('a.md').rename('b.md')\neditor()",
    "changed by a diff": "write_to_file('a.md', '@@ -1 +1 @@\\n-base\\n+BASE')\neditor()",
}


async def run(sandbox: Sandbox, folder: Path, code: str, save: HostTool, knowledge: Knowledge) -> BlockResult:
    memory = Memory(folder)
    return await sandbox.run(code, memory=memory, knowledge=knowledge, host_tools={"editor": save})


@pytest.mark.parametrize("save", [in_place, by_rename, by_a_copy_with_an_old_time])
async def test_it_is_a_conflict(tier: Sandbox, tmp_path: Path, save: Save) -> None:
    for name, code in BLOCKS.items():
        folder = tmp_path / name.replace(" ", "_")
        folder.mkdir()
        (folder / "a.md").write_text(OLD)
        editor = partial(save, folder / "a.md")
        result = await run(tier, folder, code, editor, Knowledge())
        assert "someone else changed a.md" in result.error and "read it again" in result.error, (name, result)
        assert not result.saved and (folder / "a.md").read_text() == SAVED, name
        assert sorted(os.listdir(folder)) == ["a.md"]


async def test_a_note_that_was_only_opened_for_update(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(OLD)
    code = "file = open('a.md', 'r+')\nfile.read()\neditor()\nfile.close()"
    result = await run(sandbox, tmp_path, code, partial(by_rename, tmp_path / "a.md"), Knowledge())
    assert "someone else changed a.md" in result.error
    assert (tmp_path / "a.md").read_text() == SAVED


async def test_a_blind_overwrite(tier: Sandbox, tmp_path: Path) -> None:
    """Refused by default; where it is allowed, an edit of that moment is still a conflict."""
    (tmp_path / "a.md").write_text(OLD)

    async def nothing() -> None:
        pass

    for code in ("create_file('a.md', 'new')", "open('a.md', 'w').write('new')\nopen('a.md').read()"):
        result = await run(tier, tmp_path, code, nothing, Knowledge())
        assert "you have not read it in this conversation" in result.error and "read_file('a.md')" in result.error
        assert (tmp_path / "a.md").read_text() == OLD
    careless = Knowledge(blind_overwrite="allow")
    save = partial(in_place, tmp_path / "a.md")
    result = await run(tier, tmp_path, "create_file('a.md', 'new')\neditor()", save, careless)
    assert "someone else changed a.md" in result.error
    assert (await run(tier, tmp_path, "create_file('a.md', 'new')", nothing, careless)).saved
    assert (tmp_path / "a.md").read_text() == "new"


async def test_once_read_it_may_be_written_over(tier: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(OLD)
    agent = Knowledge()

    async def nothing() -> None:
        pass

    for code in (
        "create_file('b.md', '1')",
        "read_file('a.md')",
        "create_file('a.md', '2')",
        "create_file('b.md', '2')",
    ):
        result = await run(tier, tmp_path, code, nothing, agent)
        assert not result.error, result
    assert (tmp_path / "a.md").read_text() == (tmp_path / "b.md").read_text() == "2"


async def test_a_note_put_into_a_folder_that_the_block_removes(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/a.md").write_text(OLD)
    code = "import shutil\nshutil.rmtree('old')\neditor()"
    result = await run(sandbox, tmp_path, code, partial(in_place, tmp_path / "old/new.md"), Knowledge())
    assert "someone else changed old/new.md" in result.error
    assert {path.name for path in (tmp_path / "old").iterdir()} == {"a.md", "new.md"}


async def test_what_the_block_does_not_touch_is_nobodys_conflict(tier: Sandbox, tmp_path: Path) -> None:
    """Other notes may be saved, made and deleted meanwhile: both stand."""
    for name in ("a.md", "b.md", "gone.md"):
        (tmp_path / name).write_text(OLD)

    async def save() -> None:
        await in_place(tmp_path / "b.md")
        await by_rename(tmp_path / "new.md")
        (tmp_path / "gone.md").unlink()

    result = await run(tier, tmp_path, "update_file('a.md', 'base', 'BASE')\neditor()", save, Knowledge())
    assert result.saved, result
    notes = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert notes == {"a.md": "BASE\n", "b.md": SAVED, "new.md": SAVED}
