"""Notes beside hidden names, in kernel-lite: one ruleset for many blocks, with which nothing hidden can ever be read.

What is tried goes around the view, by the C library: Landlock alone refuses it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio

from trioagent import VaultPolicy
from trioagent.memory import Memory
from trioagent.sandbox import Sandbox, open_sandbox
from trioagent.sandbox._hidden_names import MAX_HIDDEN, HiddenNames
from trioagent.sandbox._note_grants import MAX_CHANGES, GrantBounds, NoteGrants
from trioagent.tools import hidden_part

pytestmark = pytest.mark.real

RAW = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def raw(path, flags=os.O_RDONLY):
    fd = libc.open(path.encode(), flags)
    if fd < 0:
        return ctypes.get_errno()
    text = os.read(fd, 100).decode() if flags == os.O_RDONLY else "open"
    os.close(fd)
    return text
"""


@pytest.fixture
async def lite() -> AsyncIterator[Sandbox]:
    async with open_sandbox("kernel-lite") as sandbox:
        yield sandbox


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """More notes than are looked through before each block, beside hidden names."""
    folder = tmp_path / "vault"
    for name in (".trash", "entities/.git", "plain/deeper"):
        (folder / name).mkdir(parents=True)
    for number in range(220):
        (folder / f"n{number}.md").write_text(f"note {number}")
    for name in (".trash/old.md", "entities/.git/config", "entities/ada.md", "plain/a.md", "plain/deeper/b.md"):
        (folder / name).write_text(f"text of {name}")
    return folder


def names_of(sandbox: Sandbox) -> HiddenNames:
    names: HiddenNames = sandbox._executor._hidden  # type: ignore[attr-defined]
    return names


def kept(sandbox: Sandbox) -> list[NoteGrants]:
    return [grants for watched in names_of(sandbox)._watches.values() for grants in watched.grants.values()]


async def raw(sandbox: Sandbox, vault: Path, *paths: str) -> list[str | int]:
    """What a block gets that opens these by the C library: their texts, or the errors."""
    result = await sandbox.run(f"{RAW}\nfound = [raw(path) for path in {list(paths)!r}]", memory_path=vault)
    assert result.error == ""
    found: list[str | int] = eval(result.locals["found"])
    return found


async def test_one_ruleset_serves_many_blocks(lite: Sandbox, vault: Path) -> None:
    assert await raw(lite, vault, "n1.md", "entities/ada.md", "plain/deeper/b.md") == [
        "note 1",
        "text of entities/ada.md",
        "text of plain/deeper/b.md",
    ]
    assert (await lite.run("create_file('m.md')", memory_path=vault)).saved  # which marks folders
    await raw(lite, vault, "n1.md")
    (first,) = kept(lite)
    assert first.ready
    for number in range(5):
        code = f"""{RAW}
import os
create_file("new{number}.md", "new")
create_file("n{number}.md", "over")
os.remove("n{number + 100}.md")
seen = open("n7.md").read(), raw("n7.md"), raw("n{number - 1}.md"), raw("new{number - 1}.md")
listed = len(os.listdir("."))
refused = raw(".trash/old.md"), raw("entities/.git/config"), raw(".", os.O_RDONLY | os.O_DIRECTORY)
"""
        result = await lite.run(code, memory_path=vault)
        assert (result.error, result.saved) == ("", True)
        before = ("over", "new") if number else (2, 2)
        assert eval(result.locals["seen"]) == ("note 7", "note 7", *before)
        assert eval(result.locals["refused"]) == (13, 13, 13)
        assert result.locals["listed"] == str(len([name for name in os.listdir(vault) if name[0] != "."]))
    assert kept(lite) == [first]  # what the blocks' own commits replaced was taken in
    assert await raw(lite, vault, "n4.md", "n104.md", "new4.md") == ["over", errno.ENOENT, "new"]
    assert kept(lite) == [first]


async def test_what_is_listed_stays_right(lite: Sandbox, vault: Path) -> None:
    look = "import os\nfound = sorted(os.listdir('entities')), sorted(e.name for e in os.scandir('entities'))"
    for code, there in (
        ("create_file('entities/new.md', 'x')", ["ada.md", "new.md"]),
        ("import os\nos.remove('entities/ada.md')", ["new.md"]),
        ("import os\nos.rename('entities/new.md', 'entities/other.md')", ["other.md"]),
        ("create_file('entities/folder/a.md', 'a')", ["folder", "other.md"]),
    ):
        assert (await lite.run(code, memory_path=vault)).error == ""
        result = await lite.run(look, memory_path=vault)
        assert eval(result.locals["found"]) == (there, there), code
    assert await raw(lite, vault, "entities/folder/a.md") == ["a"]


def exchanged(vault: Path, one: str, other: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.renameat2(-100, bytes(vault / one), -100, bytes(vault / other), 2) == 0


def linked_and_removed(vault: Path) -> None:
    os.link(vault / "n1.md", vault / ".trash/n1.md")
    os.unlink(vault / "n1.md")


def left_by_a_link(vault: Path) -> None:
    os.rename(vault / "n1.md", vault / ".trash/n1.md")
    os.symlink(".trash/n1.md", vault / "n1.md")


def replaced(vault: Path) -> None:
    os.rename(vault / "n1.md", vault / ".trash/n1.md")
    (vault / "n1.md").write_text("another")


def by_steps(vault: Path) -> None:
    os.rename(vault / "n1.md", vault / "plain/n1.md")
    os.rename(vault / "plain/n1.md", vault / "entities/n1.md")
    os.rename(vault / "entities/n1.md", vault / ".n1.md")


def renamed(old: str, new: str, below: str = "") -> tuple[Callable[[Path], object], str, str]:
    """A note is renamed, or the folder that it is *below*."""
    return (lambda vault: os.rename(vault / old, vault / new)), old + below, new + below


WAYS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "renamed": renamed("n1.md", ".n1.md"),
    "a dot of another kind": renamed("n1.md", "\uff0en1.md"),
    "behind an unseen character": renamed("n1.md", "\u200b.n1.md"),
    "moved": renamed("n1.md", ".trash/n1.md"),
    "linked": (linked_and_removed, "n1.md", ".trash/n1.md"),
    "a link in its place": (left_by_a_link, "n1.md", ".trash/n1.md"),
    "another in its place": (replaced, "n1.md", ".trash/n1.md"),
    "exchanged": (lambda vault: exchanged(vault, "n1.md", ".trash/old.md"), "n1.md", ".trash/old.md"),
    "by steps": (by_steps, "n1.md", ".n1.md"),
    "its folder moved": renamed("entities", ".trash/entities", "/ada.md"),
    "its folder renamed": renamed("plain", ".plain", "/a.md"),
    "a folder in it moved": renamed("plain/deeper", "entities/.git/deeper", "/b.md"),
    "hidden deeper": renamed("plain/a.md", "plain/.a.md"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_hidden_between_two_blocks(lite: Sandbox, vault: Path, way: str) -> None:
    hide, path, hidden = WAYS[way]
    for _ in range(2):
        assert isinstance((await raw(lite, vault, path))[0], str)
    assert kept(lite)[0].ready
    hide(vault)
    for _ in range(2):
        assert (await raw(lite, vault, hidden, "n2.md"))[0] == errno.EACCES
        assert (await raw(lite, vault, "n2.md")) == ["note 2"]


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_hidden_while_a_block_runs(lite: Sandbox, vault: Path, way: str) -> None:
    """By the block's own commit too, as far as that takes it."""
    hide, path, hidden = WAYS[way]
    assert isinstance((await raw(lite, vault, path))[0], str)

    async def tool() -> None:
        hide(vault)

    result = await lite.run("tool()\ncreate_file('entities.md', 'x')", memory_path=vault, host_tools={"tool": tool})
    assert result.error == ""
    assert await raw(lite, vault, hidden, "n2.md") == [errno.EACCES, "note 2"]


@pytest.mark.parametrize("when", ["begin", "filled", "renew"])
@pytest.mark.parametrize("way", WAYS)
async def test_what_is_hidden_while_a_ruleset_is_made(lite: Sandbox, vault: Path, way: str, when: str) -> None:
    """Before a child has filled it, just after, or just after it was found to be good for the next block."""
    hide, path, hidden = WAYS[way]
    real = getattr(NoteGrants, when)
    done: list[str] = []

    def then_hide(grants: NoteGrants, *arguments: object) -> object:
        result = real(grants, *arguments)
        if not done:
            done.append(way)
            hide(vault)
        return result

    names_of(lite).make_grants = type("Hiding", (NoteGrants,), {when: then_hide})
    if when == "renew":
        assert isinstance((await raw(lite, vault, path))[0], str)
    await raw(lite, vault, "n2.md")
    assert done
    assert await raw(lite, vault, hidden, "n2.md") == [errno.EACCES, "note 2"]


async def test_a_backup_that_shares_its_file(lite: Sandbox, vault: Path) -> None:
    """What a commit replaces is not gone if it has another name."""
    os.link(vault / "n1.md", vault / ".trash/backup.md")
    assert await raw(lite, vault, "n1.md") == ["note 1"]
    (first,) = kept(lite)
    for code in ("create_file('n1.md', 'new')", "import os\nos.remove('n1.md')"):
        assert (await lite.run(code, memory_path=vault)).saved
        assert (await raw(lite, vault, ".trash/backup.md"))[0] == errno.EACCES
    assert kept(lite) != [first]


async def test_a_policy_changes_between_blocks(lite: Sandbox, vault: Path) -> None:
    code = f"{RAW}\nfound = raw('n1.md'), raw('n20.md'), raw('entities/ada.md'), raw('.trash/old.md')"

    async def seen(*globs: str) -> object:
        memory = Memory(vault, policy=VaultPolicy(readable=globs) if globs else VaultPolicy())
        result = await lite.run(code, memory=memory)
        assert result.error == ""
        return eval(result.locals["found"])

    ada = "text of entities/ada.md"
    for _ in range(2):
        assert await seen() == ("note 1", "note 20", ada, 13)
        assert await seen("n1*.md") == ("note 1", 13, 13, 13)
        assert await seen("entities/**", "n2*.md") == (13, "note 20", ada, 13)
    os.rename(vault / "n20.md", vault / "m20.md")
    os.rename(vault / "n1.md", vault / "n20.md")
    assert await seen("entities/**", "n2*.md") == (2, "note 1", ada, 13)
    os.rename(vault / "n20.md", vault / "n1.md")
    assert await seen("entities/**", "n2*.md") == (13, 2, ada, 13)


async def test_more_hidden_names_than_are_left_out_one_by_one(lite: Sandbox, vault: Path) -> None:
    """Nothing is copied for them."""
    for number in range(2 * MAX_HIDDEN):
        (vault / f".h{number}").write_text("hidden")
    (vault / "huge.md").touch()
    os.truncate(vault / "huge.md", 1 << 40)
    for number in range(3):
        result = await lite.run(
            f"{RAW}\nimport os\nfound = raw('.h3'), raw('n3.md'), len([n for n in os.listdir() if n[0] == '.'])\n"
            f"create_file('b{number}.md')",
            memory_path=vault,
        )
        assert (result.error, result.locals["found"]) == ("", "(13, 'note 3', 0)")


async def test_nothing_is_pinned_for_long(lite: Sandbox, vault: Path) -> None:
    names_of(lite).bounds = GrantBounds(idle_seconds=0.1)
    await raw(lite, vault, "n1.md")
    (first,) = kept(lite)
    with trio.fail_after(10):
        while kept(lite):
            await trio.sleep(0.01)
    assert first.ruleset == -1
    assert await raw(lite, vault, "n1.md") == ["note 1"]


async def test_it_is_made_anew_after_many_changes(lite: Sandbox, vault: Path) -> None:
    await raw(lite, vault, "n1.md")
    (first,) = kept(lite)
    for start in range(0, MAX_CHANGES + 20, 20):
        code = f"for number in range({start}, {start + 20}):\n    create_file(f'many{{number}}.md', 'x')"
        assert (await lite.run(code, memory_path=vault)).saved
    assert await raw(lite, vault, "many3.md", f"many{MAX_CHANGES + 19}.md") == ["x", "x"]
    assert kept(lite) != [first] and kept(lite)[0].ready


async def test_a_note_that_is_replaced_again_and_again(lite: Sandbox, vault: Path) -> None:
    """Its old files, each with a rule, do not pile up."""
    await lite.run("create_file('m.md')", memory_path=vault)
    await raw(lite, vault, "n1.md")
    (first,) = kept(lite)
    for number in range(MAX_CHANGES + 1):
        assert (await lite.run(f"create_file('n1.md', '{number}')", memory_path=vault)).saved
    assert await raw(lite, vault, "n1.md") == [f"{MAX_CHANGES}"]
    assert kept(lite) != [first] and kept(lite)[0].ready


async def test_layers_are_each_blocks_own(lite: Sandbox, vault: Path) -> None:
    """The shared ruleset grants the folder of all layers, a child's own only its own."""
    scratch = str(lite._executor.handshake["scratch"])  # type: ignore[attr-defined]
    found: list[object] = []

    async def tool() -> list[str]:
        return [str(path) for path in Path(scratch).glob("*/view")]

    code = f"""{RAW}
import os
mine = libc.open(b"/proc/self/fd/5", os.O_RDONLY)
others = tool()
found = [raw(path, os.O_RDONLY | os.O_DIRECTORY) for path in others]
open("made.md", "w").write("x")
"""
    async with trio.open_nursery() as nursery:

        async def one() -> None:
            result = await lite.run(code, memory_path=vault, host_tools={"tool": tool})
            assert result.error == ""
            found.append(eval(result.locals["found"]))

        nursery.start_soon(one)
        nursery.start_soon(one)
    assert all("open" not in each for each in found if isinstance(each, list))


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_an_owner_does(lite: Sandbox, vault: Path, seed: int) -> None:
    """Renames, links, removals and saves at random, between blocks: what shows can be read, and no more."""
    rng = random.Random(seed)

    def files(hidden: bool) -> list[str]:
        found = [str(path.relative_to(vault)) for path in vault.rglob("*") if path.is_file() and not path.is_symlink()]
        return sorted(path for path in found if bool(hidden_part(path)) is hidden)

    def name(number: int) -> str:
        folder = rng.choice(["", "", "entities/", "plain/", "plain/deeper/"])
        return folder + rng.choice(["x{}.md", ".x{}.md", "y{}.md"]).format(number)

    for number in range(25):
        for _ in range(rng.randrange(3)):
            path = rng.choice(files(hidden=rng.random() < 0.3) or files(hidden=False))
            match rng.randrange(5):
                case 0:
                    os.rename(vault / path, vault / name(number))
                case 1:
                    if not (vault / (other := name(number))).exists():
                        os.link(vault / path, vault / other)
                case 2:
                    os.unlink(vault / path)
                case 3:
                    (vault / "new.tmp").write_text(f"saved {number}")
                    os.rename(vault / "new.tmp", vault / path)
                case 4:
                    exchanged(vault, path, rng.choice(files(hidden=False)))
        inodes = {os.stat(vault / path).st_ino for path in files(hidden=False)}
        shown, hidden = files(hidden=False), files(hidden=True)
        secret = [path for path in hidden if os.stat(vault / path).st_ino not in inodes]
        some = rng.sample(shown, 30)
        change = rng.choice([path for path in shown if "/" not in path])
        result = await lite.run(
            f"{RAW}\nread = sum(isinstance(raw(path), str) for path in {some!r})\n"
            f"leaked = [path for path in {secret!r} if raw(path) != 13]\n"
            f"create_file({change!r}, 'block {number}')",
            memory_path=vault,
        )
        assert (result.error, result.locals["read"], result.locals["leaked"]) == ("", "30", "[]"), number


async def test_hidden_names_in_too_many_folders(lite: Sandbox, vault: Path) -> None:
    """Then each child finds out by itself, or gets a copy."""
    names_of(lite).bounds = GrantBounds(folders=2)
    (vault / "plain/.hidden").write_text("hidden")
    assert await raw(lite, vault, "n1.md", "plain/.hidden", "plain/a.md") == ["note 1", 13, "text of plain/a.md"]
    assert kept(lite) == []


async def test_what_is_gone_is_kept_to_a_bound(lite: Sandbox, vault: Path) -> None:
    names_of(lite).bounds = GrantBounds(gone_bytes=2000)
    (vault / "n1.md").write_text("x" * 1500)
    (vault / "n2.md").write_text("x" * 1500)
    await lite.run("create_file('m.md')", memory_path=vault)
    await raw(lite, vault, "n1.md")
    (first,) = kept(lite)
    for name, same in (("n1.md", True), ("n2.md", False)):
        assert (await lite.run(f"create_file({name!r}, 'x')", memory_path=vault)).saved
        assert await raw(lite, vault, name) == ["x"]
        assert (kept(lite) == [first]) is same
