"""The view over a memory does what a disk does: the same calls on it and on a real copy end the same."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trioagent.sandbox._guest.monty.files import Files
from trioagent.sandbox._guest.monty.view import View, collect
from trioagent.tools import SeenLog, make_tools

from ..examples import examples

NAMES = st.sampled_from(["a", "b", "a/a", "a/b", "b/a", "a/a/a", "c/d"])
NOTES = NAMES.map(lambda name: f"{name}.md")
TEXTS = st.sampled_from(["", "x", "y\n- [[a]]\n", "z" * 50])
CALLS = st.one_of(
    st.tuples(st.just("create_file"), st.tuples(NOTES, TEXTS)),
    st.tuples(st.just("update_file"), st.tuples(NAMES, st.just("x"), TEXTS)),
    st.tuples(st.just("write_to_file"), st.tuples(NAMES, st.just("@@ -0,0 +1 @@\n+x\n"))),
    *(
        st.tuples(st.just(name), st.tuples(NAMES))
        for name in ("read_file", "delete_file", "check_if_file_exists", "check_if_dir_exists", "create_dir")
    ),
    st.tuples(st.just("list_files"), st.one_of(st.just(()), st.tuples(NAMES))),
    st.tuples(st.just("get_size"), st.one_of(st.just(()), st.tuples(NAMES))),
    st.tuples(st.just("search"), st.tuples(st.sampled_from(["x", "y", "a"]))),
    st.tuples(st.just("backlinks"), st.tuples(NAMES)),
    st.tuples(st.just("go_to_link"), st.tuples(NAMES)),
    *(st.tuples(st.just(f"os.{name}"), st.tuples(NAMES)) for name in ("mkdir", "rmdir", "unlink", "listdir", "open")),
    st.tuples(st.just("os.rename"), st.tuples(NAMES, NAMES)),
    st.tuples(st.just("os.rename"), st.tuples(NOTES, NOTES)),
    st.tuples(st.just("os.rename"), st.tuples(NOTES, NAMES)),
    st.tuples(st.just("os.unlink"), st.tuples(NOTES)),
    st.tuples(st.just("os.write"), st.tuples(NOTES, TEXTS)),
)
START = st.dictionaries(NAMES, TEXTS, max_size=5)


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


ON_DISK: dict[str, Callable[..., Any]] = {
    "mkdir": os.mkdir,
    "rmdir": os.rmdir,
    "unlink": os.unlink,
    "listdir": lambda path: sorted(os.listdir(path)),
    "open": lambda path: Path(path).read_text(),
    "rename": os.rename,
    "write": write,
}


def on_view(files: Files, name: str, *args: str) -> Any:
    paths = tuple(f"/{arg}" for arg in args)
    match name:
        case "write":
            files(name="Path.write_text", args=(paths[0], args[1]), kwargs={})
            return None
        case "open":
            return files(name="Path.read_text", args=paths, kwargs={})
        case "listdir":
            return [path.rpartition("/")[2] for path in files(name="Path.iterdir", args=paths, kwargs={})]
        case _:
            return files(name=f"Path.{name}", args=paths, kwargs={})


def outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except OSError as error:
        return type(error).__name__ if not isinstance(error, IsADirectoryError) else "PermissionError"


def tree(folder: Path) -> dict[str, str | None]:
    return {str(p.relative_to(folder)): p.read_text() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def apply(folder: Path, index: dict[str, Any], contents: list[bytes]) -> None:
    """As a commit would; each path must be there to be deleted, and not to be made."""
    for path in index["deletes"]:
        (folder / path).unlink()
    for path in sorted(index["removed_dirs"], reverse=True):
        (folder / path).rmdir()
    for path in sorted(index["made_dirs"]):
        (folder / path).mkdir()
    for (path, _), content in zip(index["writes"], contents, strict=True):
        (folder / path).write_bytes(content)


@settings(max_examples=examples(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(START, st.lists(CALLS, max_size=12))
def test_does_what_a_disk_does(tmp_path: Path, start: dict[str, str], calls: list[tuple[str, tuple[str, ...]]]) -> None:
    memory, copy = tmp_path / "memory", tmp_path / "copy"
    for folder in (memory, copy):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, text in start.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.md").write_text(text)
    root = os.open(memory, os.O_RDONLY)
    try:
        view = View(root, file_bytes=10_000, view_bytes=100_000, view_files=1000)
        seen_view, seen_disk = SeenLog(), SeenLog()
        files = Files(view, SeenLog())
        tools, real = make_tools(view, seen_view), make_tools(str(copy), seen_disk)
        for name, args in calls:
            if name.startswith("os."):
                plain = name.removeprefix("os.")
                at = [str(copy / arg) if i == 0 or plain == "rename" else arg for i, arg in enumerate(args)]
                mine = outcome(lambda plain=plain, args=args: on_view(files, plain, *args))  # type: ignore[misc]
                theirs = outcome(lambda plain=plain, at=at: ON_DISK[plain](*at))  # type: ignore[misc]
                assert type(mine) is type(theirs)
                if mine != theirs:  # a refusal may have another name, never another effect
                    assert isinstance(mine, str) and mine.endswith("Error") and theirs.endswith("Error")
            else:
                assert tools[name](*args) == real[name](*args), (name, args)
        assert (seen_view.reads, seen_view.replaced) == (seen_disk.reads, seen_disk.replaced)
        before = tree(memory)
        index, contents = collect(view)
        assert tree(memory) == before
    finally:
        os.close(root)
    apply(memory, index, contents)
    assert tree(memory) == tree(copy)
    if not {name for name, _ in calls} - {"read_file", "search", "list_files", "backlinks", "go_to_link"}:
        assert not any(index.values())


def test_nothing_written_twice_is_no_change(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("x")
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        view = View(root, file_bytes=100, view_bytes=1000, view_files=10)
        tools = make_tools(view)
        tools["delete_file"]("a.md")
        tools["create_file"]("a.md", "x")
        assert not any(collect(view)[0].values())
    finally:
        os.close(root)


@pytest.mark.parametrize("notes", [10, 2000])
def test_cost_does_not_grow_with_the_memory(tmp_path: Path, notes: int) -> None:
    """The file system is asked the same things for a memory of 10 notes and of 2000."""
    for number in range(notes):
        (tmp_path / f"{number}.md").write_text("x")
    root = os.open(tmp_path, os.O_RDONLY)
    count = 0

    def watch(event: str, args: tuple[Any, ...]) -> None:
        nonlocal count
        count += counting and event in ("open", "os.listdir", "os.scandir")

    counting = False
    sys.addaudithook(watch)
    try:
        counting = True
        view = View(root, file_bytes=100, view_bytes=1000, view_files=10)
        tools = make_tools(view)
        tools["read_file"]("1.md")
        tools["create_file"]("new.md", "y")
        tools["update_file"]("1.md", "x", "y")
        collect(view)
    finally:
        counting = False
        os.close(root)
    assert 0 < count < 60
