"""``trioagent memory``: on notes that an agent wrote, and on a folder of everything that can be wrong with notes."""

from __future__ import annotations

import os
import socket
from functools import partial
from pathlib import Path
from unicodedata import normalize

import pytest

from trioagent._config import MemoryLimits
from trioagent.memory import Vault

from .conftest import Run
from .support import Ended, notes_in, trioagent

ADA = "# Ada\n\n## Work\n- employer: [[acme]] ^job\n\n## Home\n- city: Lisbon\n"


@pytest.fixture
def notes(home: Path) -> Path:
    """A tidy memory."""
    folder = home / "notes"
    (folder / "entities").mkdir(parents=True)
    (folder / "user.md").write_text("# Me\n- sister: [[ada]]\n- colleague: [Bob](entities/bob.md)\n")
    (folder / "entities" / "ada.md").write_text(ADA)
    (folder / "entities" / "acme.md").write_text("# Acme\n- employee: [[Ada#Work|Ada]]\n")
    (folder / "entities" / "bob.md").write_text("# Bob\n- knows [[ada#^job]]\n")
    return folder


@pytest.fixture
def memory(run: Run) -> Run:
    """Run ``trioagent memory …``."""
    return partial(run, "memory")


def test_tree(notes: Path, memory: Run) -> None:
    (notes / ".obsidian").mkdir()
    (notes / ".obsidian" / "app.json").write_text("{}")
    assert memory("tree", "notes") == Ended(
        0,
        "notes  (4 files, 187 bytes)\n"
        "├── entities/\n"
        "│   ├── acme.md  (36)\n"
        "│   ├── ada.md  (65)\n"
        "│   └── bob.md  (27)\n"
        "└── user.md  (59)\n",
        "",
    )


def test_tree_of_nothing(home: Path, memory: Run) -> None:
    (home / "empty").mkdir()
    assert memory("tree", "empty") == Ended(0, "empty  (0 files, 0 bytes)\n", "")


@pytest.mark.parametrize("note", ["entities/ada.md", "entities/ada", "ada", "ADA", "[[ada]]", "[[entities/ada|she]]"])
def test_show_a_note_by_any_name(note: str, notes: Path, memory: Run) -> None:
    assert memory("show", "notes", note) == Ended(0, ADA, "")


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ("ada#Home", "## Home\n- city: Lisbon\n"),
        ("[[ada#home]]", "## Home\n- city: Lisbon\n"),
        ("ada#^job", "- employer: [[acme]] ^job\n"),
    ],
)
def test_show_a_part(part: str, text: str, notes: Path, memory: Run) -> None:
    said = memory("show", "notes", part)
    assert (said.code, said.err) == (0, "")
    assert said.out.replace(" ^job", "").rstrip() == text.replace(" ^job", "").rstrip()


def test_show_what_is_not_there(notes: Path, memory: Run) -> None:
    said = memory("show", "notes", "adda")
    assert (said.code, said.out) == (2, "")
    assert (
        said.err == "error: NOTE: File 'adda' not found: no note is called [[adda]]: did you mean [[entities/ada]]?\n"
    )
    said = memory("show", "notes", "ada#Wrok")
    assert said.code == 2
    assert (
        said.err == "error: NOTE: entities/ada.md has no heading 'Wrok'. Its headings are like 'Ada', 'Work', 'Home'\n"
    )
    said = memory("show", "notes", "../outside.md")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1


def test_links(notes: Path, memory: Run) -> None:
    (notes / "user.md").write_text("[[ada]] [[bbo]]\n[[ada#Nope]]\n[[ada#^no]] [[#Me]] [w](https://x.org)\n# Me\n")
    assert memory("links", "notes", "user") == Ended(
        0,
        "user.md:1: [[ada]] -> entities/ada.md\n"
        "user.md:1: [[bbo]] no such note; did you mean [[entities/bob]]?\n"
        "user.md:2: [[ada#Nope]] entities/ada.md has no heading 'Nope'\n"
        "user.md:3: [[ada#^no]] entities/ada.md has no block ^no\n"
        "user.md:3: [[#Me]] -> user.md\n",
        "",
    )
    said = memory("links", "notes", "usr")
    assert (said.code, said.out) == (2, "")
    assert said.err == "error: NOTE: there is no note 'usr'; did you mean user.md?\n"


def test_backlinks(notes: Path, memory: Run) -> None:
    assert memory("backlinks", "notes", "ada") == Ended(0, "entities/acme.md\nentities/bob.md\nuser.md\n", "")
    assert memory("backlinks", "notes", "user.md") == Ended(0, "", "")


def test_search(notes: Path, memory: Run) -> None:
    assert memory("search", "notes", "which", "city") == Ended(0, "entities/ada.md:7: - city: Lisbon\n", "")
    assert len(memory("search", "notes", "ada", "--limit", "1").out.splitlines()) == 1
    assert memory("search", "notes", "zebra") == Ended(0, "", "nothing found\n")
    said = memory("search", "notes", "?!")
    assert said == Ended(2, "", "error: QUERY: the query has no words; give one or more words to look for\n")


def test_check(notes: Path, memory: Run) -> None:
    assert memory("check", "notes") == Ended(0, "no problems in 4 files\n", "")
    (notes / "user.md").write_text("---\ntags: [a\n---\n# Me\n- sister: [[adda]]\n")
    said = memory("check", "notes")
    assert said.code == 1
    assert said.err == "2 problems\n"
    assert said.out.splitlines() == [
        "user.md:2: line 2 of the front matter: a list is not closed by ]",
        "user.md:5: [[adda]]: no such note; did you mean [[entities/ada]]?",
    ]


def nasty(folder: Path) -> None:
    """Everything that a person, another program or a hostile model may leave in a folder of notes."""
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "outside").mkdir()
    (folder / "notes").mkdir()
    notes = folder / "notes"
    (folder / "outside" / "secret.md").write_text("secret\n")
    (notes / "latin.md").write_bytes(b"# Caf\xe9\n[[crlf]]\nna\xefve\n")
    (notes / "crlf.md").write_bytes(b"# One\r\n\r\n[[latin]]\r\n## Two\r\nx\r\n")
    (notes / "big.md").write_bytes(b"# Big\n" + b"word [[latin]] \n" * 500 + b"word and more words\n" * 99_600)
    (notes / "matter.md").write_text("---\ntitle: x\n[[[[\n# never closed\n")
    (notes / "zero.md").write_bytes(b"")
    (notes / "nul.md").write_bytes(b"a\0b\n")
    (notes / "bom.md").write_bytes(b"\xef\xbb\xbf# Bom\n")
    (notes / "escape \x1b[2J.md").write_text("\x1b]0;owned\x07\n")
    (notes / "new\nline.md").write_text("x\n")
    (notes / os.fsdecode(b"not-utf8-\xff.md")).write_text("x\n")
    (notes / "brackets.md").write_text("[[" * 5000 + "]]" * 5000 + "\n" + "[" * 5000 + "](x)\n")
    (notes / "link.md").symlink_to(folder / "outside" / "secret.md")
    (notes / "dir").symlink_to(folder / "outside")
    (notes / "loop").symlink_to("loop")
    os.mkfifo(notes / "fifo.md")
    with socket.socket(socket.AF_UNIX) as unix:
        here = os.getcwd()
        os.chdir(notes)  # a socket's path must be short
        unix.bind("socket.md")
        os.chdir(here)
    below = notes
    for _ in range(40):
        below = below / "d"
        below.mkdir()
    (below / "deep.md").write_text("deep\n")
    locked = notes / "locked"
    locked.mkdir()
    (locked / "in.md").write_text("x\n")
    locked.chmod(0)


@pytest.mark.parametrize(
    "arguments",
    [
        ("tree",),
        ("show", "latin"),
        ("show", "big"),
        ("show", "nul"),
        ("show", "escape \x1b[2J.md"),
        ("show", "crlf#Two"),
        ("show", "link.md"),
        ("show", "dir/secret.md"),
        ("show", "../outside/secret.md"),
        ("show", "fifo.md"),
        ("show", ""),
        ("show", "#"),
        ("links", "big"),
        ("links", "brackets"),
        ("links", "matter"),
        ("links", "fifo.md"),
        ("backlinks", "latin"),
        ("backlinks", "dir/secret"),
        ("search", "secret"),
        ("search", "word", "caf\udce9"),
        ("check",),
    ],
    ids=" ".join,
)
def test_nothing_crashes_leads_out_or_changes(arguments: tuple[str, ...], home: Path, memory: Run) -> None:
    nasty(home)
    before = {path: path.lstat() for path in (home / "notes").rglob("*")}
    said = memory(arguments[0], "notes", *arguments[1:])
    assert said.code in (0, 1, 2)
    assert "defect" not in said.err
    assert "secret\n" not in said.out
    assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in said.out + said.err)
    after = {path: path.lstat() for path in (home / "notes").rglob("*")}
    assert before.keys() == after.keys()
    for path, status in before.items():
        assert (status.st_mtime_ns, status.st_size, status.st_mode) == (
            after[path].st_mtime_ns,
            after[path].st_size,
            after[path].st_mode,
        )


def test_check_names_everything_that_is_wrong(home: Path, memory: Run) -> None:
    nasty(home)
    lines = memory("check", "notes").out.splitlines()
    starts = {
        "big.md: 2,000,006 bytes, and a note may have 1,048,576",
        "dir: a symbolic link",
        "fifo.md: neither a file nor a folder",
        "latin.md:1: byte 0xe9 is not UTF-8",
        "link.md: a symbolic link",
        "loop: a symbolic link",
        "matter.md:1: the front matter that starts in line 1 is not closed",
        "socket.md: neither a file nor a folder",
        f"{'/'.join('d' * 40)}/deep.md: 40 folders deep, and 32 are allowed",
    }
    if os.geteuid() != 0:
        starts.add("locked: this folder cannot be opened: Permission denied")
    for start in starts:
        assert any(line.startswith(start) for line in lines), start
    assert not [line for line in lines if line.startswith(("crlf", "zero", "bom", "nul"))]


def test_check_of_limits(notes: Path) -> None:
    limits = MemoryLimits(file_bytes=60, dir_bytes=100, total_bytes=150)
    assert [str(problem) for problem in Vault(notes).problems(limits)] == [
        "entities/ada.md: 65 bytes, and a note may have 60 (MemoryLimits.file_bytes); split it",
        "entities: 128 bytes, and a folder may have 100 (MemoryLimits.dir_bytes); "
        "most is taken by entities/ada.md (65), entities/acme.md (36), entities/bob.md (27)",
        ".: 187 bytes, and a memory may have 150 (MemoryLimits.total_bytes); "
        "most is taken by entities/ (128), user.md (59)",
    ]


def test_hidden_files_are_in_no_limit(notes: Path) -> None:
    (notes / ".git").mkdir()
    (notes / ".git" / "pack").write_bytes(bytes(10_000))
    assert list(Vault(notes).problems(MemoryLimits(total_bytes=200, dir_bytes=200))) == []


def test_check_of_two_notes_of_one_name(notes: Path) -> None:
    for form in ("NFC", "NFD"):
        (notes / normalize(form, "Zoë.md")).write_text("# Zoë\n")
    problem = "its name equals that of 'Zoe\u0308.md' except for the form of its accents; rename one"
    assert [str(each) for each in Vault(notes).problems()] == [f"Zo\u00eb.md: {problem}"]


def test_check_of_links_as_obsidian_has_them(notes: Path) -> None:
    """Nothing of this is a problem."""
    (notes / "pic.png").write_bytes(b"png")
    (notes / "paper.pdf").write_bytes(b"pdf")
    (notes / "Vue.js.md").write_text("# Use `ref` with [[ada|Ada]] and *care*\n\none\ntwo\n---\n- item\n  more\n---\n")
    (notes / "links.md").write_text(
        "---\nnested:\n  key: [a,\n    b]\nmap: {a: 1}\n---\n"
        "![[pic.png#icon]] ![[pic.png#outline|100x20]] ![[paper.pdf#page=3]] [p](paper.pdf#page=3) [[pic.png#t=1]]\n"
        "[[Vue.js]] [[vue.js#Use ref with Ada and care]] [[Vue.js#one two]] [x]([[ada]])\n\n    [[in code]]\n"
    )
    assert [str(each) for each in Vault(notes).problems()] == []
    (notes / "links.md").write_text("[[Vue.js#item more]]\n[[pic.jpg#icon]]\n")
    assert [(each.line, "no heading" in each.text) for each in Vault(notes).problems()] == [(1, True), (2, False)]


def test_check_of_an_unfinished_commit(notes: Path, memory: Run) -> None:
    (notes / ".trioagent").mkdir()
    (notes / ".trioagent" / "redo.json").write_text("{}")
    assert memory("check", "notes").out.startswith(".trioagent: a saved change is not completed yet")
    assert (notes / ".trioagent" / "redo.json").exists()


@pytest.mark.parametrize("name", ["tree", "show", "links", "backlinks", "search", "check"])
@pytest.mark.parametrize("bad", ["gone", "file", "link", ""])
def test_a_folder_that_cannot_be_read(name: str, bad: str, notes: Path, memory: Run) -> None:
    (notes.parent / "file").write_text("x")
    (notes.parent / "link").symlink_to("notes")
    said = memory(name, bad, *(["x"] if name not in ("tree", "check") else []))
    assert (said.code, said.out) == (1 if bad else 2, "")
    assert said.err.startswith("error: ")
    assert len(said.err.splitlines()) == 1
    assert not (notes.parent / "gone").exists()


def test_notes_that_may_only_be_read(notes: Path, memory: Run) -> None:
    notes.chmod(0o555)
    try:
        assert memory("check", "notes").code == 0
    finally:
        notes.chmod(0o755)


@pytest.mark.real
async def test_as_a_process(notes: Path, home: Path) -> None:
    before = notes_in(notes)
    said = await trioagent("memory", "show", "notes", "ada", home=home)
    assert (said.code, said.out, said.err) == (0, ADA, "")
    assert notes_in(notes) == before


@pytest.mark.real
async def test_plain_characters_where_the_terminal_has_no_others(notes: Path, home: Path) -> None:
    (notes / "é.md").write_text("é\n")
    said = await trioagent("memory", "tree", "notes", home=home, env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"})
    assert (said.code, said.err) == (0, "")
    assert "`-- \\xe9.md  (3)" in said.out
