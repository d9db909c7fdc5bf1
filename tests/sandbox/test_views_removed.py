"""Views that are removed while somebody reads them: no note is taken for deleted that the block kept."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._errors import MemoryLimitError, SandboxError
from trioagent.memory import ChangeSet
from trioagent.sandbox import open_sandbox
from trioagent.sandbox._collect_changes import read_layer
from trioagent.sandbox._guest import copying, layers, views
from trioagent.sandbox._guest.views import Scratch
from trioagent.sandbox._mixed_ownership import MixedOwnership

from .test_run import tree

pytestmark = pytest.mark.real

NOTES = {"user.md": "user", "people/ada.md": "ada", "people/deep/bob.md": "bob", "places/rome.md": "rome"}
DONE = ChangeSet(
    writes={"people/ada.md": b"changed", "new/note.md": b"new"},
    deletes=frozenset({"places/rome.md"}),
    made_dirs=frozenset({"new"}),
    removed_dirs=frozenset({"places"}),
)


class Stop(Exception):
    """The remover is killed here."""


class View:
    """A layered view after a block has run."""

    def __init__(self, folder: Path) -> None:
        self.memory = folder / "memory"
        for name, text in NOTES.items():
            (self.memory / name).parent.mkdir(parents=True, exist_ok=True)
            (self.memory / name).write_text(text)
        self.place = folder / "scratch"
        self.place.mkdir()
        self.scratch = Scratch(str(self.place))
        self.container, layer = self.scratch.make("a-block")
        os.close(layer)
        self.root = os.open(self.memory, copying.FOLDER)
        self.path = self.place / Path(self.scratch.path).name / "a-block" / views.VIEW
        for made in ("people", "new", layers.GONE):
            (self.path / made).mkdir()
        (self.path / "people" / "ada.md").write_text("changed")
        (self.path / "new" / "note.md").write_text("new")
        self.says_gone("places/rome.md", "places")

    def says_gone(self, *paths: str) -> None:
        (self.path / layers.GONE / "000000").write_text(json.dumps(paths))

    def compare(self, max_files: int = 100) -> ChangeSet:
        return read_layer(self.container, self.root, max_bytes=1 << 20, max_files=max_files)

    def close(self) -> None:
        os.close(self.container)
        os.close(self.root)
        os.close(self.scratch.folder)


def drop(view: View) -> None:
    for _ in view.scratch.drop("a-block"):
        pass


def leave(view: View) -> None:
    view.scratch.remove()


def clear_left_behind(view: View) -> None:
    """What another process does once ours is dead; the lock is freed for it here."""
    os.close(view.scratch.folder)
    try:
        views.remove_left_behind(str(view.place))
    finally:
        view.scratch.folder = os.open("/", copying.FOLDER)


REMOVERS = [drop, leave, clear_left_behind]
READING, REMOVING = ("listdir", "stat", "open", "readlink"), ("unlink", "rmdir", "rename", "chmod")


@contextmanager
def before_each(names: tuple[str, ...], do: Callable[[], None]) -> Iterator[None]:
    """Call *do* before each call of these functions of ``os``."""
    real = {name: getattr(os, name) for name in names}

    def wrapped(name: str) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            do()
            return real[name](*args, **kwargs)

        return function

    for name in names:
        setattr(os, name, wrapped(name))
    try:
        yield
    finally:
        for name in names:
            setattr(os, name, real[name])


def removed_until(view: View, remove: Callable[[View], None], steps: int) -> bool:
    """Remove the view, but be killed before that many steps; False if it was done before."""
    left = itertools.count(steps, -1)

    def step() -> None:
        if next(left) <= 0:
            raise Stop

    try:
        with before_each(REMOVING, step):
            remove(view)
    except Stop:
        return True
    return False


def test_an_intact_view_is_compared_with_the_memory(tmp_path: Path) -> None:
    view = View(tmp_path)
    assert view.compare() == DONE
    view.close()


def compared(view: View, remove: Callable[[View], None], look: int, steps: int) -> tuple[ChangeSet | None, bool, bool]:
    """Compare, with a removal of so many steps before one look.

    Returns:
        The changes, or None for an error; was there such a look; did the removal have more to do?
    """
    looks = itertools.count()
    reached = unfinished = False

    def at_look() -> None:
        nonlocal reached, unfinished
        if next(looks) == look:
            reached, unfinished = True, removed_until(view, remove, steps)

    try:
        with before_each(READING, at_look):
            return view.compare(), reached, unfinished
    except SandboxError:
        return None, reached, unfinished


@pytest.mark.parametrize("remove", REMOVERS)
def test_a_removal_at_any_point_that_stops_at_any_point(remove: Callable[[View], None], tmp_path: Path) -> None:
    """Before each look of the comparison, a removal goes as far as it may; what is found is right, or an error."""
    right = errors = 0
    for look in itertools.count():
        for steps in itertools.count():
            view = View(tmp_path / f"{look}-{steps}")
            changes, reached, unfinished = compared(view, remove, look, steps)
            view.close()
            assert changes is None or changes == DONE, (look, steps)
            right, errors = right + (changes is not None), errors + (changes is None)
            if not unfinished:
                break
        if not reached:
            break
    assert right > 20 and errors > 100, (right, errors)


@pytest.mark.parametrize("remove", REMOVERS)
def test_the_mark_goes_before_any_content(remove: Callable[[View], None], tmp_path: Path) -> None:
    for steps in itertools.count():
        view = View(tmp_path / str(steps))
        unfinished = removed_until(view, remove, steps)
        here = {str(path.relative_to(view.place)) for path in view.place.rglob("*.md")}
        assert len(here) == 2 or not views.is_intact(view.container), steps
        view.close()
        if not unfinished:
            assert not here
            break


def test_a_view_that_is_made_while_its_folder_is_removed_is_not_intact(tmp_path: Path) -> None:
    """The child of a dead zygote may live for an instant longer: nobody makes the mark again."""
    view = View(tmp_path)
    view.scratch.remove()
    with pytest.raises(OSError):
        view.scratch.make("another")
    assert not views.is_intact(view.container)
    view.close()


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        "[1]",
        '["/etc/passwd"]',
        '["../x.md"]',
        '["a//b"]',
        '[""]',
        '["a\\u0000b"]',
        "[[",
        "[" * 9999,
        "x" * 300_000,
    ],
)
def test_a_list_that_is_none(text: str, tmp_path: Path) -> None:
    """The block may write what it likes there."""
    view = View(tmp_path)
    (view.path / layers.GONE / "000000").write_text(text)
    with pytest.raises(MemoryLimitError, match="reserved name"):
        view.compare()
    view.close()


def test_what_is_listed_is_no_more_than_may_be_changed(tmp_path: Path) -> None:
    view = View(tmp_path)
    assert len(view.compare(max_files=6)) == 5
    with pytest.raises(MemoryLimitError, match="6 files and folders were changed, more than the 5"):
        view.compare(max_files=5)
    view.says_gone("people", "people/deep", "people/deep/bob.md", "nowhere.md", "people/nowhere/at/all.md")
    changes = view.compare()  # what is there again, or never was, is not gone
    assert changes.deletes == {"people/deep/bob.md"}
    assert changes.removed_dirs == {"people/deep"}
    view.close()


def test_what_the_owner_does_meanwhile_is_none_of_the_blocks_changes(tmp_path: Path) -> None:
    view = View(tmp_path)
    (view.memory / "mine.md").write_text("made while the block ran")
    (view.memory / "user.md").write_text("edited while the block ran")
    (view.memory / "people" / "deep" / "bob.md").unlink()
    (view.memory / "places" / "mine.md").write_text("made in a folder that the block has removed")
    assert view.compare() == DONE
    view.close()


def test_other_kinds_in_the_place_of_notes(tmp_path: Path) -> None:
    view = View(tmp_path)
    os.symlink("user.md", view.path / "link")
    with pytest.raises(MemoryLimitError, match="link: is not a plain file"):
        view.compare()
    (view.path / "link").unlink()
    (view.path / "user.md").mkdir()
    (view.path / "people" / "deep").write_text("a note now")
    view.says_gone("places/rome.md", "places", "user.md", "people/deep/bob.md", "people/deep")
    changes = view.compare()
    assert changes.made_dirs == {"new", "user.md"}
    assert changes.removed_dirs == {"places", "people/deep"}
    assert changes.deletes == {"places/rome.md", "people/deep/bob.md", "user.md"}
    assert changes.writes == {**DONE.writes, "people/deep": b"a note now"}
    view.close()


def test_a_file_that_grows_while_it_is_copied_counts_as_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "old" / "note.md").write_text("x")
    real = os.read

    def read(descriptor: int, size: int) -> bytes:
        with open(tmp_path / "old" / "note.md", "a") as note:
            note.write("x" * 200)
        return real(descriptor, size)

    old, new = (os.open(tmp_path / name, copying.FOLDER) for name in ("old", "new"))
    monkeypatch.setattr(os, "read", read)
    with pytest.raises(copying.TooLarge):
        copying.copy_tree(old, new, None, max_bytes=1000)
    monkeypatch.undo()
    assert os.stat(tmp_path / "new" / "note.md").st_size <= 1000
    os.close(old)
    os.close(new)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give notes away")
async def test_a_copy_that_a_view_lies_over_is_removed(tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "theirs.md").write_text("theirs")
    os.chown(tmp_path / "memory" / "theirs.md", 54321, 54321)
    root = os.open(tmp_path / "memory", copying.FOLDER)
    ownership = MixedOwnership(all_ids=True, place=str(place))
    assert await ownership.needs_copy(root)
    with pytest.raises(SandboxError, match="copy of a memory was removed"):
        async with ownership.copied(root) as lower:
            assert os.listdir(lower) == ["theirs.md"]
            (copy,) = place.iterdir()
            views.remove_scratch(copy.name, parent := os.open(place, copying.FOLDER))
            os.close(parent)
    os.close(root)
    assert not list(place.iterdir())


async def test_a_zygote_that_ends_while_views_are_read(tmp_path: Path) -> None:
    """SIGTERM at many moments of a block, as a service manager sends it to every process of a service."""
    memory = tmp_path / "memory"
    (memory / "people").mkdir(parents=True)
    for number in range(300):
        (memory / "people" / f"{number}.md").write_text(f"note {number}\n")
    before, saved = tree(memory), 0
    for attempt in range(6):
        async with open_sandbox("kernel-lite") as sandbox:
            await sandbox.run("x = 1", memory_path=memory)
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def terminate(pid: int, after: float) -> None:
                        await trio.sleep(after)
                        os.kill(pid, signal.SIGTERM)

                    pid: int = sandbox._executor.pid  # type: ignore[attr-defined]
                    nursery.start_soon(terminate, pid, 0.004 * attempt)
                    try:
                        result = await sandbox.run(f"create_file('new{attempt}.md', 'x')", memory_path=memory)
                        saved += result.saved
                    except SandboxError:
                        pass
                    nursery.cancel_scope.cancel()
            assert not scope.cancelled_caught
        kept = tree(memory)
        assert {name: kept.get(name) for name in before} == before
        assert len(kept) == len(before) + saved


_HOST = """
import os, signal, sys, trio
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGALRM}:
    try:
        if sys.argv[3] == "ignored":
            signal.signal(number, signal.SIG_IGN)
    except OSError:
        pass
if sys.argv[3] == "blocked":
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
from trioagent import SandboxLimits, open_sandbox

async def main():
    async with open_sandbox(sys.argv[1], limits=SandboxLimits(cpu_seconds=1)) as sandbox:
        for number in range(10):
            result = await sandbox.run(f"create_file('new{number}.md', 'x')", memory_path=sys.argv[2])
            assert (result.error, result.saved) == ("", True), result
        result = await sandbox.run("while True: pass", memory_path=sys.argv[2])
        assert "TimeoutError: the block used more than 1 s" in result.error, result
        pid = sandbox._executor.pid
        print(open(f"/proc/{pid}/status").read())

trio.run(main)
"""


@pytest.mark.parametrize("how", ["ignored", "blocked"])
@pytest.mark.parametrize("tier", ["kernel", "kernel-lite", "monty"])
def test_a_host_that_ignores_or_blocks_every_signal(tier: str, how: str, tmp_path: Path) -> None:
    """None of that reaches what we start: children are waited for, limits and the host can end them."""
    if tier == "monty":
        pytest.importorskip("pydantic_monty")
    (tmp_path / "people").mkdir()
    for number in range(20):
        (tmp_path / "people" / f"{number}.md").write_text(f"note {number}\n")
    done = subprocess.run(
        [sys.executable, "-c", _HOST, tier, str(tmp_path), how], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert len(tree(tmp_path)) == 30
    status = dict(line.split(":\t") for line in done.stdout.strip().splitlines() if ":\t" in line)
    assert int(status["SigBlk"], 16) == 0
    kept = {signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT}  # as Python has them, and for Monty's outer process
    ignored = int(status["SigIgn"], 16)
    ours = (
        signal.valid_signals() - kept
    )  # the C library keeps two to itself, and ignores them in what posix_spawn starts
    assert not [number for number in ours if ignored >> (number - 1) & 1]


def test_signals_are_set_to_their_defaults() -> None:
    code = """
import signal
from trioagent.sandbox._guest.syscalls import reset_signals
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: None)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
reset_signals()
kinds = dict((number, signal.getsignal(number)) for number in signal.valid_signals())
others = [number for number, kind in kinds.items() if kind is not signal.SIG_DFL]
assert others == [signal.SIGPIPE, signal.SIGXFSZ], others
assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""
