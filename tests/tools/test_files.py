"""Reading, writing, listing: what each tool does, what it says when it cannot, and which notes it reports as read."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trioagent.tools import NAMES, NoResults, ToolError, make_tools
from trioagent.tools._disk import Folder

from ..examples import examples
from ..open_files import open_files
from .conftest import Memory


def test_a_note_is_written_read_and_deleted(memory: Memory) -> None:
    assert memory.create_file("entities/people/ada.md", "# Ada\n") is True
    assert memory.read_file("entities/people/ada.md") == "# Ada\n"
    assert memory.check_if_file_exists("entities/people/ada.md") is True
    assert memory.check_if_dir_exists("entities/people") is True
    assert memory.create_file("entities/people/ada.md", "# Ada L.\n") is True
    assert memory.bytes("entities/people/ada.md") == b"# Ada L.\n"
    assert memory.delete_file("entities/people/ada.md") is True
    assert memory.check_if_file_exists("entities/people/ada.md") is False
    assert memory.list_files() == []
    assert os.listdir(memory.root / "entities/people") == []


@pytest.mark.parametrize(
    ("given_path", "stored"),
    [
        ("ada.md", "ada.md"),
        ("ada", "ada.md"),
        ("/ada.md", "ada.md"),
        ("./people/./ada", "people/ada.md"),
        ("people//ada.md", "people/ada.md"),
        ("people/../ada.md", "ada.md"),
        ("  ada.md", "ada.md"),
        ("notes.txt", "notes.txt"),
        ("board.canvas", "board.canvas"),
        ("v1.2", "v1.2.md"),
        ("mr. smith", "mr. smith.md"),
        ("Zoë/Größe", "Zoë/Größe.md"),
    ],
)
def test_where_a_new_note_goes(memory: Memory, given_path: str, stored: str) -> None:
    assert memory.create_file(given_path, "x") is True
    assert memory.list_files() == [stored]
    assert memory.read_file(given_path) == "x"
    assert memory.read_file(stored) == "x"


@pytest.mark.parametrize(
    "name", ["a\\b.md", " a.md", "a.md ", "x", "a:b.md", "line\nbreak.md", "\udcff.md", "[[x]].md"]
)
def test_every_listed_name_can_be_read_changed_and_deleted(memory: Memory, name: str) -> None:
    try:
        memory.put(name, "one")
    except OSError:
        pytest.skip("this file system does not take such names")
    assert memory.list_files() == [name]
    assert memory.read_file(name) == "one"
    assert memory.update_file(name, "one", "two") is True
    assert memory.create_file(name, "three") is True
    assert memory.list_files() == [name]
    assert memory.get_size(name) == 5
    assert memory.delete_file(name) is True


def test_listing(memory: Memory) -> None:
    for path in ("user.md", "entities/b.md", "entities/a.md", "entities/deep/c.txt", ".hidden.md", ".git/config"):
        memory.put(path)
    assert memory.list_files() == ["entities/a.md", "entities/b.md", "entities/deep/c.txt", "user.md"]
    for root in (None, "", ".", "/", "./"):
        assert memory.list_files(root) == memory.list_files()
    assert memory.list_files("entities/deep") == ["entities/deep/c.txt"]
    assert memory.list_files("/entities/") == ["entities/a.md", "entities/b.md", "entities/deep/c.txt"]
    missing: object = memory.list_files("nope")
    assert not missing and isinstance(missing, NoResults)
    assert repr(missing) == f"[]  # {missing.error}"
    assert missing.error == "Error: the folder nope does not exist. Use list_files() to see all notes"
    assert "read_file('user.md')" in repr(memory.list_files("user.md"))


def test_sizes_are_of_contents(memory: Memory) -> None:
    memory.put("user.md", "x" * 10)
    memory.put("entities/a.md", "x" * 100)
    memory.put("entities/deep/b.md", "x" * 1000)
    memory.put(".obsidian/app.json", "x" * 10_000)
    memory.put(".trioagent/redo.json", "x" * 100_000)
    assert memory.get_size() == 1110
    assert memory.get_size("entities") == 1100
    assert memory.get_size("user.md") == 10
    assert "does not exist" in memory.get_size("nope")


def test_the_hosts_own_folder_is_out_of_reach(memory: Memory) -> None:
    memory.put(".trioagent/redo.json", "secret")
    for path in (".trioagent/redo.json", "x/../.trioagent/redo.json", "/.TRIOAGENT/redo.json"):
        assert "no part of the notes" in memory.read_file(path)
        assert not memory.create_file(path, "x")
        assert not memory.delete_file(path)
    assert memory.list_files(".trioagent") == [] and memory.search("secret") == []


def test_a_missing_note_names_the_nearest(memory: Memory) -> None:
    memory.put("entities/john.md")
    error = memory.read_file("entities/jon.md")
    assert error == (
        "Error: File 'entities/jon.md' does not exist. Did you mean entities/john.md? "
        "Use list_files() to see all notes."
    )
    assert isinstance(error, ToolError) and not error
    assert "Did you mean entities/john.md" in memory.delete_file("John")
    memory.delete_file("entities/john.md")
    assert "no notes yet" in memory.read_file("entities/jon.md")


def test_folders_and_notes_are_told_apart(memory: Memory) -> None:
    assert memory.create_dir("entities/people") is True
    assert memory.create_dir("entities/people") is True
    assert memory.create_dir("") is True
    assert "is a folder; use list_files('entities')" in memory.read_file("entities")
    assert "is a folder" in memory.delete_file("entities/people")
    memory.put("user.md", "x")
    assert "user.md is a note, not a folder" in memory.create_file("user.md/ada.md", "x")
    assert "user.md is a note, not a folder" in memory.create_dir("user.md/x")
    assert "is a note" in memory.create_dir("user.md")
    memory.create_dir("odd.md")
    assert "odd.md is a folder" in memory.create_file("odd.md", "x")
    assert memory.check_if_dir_exists("user.md") is False
    assert memory.check_if_file_exists("entities") is False


def test_what_counts_as_read(memory: Memory) -> None:
    memory.put("user.md", "a [[ada]]")
    memory.put("entities/ada.md", "b")

    def reads(tool: str, *args: object) -> list[str]:
        memory.seen.clear()
        memory.tools[tool](*args)
        return list(memory.seen.reads)

    assert reads("read_file", "/user.md") == ["user.md"]
    assert reads("read_file", "nope") == ["nope", "nope.md"]
    assert reads("check_if_file_exists", "./user.md") == []  # that it is there says nothing of its content
    assert reads("check_if_file_exists", "nope.md") == ["nope.md"]
    assert reads("go_to_link", "[[ada]]") == ["entities/ada.md"]
    assert reads("go_to_link", "[[user]]") == ["user.md"]
    assert reads("update_file", "user.md", "a", "b") == ["user.md"]
    assert reads("write_to_file", "user.md", "@@ -1 +1 @@\n-b [[ada]]\n+c [[ada]]") == ["user.md"]
    for tool, *args in (
        ("list_files",),
        ("search", "a"),
        ("backlinks", "entities/ada.md"),
        ("get_size", ""),
        ("get_size", "user.md"),
        ("create_file", "entities/ada.md", "x"),
        ("create_dir", "d"),
        ("delete_file", "entities/ada.md"),
    ):
        assert reads(tool, *args) == [], tool


# Text


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", ""),
        (b"a\r\nb\r\n", "a\nb\n"),
        (b"\xef\xbb\xbf# T\n", "# T\n"),
        (b"caf\xe9 \xc3\xa9", "caf\ufffd é"),
        (b"a\rb", "a\rb"),
        ("日本".encode(), "日本"),
    ],
)
def test_how_bytes_are_shown(memory: Memory, data: bytes, shown: str) -> None:
    memory.put("n.md", data)
    assert memory.read_file("n.md") == shown


def test_a_large_note_is_shown_in_part(memory: Memory) -> None:
    memory.put("big.md", b"x" * (2 * 1024 * 1024))
    text = memory.read_file("big.md")
    assert text.startswith("x" * 1024 * 1024 + "\n[this note has 2,097,152 bytes; only the first 1,048,576 are shown")
    memory.put("just.md", b"x" * 1024 * 1024)
    assert memory.read_file("just.md") == "x" * 1024 * 1024


def test_an_error_text_is_never_saved_as_a_note(memory: Memory) -> None:
    refused = memory.create_file("copy.md", memory.read_file("missing.md") + "\n- more")
    assert not refused and "'missing.md' does not exist" in refused
    assert memory.list_files() == []


def test_a_half_character_is_refused(memory: Memory) -> None:
    assert "cannot be saved" in memory.create_file("a.md", "x\ud800")
    assert "no file name" in memory.create_file("\ud800.md", "x")
    assert memory.list_files() == []


# Refusals


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (None, "must be text"),
        (5, "must be text"),
        (b"user.md", "must be text such as 'entities/ada.md', not bytes"),
        (["user.md"], "must be text"),
        ("", "name a note"),
        ("/", "name a note"),
        ("a/..", "name a note"),
        ("../x.md", "leads out of the memory"),
        ("a/../../x.md", "leads out of the memory"),
        ("a\0b.md", "NUL"),
        ("d/" * 100 + "x.md", "more than 64 folders"),
    ],
)
@pytest.mark.parametrize("tool", ["read_file", "create_file", "delete_file", "update_file", "write_to_file"])
def test_bad_paths_are_answered_with_text(memory: Memory, tool: str, path: Any, words: str) -> None:
    more = {"update_file": ("a", "b"), "write_to_file": ("+a\n",)}.get(tool, ())
    answer = memory.tools[tool](path, *more)
    assert isinstance(answer, ToolError) and not answer
    assert answer.startswith("Error: ") and words in answer
    assert os.listdir(memory.root.parent) == ["mem"] and os.listdir(memory.root) == []


def test_names_that_are_too_long(memory: Memory) -> None:
    long = "x" * 300 + ".md"
    assert "255 bytes" in memory.create_file(long, "x")
    assert memory.check_if_file_exists(long) is False
    assert "does not exist" in memory.read_file(long)
    assert "one line of text" in memory.create_file("# Ada\n- city: Paris", "x")


def test_paths_may_be_path_objects(memory: Memory) -> None:
    assert memory.create_file(Path("entities") / "ada.md", "x") is True
    assert memory.read_file(Path("entities/ada.md")) == "x"


@pytest.mark.parametrize("content", [None, 5, b"x", ["x"], {"a": 1}])
def test_content_must_be_text(memory: Memory, content: object) -> None:
    assert "content must be text" in memory.create_file("a.md", content)
    assert memory.list_files() == []


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "space for this block's changes is used up"),
        (errno.EFBIG, "a note may hold 1 MB"),
        (errno.EMFILE, "too many files are open"),
        (errno.EIO, "the file system refused"),
    ],
)
def test_a_failed_write_says_what_to_do_and_keeps_the_old_note(
    memory: Memory, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    memory.put("user.md", "precious")

    def full(fd: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        answers = [
            memory.create_file("user.md", "new"),
            memory.update_file("user.md", "precious", "new"),
            memory.write_to_file("user.md", "-precious\n+new"),
            memory.create_file("fresh.md", "new"),
        ]
    for answer in answers:
        assert not answer and words in answer
    assert "user.md: " in answers[0] and "fresh.md: " in answers[3]
    assert memory.bytes("user.md") == b"precious"
    assert os.listdir(memory.root) == ["user.md"]


def test_short_writes_are_continued(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    assert memory.create_file("a.md", "0123456789") is True
    assert memory.bytes("a.md") == b"0123456789"


def test_a_note_keeps_its_mode(memory: Memory) -> None:
    memory.put("a.md", "x")
    (memory.root / "a.md").chmod(0o600)
    assert memory.create_file("a.md", "y") is True
    assert (memory.root / "a.md").stat().st_mode & 0o777 == 0o600


# Nothing raises, nothing outside is touched

_odd = st.one_of(
    st.none(),
    st.integers(-5, 5),
    st.booleans(),
    st.binary(max_size=8),
    st.text(max_size=20),
    st.text(alphabet="./\\ a~:|#^[]()%\0\n-+@*", max_size=20),
    st.sampled_from(
        ["user.md", "user", "entities", "../mem2/secret.md", "/etc/passwd", "[[user]]", "@@ -1 +1 @@\n-a\n+b"]
    ),
    st.lists(st.text(max_size=3), max_size=2),
)
_ARGUMENTS = dict.fromkeys(NAMES, 1) | {"create_file": 2, "update_file": 3, "write_to_file": 2, "search": 2}


@settings(max_examples=examples(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.tuples(st.sampled_from(NAMES), st.tuples(_odd, _odd, _odd)), max_size=6))
def test_tools_never_raise_and_stay_inside(tmp_path: Path, calls: list[tuple[str, tuple[object, ...]]]) -> None:
    shutil.rmtree(tmp_path)  # hypothesis runs many examples in the one folder that the fixture makes
    outside = tmp_path / "mem2" / "secret.md"
    outside.parent.mkdir(parents=True)
    outside.write_text("secret")
    root = tmp_path / "mem"
    root.mkdir()
    (root / "user.md").write_text("# User\n- a\n")
    tools = make_tools(str(root))
    for name, arguments in calls:
        answer = tools[name](*arguments[: _ARGUMENTS[name]])
        assert isinstance(answer, (str, bool, int, list))
        assert "secret" not in str(answer) or "mem2/secret" in str(answer)
        if isinstance(answer, (ToolError, NoResults)):
            assert not answer
    assert sorted(os.listdir(tmp_path)) == ["mem", "mem2"]
    assert os.listdir(outside.parent) == ["secret.md"] and outside.read_text() == "secret"


def test_folder_handles_are_closed(memory: Memory) -> None:
    memory.put("a/b/c.md", "x [[d]]")
    before = open_files() if os.path.isdir("/proc/self/fd") else None
    for name in NAMES:
        for argument in ("a/b/c.md", "a", "nope", None):
            arguments = (argument, "x", "y")[: _ARGUMENTS[name]]
            memory.tools[name](*(arguments if name != "search" else arguments[:1]))
    if before is not None:
        assert open_files() == before
    assert Folder.__slots__  # one handle a folder, nothing else to keep open
