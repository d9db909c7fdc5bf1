"""Hidden names of a memory: blocks neither see nor change them, in every tier; files of `tempfile` are not saved."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from trioagent.memory import Memory
from trioagent.sandbox import Sandbox, open_sandbox
from trioagent.sandbox._hidden_names import HiddenNames, look_for_hidden

from .tiers import TIERS

pytestmark = pytest.mark.real

HIDDEN = {
    ".git/config": "[core]\n",
    ".git/hooks/pre-commit": "#!/bin/sh\n",
    ".obsidian/plugins/x/main.js": "x",
    ".trash/old.md": "old",
    ".env": "KEY=1",
    ".envrc": "export KEY=1",
    "entities/.secret.md": "secret",
    "entities/deep/.vimrc": "set nocp",
    "\uff0efull.md": "a dot of another kind",
}


@pytest.fixture(params=TIERS)
async def every(request: pytest.FixtureRequest) -> AsyncIterator[Sandbox]:
    async with open_sandbox(tier=request.param) as sandbox:
        yield sandbox


@pytest.fixture
def vault(memory: Path) -> Path:
    for name, text in {**HIDDEN, "entities/ada.md": "# Ada\n", "entities/deep/b.md": "b"}.items():
        (memory / name).parent.mkdir(parents=True, exist_ok=True)
        (memory / name).write_text(text)
    return memory


def hidden_of(vault: Path) -> dict[str, str]:
    return {name: (vault / name).read_text() for name in HIDDEN if (vault / name).exists()}


SEEN = """
import os
import socket
walked = sorted(name for _, folders, files in os.walk(".") for name in folders + files)
listed, scanned = os.listdir("entities"), [entry.name for entry in os.scandir("entities")]
folder = os.open("entities", os.O_RDONLY)
opened = []
for how in (lambda: open(".git/config"), lambda: os.open(".secret.md", os.O_RDONLY, dir_fd=folder),
            lambda: os.stat("entities/deep/.vimrc"), lambda: os.listdir(".obsidian"), lambda: open("\\uff0efull.md")):
    try:
        opened.append(how())
    except FileNotFoundError:
        pass
by_tools = read_file(".env") or read_file("entities/.secret.md") or search("secret") or check_if_dir_exists(".git")
"""


async def test_not_seen_by_any_call(every: Sandbox, vault: Path) -> None:
    result = await every.run(SEEN, memory_path=vault)
    assert result.error == ""
    assert result.locals["walked"] == "['ada.md', 'b.md', 'deep', 'entities', 'user.md']"
    assert sorted(eval(result.locals["listed"])) == sorted(eval(result.locals["scanned"])) == ["ada.md", "deep"]
    assert result.locals["opened"] == "[]"
    assert result.locals["by_tools"] in ("False", "[]") or "Error" in result.locals["by_tools"]


WRITES = [
    "import os\nos.makedirs('.git/hooks')\nopen('.git/config', 'a').write('[core] fsmonitor = x')",
    "open('.envrc', 'w').write('x')",
    "open('entities/.secret.md', 'w').write('x')",
    "import os\nos.rename('entities', 'people')",
    "import shutil\nshutil.rmtree('entities')",
    "import shutil\nshutil.rmtree('entities')\ncreate_file('entities/ada.md', '# A')",
    "import os\nos.rename('user.md', '.user.md')",
    "open('\\uff0eenv', 'w').write('x')",
    "open('\\u200b.env.md', 'w').write('x')",
    "open('Makefile', 'w').write('x')",
    "open('conftest.py', 'w').write('x')",
]


async def test_not_written_in_any_way(every: Sandbox, vault: Path) -> None:
    before = {path: path.read_bytes() for path in vault.rglob("*") if path.is_file()}
    for code in WRITES:
        result = await every.run(code, memory_path=vault)
        assert result.error and not result.saved, code
        assert {path: path.read_bytes() for path in vault.rglob("*") if path.is_file()} == before, code


async def test_other_changes_are_saved_beside_them(every: Sandbox, vault: Path) -> None:
    result = await every.run("create_file('entities/deep/c.md', 'c')", memory_path=vault)
    assert (result.saved, result.error) == (True, "")
    assert (vault / "entities/deep/c.md").read_text() == "c" and hidden_of(vault) == HIDDEN


async def test_new_hidden_names_are_hidden_from_the_next_block(every: Sandbox, vault: Path) -> None:
    for number in range(300):
        (vault / f"n{number}.md").write_text("x")
    look = "import os\nfound = [n for _, a, b in os.walk('.') for n in a + b if n[0] == '.']"
    for name in (".late", "entities/.later"):
        assert (await every.run(look, memory_path=vault)).locals["found"] == "[]"
        (vault / name).write_text("x")
    (vault / "made").mkdir()
    (vault / "made/.latest").write_text("x")
    assert (await every.run(look, memory_path=vault)).locals["found"] == "[]"
    (vault / ".late").unlink()
    assert (await every.run("create_file('b.md')", memory_path=vault)).error == ""
    assert not (vault / ".late").exists()


async def test_too_many_to_leave_out_one_by_one(every: Sandbox, memory: Path) -> None:
    for number in range(300):
        (memory / f".h{number}").write_text("x")
    result = await every.run("import os\nfound = os.listdir('.')\ncreate_file('b.md')", memory_path=memory)
    assert (result.locals["found"], result.saved) == ("['user.md']", True)


async def test_temporary_files_are_not_saved(every: Sandbox, memory: Path) -> None:
    code = (
        "import tempfile\nfile = tempfile.NamedTemporaryFile('w', suffix='.md', delete=False)\nfile.write('x')\n"
        "folder = tempfile.mkdtemp()\ncreate_file('b.md', 'b')"
    )
    result = await every.run(code, memory_path=memory)
    assert (result.saved, result.error) == (True, "")
    assert sorted(os.listdir(memory)) in (["b.md", "user.md"], [".trioagent", "b.md", "user.md"])


async def test_the_owners_git_finds_nothing_planted(every: Sandbox, memory: Path, tmp_path: Path) -> None:
    git = ["git", "-c", "user.name=o", "-c", "user.email=o@example.org", "-C", str(memory)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "notes"]):
        await trio.run_process([*git, *command])
    ran = tmp_path / "ran"
    for code in (
        f"open('.git/config', 'a').write('[core]\\n\\tfsmonitor = touch {ran}\\n')",
        f"import os\nos.makedirs('.git/hooks')\nopen('.git/hooks/post-index-change', 'w').write('touch {ran}')",
        "open('.gitattributes', 'w').write('*.md filter=x')",
        "open('.gitmodules', 'w').write('x')",
    ):
        assert (await every.run(code, memory_path=memory)).error
    status = await trio.run_process([*git, "status", "--porcelain"], capture_stdout=True)
    assert status.stdout == b"" and not ran.exists()


async def test_monty_neither_sees_nor_writes_them(vault: Path) -> None:
    async with open_sandbox(tier="monty") as sandbox:
        code = (
            "from pathlib import Path\nfound = [str(p) for p in Path('/').iterdir()]\n"
            "there = Path('/.env').exists() or Path('/entities/.secret.md').exists()\n"
            "shown = list_files()"
        )
        result = await sandbox.run(code, memory_path=vault)
        assert result.error == "" and "/." not in result.locals["found"] and result.locals["there"] == "False"
        for write in ("Path('/.env').write_text('x')", "Path('/.git').mkdir()", "Path('/user.md').rename('/.x.md')"):
            result = await sandbox.run(f"from pathlib import Path\n{write}", memory_path=vault)
            assert result.error and not result.saved
    assert hidden_of(vault) == HIDDEN


async def test_a_large_memory_is_watched_and_a_small_one_looked_at(vault: Path) -> None:
    names = HiddenNames()
    async with Memory(vault).lease() as lease:
        small = await names.find(lease.root_fd)
        assert not names._watches and small is not None
        for number in range(300):
            (vault / f"n{number}.md").write_text("x")
        assert await names.find(lease.root_fd) == small and len(names._watches) == 1
        (vault / ".new").write_text("x")
        assert set(await names.find(lease.root_fd) or ()) == {*small, ".new"}
        (vault / "entities").rename(vault / "people")  # a folder that moves: it is looked through again
        assert look_for_hidden(lease.root_fd) == set(await names.find(lease.root_fd) or ())
    names.close()


@pytest.mark.parametrize("notes", [1, 300], ids=["looked at", "watched"])
async def test_pipes_and_sockets_are_not_seen(every: Sandbox, tmp_path: Path, notes: int) -> None:
    """Opening one would keep the block waiting, and the memory held, until its time is over."""
    memory = tmp_path / "m"
    (memory / "folder").mkdir(parents=True)
    for number in range(notes):
        (memory / f"{number}.md").write_text("note")
    os.mkfifo(memory / "pipe.md")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(memory / "folder" / "sock.md"))
    look = """
from pathlib import Path
found = list(Path(".").rglob("*.md"))
total = sum(len(path.read_text()) for path in found)
odd = [str(path) for path in found if not path.stem.isdecimal()]
create_file("folder/new", "x")
"""
    with trio.fail_after(60):
        result = await every.run(look, memory_path=memory)
        assert (result.error, result.saved, result.locals["odd"]) == ("", True, "[]")
        assert result.locals["total"] == str(4 * notes)
        refused = await every.run("open('pipe.md', 'w').write('x')", memory_path=memory)
        assert "pipe.md" in refused.error and "a pipe, a socket or a device" in refused.error
        os.mkfifo(memory / "later.md")
        result = await every.run("import os\nx = os.listdir('.')", memory_path=memory)
        assert "later.md" not in result.locals["x"]
        (memory / "later.md").unlink()
        (memory / "later.md").write_text("a note now")
        result = await every.run("x = open('later.md').read()", memory_path=memory)
        assert (result.error, result.locals["x"]) == ("", "'a note now'")
    assert (memory / "pipe.md").is_fifo() and (memory / "folder" / "sock.md").is_socket()
