"""A memory that somebody sent us: whatever is planted where its history lies runs nothing and leads nowhere."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import shutil
import signal
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio

from trioagent._errors import (
    InvalidInputError,
    MemoryHistoryError,
    MemoryProtectedError,
    MemoryStorageError,
    RevisionNotFoundError,
)
from trioagent.memory import Memory
from trioagent.memory._history._rows import CommitRow, RowChange
from trioagent.tools import version_of

from .support import PRIVATE
from .test_history import git, save

pytestmark = pytest.mark.real

COMMAND = "touch {pwned}; false"
CONFIG = """[core]
\tfsmonitor = "{command}"
\thooksPath = {hooks}
\tpager = "{command}"
\teditor = "{command}"
\tsshCommand = "{command}"
\tattributesFile = {hooks}/attributes
\tworktree = {hooks}
[include]
\tpath = {hooks}/more
[diff]
\texternal = "{command}"
[diff "evil"]
\tcommand = "{command}"
\ttextconv = "{command}"
[filter "evil"]
\tclean = "{command}"
\tsmudge = "{command}"
\tprocess = "{command}"
[gpg]
\tprogram = "{command}"
[log]
\tshowSignature = true
[uploadpack]
\tpackObjectsHook = "{command}"
[alias]
\tlog = "!{command}"
"""


async def with_history(root: Path) -> Memory:
    memory = Memory(root, history=True)
    await save(memory, {"user.md": "1\n", "a/b.md": "1\n"}, chat="c")
    await save(memory, {"user.md": "2\n"}, chat="d")
    await memory.update_history()
    await save(memory, {"user.md": "3\n"}, chat="d")
    return memory


async def use_all(memory: Memory) -> None:
    """Everything that runs git."""
    revisions = await memory.log()
    await memory.log("user.md", chat="c")
    await memory.diff()
    await memory.show("user.md", at=revisions[-1].id)
    await memory.blame("user.md")
    await memory.restore("user.md", at=revisions[-1].id)
    await memory.undo(chat="c")
    await memory.forget("a")
    await memory.update_history()


async def test_planted_configuration_hooks_and_attributes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, evil, pwned = tmp_path / "notes", tmp_path / "evil", tmp_path / "pwned"
    memory = await with_history(root)
    store = root / PRIVATE / "history" / "notes.git"
    evil.mkdir()
    command = COMMAND.format(pwned=pwned)
    config = CONFIG.format(command=command, hooks=evil)
    for hooks in (evil, store / "hooks", root / ".git" / "hooks"):
        hooks.mkdir(exist_ok=True, parents=True)
        for name in ("pre-auto-gc", "post-checkout", "reference-transaction", "post-rewrite", "fsmonitor-watchman"):
            (hooks / name).write_text(f"#!/bin/sh\n{command}\n")
            (hooks / name).chmod(0o755)
    (evil / "more").write_text(config)
    attributes = "* diff=evil filter=evil\n"
    (store / "info").mkdir()
    for path in (store / "info" / "attributes", root / ".gitattributes", root / ".git" / "config", evil / "attributes"):
        path.write_text(attributes if path.name.endswith("attributes") else config)
    (store / "config").write_text(config)
    (store / "config.worktree").write_text(config)
    (store / "commondir").write_text(f"{evil}\n")
    (store / "gitdir").write_text(f"{evil}\n")
    (store / "shallow").write_text("0" * 40 + "\n")
    (store / "packed-refs").write_text("f" * 40 + " refs/replace/" + "e" * 40 + "\n")
    monkeypatch.setenv("GIT_DIR", str(evil))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(evil / "more"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", command)
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.fsmonitor'='{command}'")
    monkeypatch.setenv("GIT_TRACE", str(pwned))
    monkeypatch.setenv("GIT_EXEC_PATH", str(evil))
    (root / "git").write_text(f"#!/bin/sh\n{command}\n")
    (root / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{root}:.:{os.environ['PATH']}")
    monkeypatch.chdir(root)
    await use_all(memory)
    assert not pwned.exists()
    assert {path for path in (root / ".git").rglob("*") if path.suffix in (".idx", ".pack", ".lock")} == set()


def plant_alternates(root: Path, outside: Path) -> None:
    info = root / PRIVATE / "history" / "notes.git" / "objects" / "info"
    info.mkdir(exist_ok=True)
    (info / "alternates").write_text(f"{outside / 'objects'}\n")


def plant_head(root: Path, outside: Path) -> None:
    (root / PRIVATE / "history" / "notes.git" / "refs" / "heads" / "main").write_text("ref: refs/heads/../../../x\n")


def plant_link(*names: str) -> Callable[[Path, Path], None]:
    def plant(root: Path, outside: Path) -> None:
        path = root.joinpath(PRIVATE, "history", *names)
        moved = outside / f"moved-{len(names)}"
        path.rename(moved)
        path.symlink_to(moved)

    plant.__name__ = f"plant_link_{'_'.join(names) or 'history'}"
    return plant


def plant_objects(root: Path, outside: Path) -> None:
    (root / PRIVATE / "history" / "notes.git" / "objects" / "pack" / "pack-1.promisor").write_text("")


def plant_pipe(root: Path, outside: Path) -> None:
    os.mkfifo(root / PRIVATE / "history" / "notes.git" / "objects" / "ab")


@pytest.mark.parametrize(
    "plant",
    [
        plant_alternates,
        plant_head,
        plant_objects,
        plant_pipe,
        plant_link(),
        plant_link("notes.git"),
        plant_link("notes.git", "objects"),
        plant_link("notes.git", "objects", "pack"),
        plant_link("notes.git", "refs"),
        plant_link("notes.git", "refs", "heads", "main"),
    ],
    ids=lambda plant: plant.__name__,
)
async def test_what_leads_out_is_refused_by_name(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    root, outside = tmp_path / "notes", tmp_path / "outside"
    memory = await with_history(root)
    await trio.run_process(["git", "init", "-q", "--bare", outside])
    plant(root, outside)
    before = {path: path.stat().st_mtime_ns for path in outside.rglob("*")}
    for call in (memory.log(), memory.show("user.md"), memory.forget("user.md"), memory.update_history()):
        with pytest.raises(MemoryHistoryError, match="move it away"):
            await call
    assert {path: path.stat().st_mtime_ns for path in outside.rglob("*")} == before
    assert (root / "user.md").read_text() == "3\n"


async def test_a_planted_tree(tmp_path: Path) -> None:
    """Names that lead out, that are hidden, no files, or slashes in one name; and a message that says it is ours."""
    root = tmp_path / "notes"
    memory = await with_history(root)
    store = root / PRIVATE / "history" / "notes.git"
    head = (store / "refs" / "heads" / "main").read_text().strip()
    evil = planted_object(store, "blob", b"evil \x1b[2J\n")
    entries = [("100644", "../../out.md"), ("100644", "/abs.md"), ("100644", "a/x.md"), ("100755", "run.sh")]
    entries += [("120000", "link.md"), ("160000", "module"), ("100644", ".env"), ("100644", "esc\x1b[2J.md")]
    tree = b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(evil) for mode, name in sorted(entries))
    top = planted_object(store, "tree", tree)
    said = {"author": "x", "chat": "p", "kind": "agent", "said": "\x1b[2J", "turn": 1}
    changed = [["../../out.md", "added", None, "0" * 40, None]]
    data = {"sequence": 99, "time": 1.0, "origin": said, "id": "", "changes": changed, "notes": 1, "made": []}
    message = f"x\n\nTrioagent-Revision: {json.dumps({**data, 'removed': {}, 'left_out': [], 'pruned': 0})}\n"
    who = "x <x@x> 1 +0000"
    commit = f"tree {top}\nparent {head}\nauthor {who}\ncommitter {who}\n\n{message}"
    planted = planted_object(store, "commit", commit.encode())
    (store / "refs" / "heads" / "main").write_text(f"{planted}\n")
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(root)}
    revisions = await memory.log()
    assert [(each.kind, each.changes) for each in revisions if each.id == planted] == [("external", ())]
    for _ in range(3):  # what cannot be removed from the tree is no change of the notes, again and again
        assert await memory.log() == revisions
    for path in ("../../out.md", "/abs.md"):
        with pytest.raises(InvalidInputError):
            await memory.restore(path, at=planted)
    for path in (".env", "run.sh", "module"):
        with pytest.raises((MemoryProtectedError, RevisionNotFoundError)):
            await memory.restore(path, at=planted)
    with pytest.raises(InvalidInputError, match="no commit of chat p"):
        await memory.undo(chat="p")
    await use_all(memory)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(root)} == outside
    assert {path.name for path in root.iterdir()} <= {PRIVATE, "user.md"}


def planted_object(store: Path, kind: str, data: bytes) -> str:
    whole = f"{kind} {len(data)}\0".encode() + data
    name = hashlib.sha1(whole, usedforsecurity=False).hexdigest()
    folder = store / "objects" / name[:2]
    folder.mkdir(exist_ok=True)
    (folder / name[2:]).write_bytes(zlib.compress(whole))
    return name


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder", "link to nothing"])
async def test_what_lies_in_the_journals_place(tmp_path: Path, kind: str) -> None:
    """No commit appends to a file of somebody else's, and the notes stay usable without a history."""
    root, victim = tmp_path / "notes", tmp_path / "victim"
    history = root / PRIVATE / "history"
    history.mkdir(parents=True)
    victim.write_text("mine\n")
    if kind == "pipe":
        os.mkfifo(history / "journal")
    elif kind == "folder":
        (history / "journal").mkdir()
    elif kind == "hard link":
        (history / "journal").hardlink_to(victim)
    else:
        (history / "journal").symlink_to(victim if kind == "link" else tmp_path / "nothing")
    with pytest.raises(MemoryHistoryError, match="move it away"):
        await save(Memory(root, history=True), {"user.md": "1\n"})
    assert not (root / "user.md").exists()
    assert (victim.read_text(), (tmp_path / "nothing").exists()) == ("mine\n", False)
    await save(Memory(root), {"user.md": "1\n"})
    assert (root / "user.md").read_text() == "1\n"


async def test_rows_that_were_planted(tmp_path: Path) -> None:
    """A row is data: it puts nothing into the notes, and no hidden name into the store."""
    memory = await with_history(tmp_path)
    journal = tmp_path / PRIVATE / "history" / "journal"
    data = b"[core]\n"
    for path in (".git/config", "a/.ssh/id", "x.md"):
        change = RowChange(path, None, version_of(data), None, None, data)
        row = CommitRow(id="0" * 16, time=1e9, changes=(change,), sequence=50)
        with journal.open("ab") as file:
            file.write(row.encode())
    bad = CommitRow(id="0" * 16, time=1e9, changes=(RowChange("../../x", None, "v", None, None, data),), sequence=51)
    with journal.open("ab") as file:
        file.write(bad.encode() + b"\0triorow\xff\xff\xff\xff" + os.urandom(60))
    await save(memory, {"user.md": "4\n"})
    revisions = await memory.log()
    assert revisions[0].changes[0].path == "x.md" and revisions[0].kind == "external"  # it is not there
    assert {change.path for each in revisions for change in each.changes} == {"user.md", "a/b.md", "x.md"}
    assert (await memory.show("user.md")).content == "4\n"
    assert not (tmp_path / ".git").exists() and not (tmp_path / "a" / ".ssh").exists()
    listed = git(memory, "log", "--format=", "--name-only").split()
    assert set(listed) == {"user.md", "a/b.md", "x.md"}


@pytest.mark.parametrize("damage", ["empty", "torn", "garbage", "middle"])
async def test_a_damaged_journal(tmp_path: Path, damage: str) -> None:
    memory = await with_history(tmp_path)
    await save(memory, {"user.md": "4\n"})
    journal = tmp_path / PRIVATE / "history" / "journal"
    data = journal.read_bytes()
    at = len(data) // 2
    journal.write_bytes(
        {"empty": b"", "torn": data[:-5], "garbage": b"\xff" * 300, "middle": data[:at] + b"?" + data[at + 1 :]}[damage]
    )
    await save(memory, {"user.md": "5\n"})
    revisions = await memory.log()
    assert [each.kind for each in revisions[:2]] == ["agent", "agent" if damage == "middle" else "external"]
    assert (await memory.show("user.md", at=revisions[1].id)).content == "4\n"
    assert (await memory.show("user.md")).content == "5\n"
    await save(memory, {"user.md": "6\n"})
    assert (await memory.log())[0].changes[0].before == version_of(b"5\n")


async def test_without_git_commits_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory(tmp_path, history=True)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "which", lambda name, **options: None)
        await save(memory, {"user.md": "1\n"})
        await save(memory, {"user.md": "2\n"})
        with pytest.raises(MemoryHistoryError, match="git is not installed"):
            await memory.log()
    assert len(await memory.log()) == 2


async def test_a_disk_that_is_full(tmp_path: Path) -> None:
    """A commit that cannot be kept is not made: there is room for the new note, and not for a row with both."""
    memory = await with_history(tmp_path)
    old = "by hand\n" * 20_000
    (tmp_path / "user.md").write_text(old)
    with _file_size_limit(200_000), pytest.raises(MemoryStorageError, match="too large"):
        await save(memory, {"user.md": "by agent\n" * 20_000})
    assert (tmp_path / "user.md").read_text() == old
    await save(memory, {"user.md": "5\n"})
    assert [each.kind for each in await memory.log()][:2] == ["agent", "external"]


@contextlib.contextmanager
def _file_size_limit(size: int) -> Iterator[None]:
    """Until the block ends no file may become larger, so that a write is cut in the middle as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)


async def test_root_and_the_vaults_owner(tmp_path: Path) -> None:
    """What root makes in somebody's memory belongs to that somebody, the history too."""
    if os.geteuid():
        pytest.skip("only root can give files away")
    os.chown(tmp_path, 1234, 1234)
    memory = Memory(tmp_path, history=True)
    await save(memory, {"user.md": "1\n"})
    await memory.log()
    owners = {path: path.stat().st_uid for path in (tmp_path / PRIVATE).rglob("*")}
    assert set(owners.values()) == {1234}, owners
