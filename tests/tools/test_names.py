"""One name, one note: a write goes where a read would look, in every spelling; and what a new note may be called."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioagent.tools import SeenLog, ToolError, make_tools
from trioagent.tools._disk import Disk, Folder
from trioagent.tools._names import nfc

from ..examples import examples
from .conftest import Memory, any_name
from .test_index import Host

COMPOSED, DECOMPOSED = normalize("NFC", "Zoë"), normalize("NFD", "Zoë")
MIXED = normalize("NFC", "Đế") + normalize("NFD", "ngữ")
VIETNAMESE = "n\u00ea\u0301m"  # as a Vietnamese keyboard types it: neither NFC nor NFD

_words = st.sampled_from(
    [
        "ada",
        "Vue.js",
        "St.Pauli",
        "john.doe",
        "v1.2",
        "Zoë",
        "élève",
        "nếm",
        "Å",
        "東京",
        "Карий",
        "한국",
        "notes.txt",
        "K",
    ]
)
_forms = st.sampled_from(["NFC", "NFD", "first"])


@st.composite
def spelled(draw: st.DrawFn, name: str) -> str:
    """*name*, its accents in some form."""
    form = draw(_forms)
    if form == "first":
        half = len(name) // 2
        return normalize("NFD", name[:half]) + normalize("NFC", name[half:])
    return normalize("NFD" if form == "NFD" else "NFC", name)


@st.composite
def paths(draw: st.DrawFn) -> str:
    parts = draw(st.lists(_words, min_size=1, max_size=3))
    return draw(spelled("/".join(parts))) + draw(st.sampled_from(["", ".md"]))


def put(root: Path, path: str) -> None:
    """Make a note behind the tools' back, unless something is in its way."""
    file = root / path
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_text("old\n")
    except OSError:
        pass


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@settings(max_examples=examples(50), deadline=None)
@given(
    there=st.lists(paths(), max_size=6),
    asked=paths(),
    tool=st.sampled_from(["create_file", "update_file", "write_to_file", "delete_file"]),
    indexed=st.booleans(),
    data=st.data(),
)
def test_writing_goes_where_reading_looks(
    scratch: Path, there: list[str], asked: str, tool: str, indexed: bool, data: st.DataObject
) -> None:
    shutil.rmtree(scratch)
    scratch.mkdir()
    for path in there:
        put(scratch, path)
    host = Host(scratch)
    if indexed:
        host.renew(0)
    tools: dict[str, Any] = make_tools(str(scratch), index=host.index(), access=any_name())
    before, names = tools["read_file"](asked), tools["list_files"]()
    exists = not isinstance(before, ToolError)
    assert tools["check_if_file_exists"](asked) is exists
    if exists:
        assert tools["get_size"](asked) == 4
    arguments = {"update_file": ("old", "new"), "write_to_file": ("-old\n+new\n" if exists else "+new\n",)}
    answer = tools[tool](asked, *arguments.get(tool, ("new\n",) if tool == "create_file" else ()))
    after = tools["list_files"]()
    if tool in ("update_file", "delete_file"):
        assert (answer is True) is exists
    if answer is not True:  # a note is where a folder would have to be, or there is nothing to change
        assert after == names and (
            tool in ("update_file", "delete_file") or not exists or "would be a new note in a new folder" in answer
        )
    elif tool == "delete_file":
        assert len(after) == len(names) - 1
    else:
        assert tools["read_file"](asked) == "new\n"
        assert len(after) == len(names) + (not exists)
        if len({nfc(name) for name in names}) == len(names):
            assert tools["read_file"](data.draw(spelled(asked), "spelled otherwise")) == "new\n"
            assert len({nfc(name) for name in after}) == len(after), "two notes of one name"


@settings(max_examples=examples(30), deadline=None)
@given(first=paths(), data=st.data())
def test_every_spelling_is_the_same_note(scratch: Path, first: str, data: st.DataObject) -> None:
    shutil.rmtree(scratch)
    scratch.mkdir()
    tools: dict[str, Any] = make_tools(str(scratch), access=any_name())
    assert tools["create_file"](first, "one") is True
    bare = first.removesuffix(".md")
    second = data.draw(spelled(bare)) + ("" if bare.endswith(".txt") else data.draw(st.sampled_from(["", ".md"])))
    second += ".md" * (first.endswith(".txt.md"))
    assert tools["create_file"](second, "two") is True
    assert tools["read_file"](first) == tools["read_file"](second) == "two"
    assert len(tools["list_files"]()) == 1
    assert tools["go_to_link"](f"[[{second}]]") == "two"


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("Vue.js.md", "Vue.js"),
        ("St.Pauli.md", "St.Pauli"),
        ("people/john.doe.md", "people/john.doe"),
        ("Vue.js", "Vue.js"),
        (f"{DECOMPOSED}.md", COMPOSED),
        (f"{COMPOSED}.md", DECOMPOSED),
        (f"{DECOMPOSED}/{DECOMPOSED}.md", f"{COMPOSED}/{COMPOSED}"),
        (f"{MIXED}.md", normalize("NFC", MIXED)),
        (f"{VIETNAMESE}/x.md", normalize("NFC", VIETNAMESE) + "/x"),
        ("\u212aelvin.md", "Kelvin"),
        ("ada.md", "ada.MD"),
        ("people/ada.md", "people\\ada"),
        ("ada.md", " ada.md "),
        ("a: b.md", "a: b"),
    ],
)
def test_a_note_is_found_and_written_over(memory: Memory, there: str, asked: str) -> None:
    memory.put(there, "old")
    assert memory.read_file(asked) == "old"
    assert memory.create_file(asked, "new") is True
    assert memory.update_file(asked, "new", "newer") is True
    assert memory.write_to_file(asked, "-newer\n+newest") is True
    assert memory.list_files() == [there] and memory.bytes(there) == b"newest"
    assert memory.delete_file(asked) is True
    assert memory.list_files() == []


def test_a_new_note_goes_into_the_folder_that_is_there(memory: Memory) -> None:
    memory.put(f"{DECOMPOSED}/old.md", "")
    assert memory.create_file(f"{COMPOSED}/new", "x") is True
    assert memory.create_dir(f"{COMPOSED}/inner") is True
    assert memory.check_if_dir_exists(f"{COMPOSED}/inner") is True
    assert os.listdir(memory.root) == [DECOMPOSED]
    assert memory.list_files(COMPOSED) == [f"{DECOMPOSED}/new.md", f"{DECOMPOSED}/old.md"]
    assert memory.get_size(COMPOSED) == 1


def test_of_two_notes_of_one_name_each_can_be_reached(memory: Memory) -> None:
    memory.put(f"{COMPOSED}.md", "composed")
    memory.put(f"{DECOMPOSED}.md", "decomposed")
    for name, text in ((COMPOSED, "composed"), (DECOMPOSED, "decomposed")):
        assert memory.read_file(name) == text
        assert memory.go_to_link(f"[[{name}]]") == text
        assert memory.create_file(name, f"{text} two") is True
        assert memory.bytes(f"{name}.md").decode() == f"{text} two"


def test_a_name_with_many_accents_is_looked_up_in_the_index(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(memory.root)
    host.put(f"{VIETNAMESE}/{MIXED}.md", b"old")
    host.renew(0)
    tools: dict[str, Any] = make_tools(str(memory.root), index=host.index())
    monkeypatch.setattr(os, "scandir", None)
    asked = normalize("NFC", f"{VIETNAMESE}/{MIXED}")
    assert tools["read_file"](asked) == "old"
    assert tools["create_file"](normalize("NFC", f"{VIETNAMESE}/other {MIXED}"), "x") is True
    assert len(os.listdir(memory.root)) == 1


@pytest.mark.parametrize(
    ("asked", "better"),
    [
        ("a:b", "a - b.md"),
        ("Meeting: the plan.md", "Meeting - the plan.md"),
        ("C#", "C sharp.md"),
        ("#1 goal", "1 goal.md"),
        ("a|b", "a - b.md"),
        ("a^b", "ab.md"),
        ("[[entities/ada]]", "entities/ada.md"),
        ("[[entities/ada#City|Ada]]", "entities/ada.md"),
        ("people\\ada.md", "people/ada.md"),
        ("Acme Inc.", "Acme Inc.md"),
        ("Acme Inc..md", "Acme Inc.md"),
        ("ada ", "ada.md"),
        ("ada.md \n", "ada.md"),
        ("ada .md", "ada.md"),
        ("a /b", "a/b.md"),
        ("a./b.txt", "a/b.txt"),
        ("list: x.txt", "list - x.txt"),
        ("#", "note.md"),
        ("a/:", "a/note.md"),
        ("x/#.hidden", "x/hidden.md"),
    ],
)
def test_a_new_name_that_links_cannot_have_is_refused_with_a_better_one(
    memory: Memory, asked: str, better: str
) -> None:
    for answer in (memory.create_file(asked, "x"), memory.write_to_file(asked, "+x\n")):
        assert isinstance(answer, ToolError) and answer.endswith(f"use {better!r}"), answer
    assert os.listdir(memory.root) == []
    assert memory.create_file(better, "x") is True
    assert memory.list_files() == [better]


@given(st.text(alphabet="aK: #^|[]\\/-é\u0301b\t", max_size=12))
@settings(max_examples=examples(33), deadline=None)
def test_the_better_name_is_one_that_is_taken(scratch: Path, asked: str) -> None:
    shutil.rmtree(scratch)
    scratch.mkdir()
    tools: dict[str, Any] = make_tools(str(scratch), access=any_name())
    answer = tools["create_file"](asked, "x")
    if answer is True:
        assert tools["read_file"](asked) == "x" and len(tools["list_files"]()) <= 1
    elif "; use '" in answer:
        better = answer.rpartition("; use '")[2][:-1]
        assert tools["create_file"](better, "x") is True, better
        assert (scratch / better).read_text() == "x"


def test_names_that_are_there_already_are_no_new_ones(memory: Memory) -> None:
    memory.put("C#/a.md", "")
    memory.put("Inc..md", "old")
    assert memory.create_file("C#/b", "x") is True
    assert memory.create_file("Inc.", "new") is True
    assert memory.create_dir("C#") is True
    assert "use 'C#/D sharp'" in memory.create_dir("C#/D#")
    assert memory.list_files() == ["C#/a.md", "C#/b.md", "Inc..md"]


class FoldingFolder(Folder):
    """A folder on a file system that does not tell upper case from lower; Linux here has none that could be mounted."""

    def _at(self, name: str) -> str:
        with os.scandir(self._path if self._fd is None else self._fd) as entries:
            kept = [entry.name for entry in entries if entry.name.casefold() == name.casefold()]
        return super()._at(kept[0] if kept else name)

    def enter(self, name: str) -> Folder:
        inner = super().enter(self._at(name))
        return FoldingFolder(inner._fd, inner._path)


class FoldingDisk(Disk):
    def _open_root(self) -> Folder:
        plain = super()._open_root()
        return FoldingFolder(plain._fd, plain._path)


def test_case_counts_where_the_file_system_says_so(memory: Memory) -> None:
    memory.put("People/Ada.md", "old")
    assert memory.check_if_file_exists("people/ada") is False
    seen = SeenLog()
    tools: dict[str, Any] = make_tools(FoldingDisk(str(memory.root)), seen)
    assert tools["read_file"]("people/ADA") == "old"
    assert set(seen.reads) == {"People/Ada.md"}
    assert tools["create_file"]("PEOPLE/ada.md", "new") is True
    assert tools["create_file"]("people/Bob", "x") is True
    assert tools["list_files"]("people") == ["People/Ada.md", "People/Bob.md"]
    assert tools["delete_file"]("people/bob") is True
    assert os.listdir(memory.root / "People") == ["Ada.md"] and memory.bytes("People/Ada.md") == b"new"
