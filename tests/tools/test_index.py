"""With an index the tools answer what they answer when they look at every note."""

from __future__ import annotations

import os
import random
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trioagent.tools import Index, check_part, make_tools
from trioagent.tools._disk import Disk
from trioagent.tools._table import Table, as_set, numbers_in, pack
from trioagent.tools.search import CONSIDERED

from ..examples import examples

NAMES = ["a.md", "Note.md", "note.md", "b/Note.md", "b/c/john_smith.md", "b/John Smith.md", "Straße.md", "東京.md",
         "b/picture.png", "cafe\u0301.md", "b.md", "x.md.md", "deep/er/x.md", "deep/er/note 1.md",
         "cafe\u0301/e\u0301te\u0301.md", "x.bin"]  # fmt: skip
LINES = ["# City", "- city: Paris", "- cities: many", "彼女は東京に住んでいる", "Müller lives in Straße 5", "x" * 400,
         "[[Note]] and [[b/note|there]]", "[see](b/John%20Smith.md)", "[[john_smith#City]]", "[[../]] [[.]] [[Straße]]",
         "[[x.md]] [[x]]", "`[[a]]` [[a.md]]", "city city paris", "## john smith", "", "[[café]]"]  # fmt: skip
QUERIES = ["city", "paris city", "john", "東京", "muller strasse", "x", "note", "cities of paris", "md", "e", "ity",
           "zzz", "CAFÉ", "where does john smith live in the city"]  # fmt: skip
LINKS = ["[[note]]", "[[Note]]", "[[b/note]]", "[[john smith]]", "[[b/jhon_smth]]", "[[strasse]]", "[[東京]]", "[[x]]",
         "[[x.md]]", "[[café]]", "[[nothing]]", "[[deep/nte1]]", "[[picture]]", "[[/note]]", "[[./a]]"]  # fmt: skip

contents = st.lists(st.sampled_from(LINES), max_size=5).map("\n".join).map(str.encode) | st.binary(max_size=30)
memories = st.dictionaries(st.sampled_from(NAMES), contents, max_size=len(NAMES))
changes = st.lists(st.tuples(st.sampled_from(NAMES), st.none() | contents), max_size=6)


class Host:
    """What a host does for a memory: keeps the parts of its index and the list of notes that have changed since."""

    def __init__(self, root: Path) -> None:
        self.root, self.parts, self.changed = root, list[bytes](), dict[str, None]()

    def put(self, path: str, content: bytes | None) -> None:
        file = self.root / path
        self.changed[path] = None
        if content is None:
            file.unlink(missing_ok=True)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)

    def index(self) -> Index:
        index, places, at = Index(), [], 0
        for part in self.parts:
            places.append((at, len(part)))
            at += len(part)
        if self.parts:
            index.attach(memoryview(b"".join(self.parts)), places, self.changed)
        return index

    def renew(self, keep: int) -> None:
        self.parts[keep:] = [self.index().renewed(Disk(str(self.root)), keep)[0]]
        self.changed.clear()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def answers(tools: dict[str, Any]) -> dict[str, Any]:
    asked: list[tuple[str, tuple[object, ...]]] = [("search", (query, limit)) for query in QUERIES for limit in (3, 50)]
    asked += [("go_to_link", (link,)) for link in LINKS] + [("backlinks", (name,)) for name in NAMES]
    asked += [("read_file", ("nte",)), ("read_file", ("b/jon_smth.md",))]
    return {f"{name}{arguments}": repr(tools[name](*arguments)) for name, arguments in asked}


def agrees(host: Host) -> None:
    index = host.index()
    assert index.usable
    assert answers(make_tools(str(host.root), index=index)) == answers(make_tools(str(host.root)))


@given(memories, changes, changes, changes, st.integers(0, 2))
@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_index_changes_no_answer(
    notes: dict[str, bytes],
    first: list[tuple[str, bytes | None]],
    second: list[tuple[str, bytes | None]],
    own: list[tuple[str, bytes | None]],
    keep: int,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        host = Host(Path(folder))
        for path, data in notes.items():
            host.put(path, data)
        host.renew(0)
        agrees(host)
        for step in (first, second):
            for path, content in step:
                host.put(path, content)
            agrees(host)
            host.renew(min(keep, len(host.parts)))
            agrees(host)
        plain, with_index = make_tools(folder), make_tools(folder, index=host.index())
        for path, content in own:  # by the block itself, through the tools
            if content is None:
                with_index["delete_file"](path)
            else:
                with_index["create_file"](path, content.decode("latin-1"))
            assert answers(with_index) == answers(plain)


def test_many_notes_that_promise_the_same(host: Host) -> None:
    for number in range(3 * CONSIDERED):
        host.put(f"n{number:03}.md", b"# City\n- a plain city line\n")
    host.renew(0)
    for number in range(0, 3 * CONSIDERED, 2):
        host.put(f"n{number:03}.md", b"- a paris line\n" if number % 4 else None)
    host.renew(1)
    host.put("zz_city.md", b"nothing")
    agrees(host)


def test_a_link_that_does_not_name_its_note(host: Host) -> None:
    host.put("b.md", b"")
    host.put("b/c/from.md", b"[[../]] is b")
    host.renew(0)
    assert make_tools(str(host.root), index=host.index())["backlinks"]("b.md") == ["b/c/from.md"]
    agrees(host)


def test_a_search_opens_what_it_looks_at_closely_and_no_more(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1000):
        host.put(f"entities/n{number:04}.md", b"# City %d\n- [[n0001]]\n" % number)
    host.renew(0)
    host.put("entities/new.md", b"[[n0001]] needle")
    index = host.index()
    tools = make_tools(str(host.root), index=index)
    opened = list[object]()
    real = os.open

    def watched(path: Any, *arguments: Any, **more: Any) -> int:
        opened.append(path)
        return real(path, *arguments, **more)

    monkeypatch.setattr(os, "open", watched)
    folders = 8  # on the way to the notes
    calls: list[tuple[Callable[[], object], int]] = [
        (lambda: tools["search"]("777"), 2),
        (lambda: tools["search"]("city"), CONSIDERED + 1),
        (lambda: tools["search"]("needle"), 2),
        (lambda: tools["go_to_link"]("[[n0777]]"), 1),
        (lambda: tools["go_to_link"]("[[n_none]]"), 0),
        (lambda: tools["backlinks"]("entities/n0002.md"), 1),
    ]
    for call, notes in calls:
        opened.clear()
        assert call() is not None
        assert len(opened) <= notes + folders, opened
    assert index.scanned == 1  # the new one


def test_a_link_by_path_lists_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.put("entities/ada.md", b"# Ada\n")
    tools = make_tools(str(host.root))
    monkeypatch.setattr(os, "scandir", None)
    assert tools["go_to_link"]("[[entities/ada]]") == "# Ada\n"


@pytest.mark.parametrize("how", ["cut", "zeros", "ones", "random", "nothing", "elsewhere"])
def test_an_index_of_garbage_is_done_without(host: Host, how: str) -> None:
    """Whatever its bytes are: the tools answer from a look at every note."""
    for number in range(30):
        (host.root / f"note_{number}.md").write_text(f"# Note {number}\n- city: Paris\n- see [[note_{number + 1}]]\n")
    good = Index().renewed(Disk(str(host.root)), 0)[0]
    plain = make_tools(str(host.root))
    expected = [plain["search"]("paris"), plain["backlinks"]("note_7.md"), plain["go_to_link"]("[[nte_7]]")]
    garbage = {
        "cut": [good[:size] for size in range(0, len(good), 97)],
        "zeros": [bytes(len(good))],
        "ones": [b"\xff" * len(good)],
        "random": [random.Random(seed).randbytes(len(good)) for seed in range(20)],
        "nothing": [b""],
        "elsewhere": [good],
    }
    for data in garbage[how]:
        index = Index()
        index.attach(memoryview(data), [(1000, 5)] if how == "elsewhere" else [(0, len(data))], [])
        tools = make_tools(str(host.root), None, index)
        found = [tools["search"]("paris"), tools["backlinks"]("note_7.md"), tools["go_to_link"]("[[nte_7]]")]
        assert not index.usable and found == expected


def test_a_single_wrong_bit_is_noticed(host: Host) -> None:
    """Each table has a checksum, which is checked when the table is first used."""
    for number in range(12):
        host.put(f"note_{number}.md", f"# Note {number}\n- city: Paris\n- see [[note_{number + 1}]]\n".encode())
    good = Index().renewed(Disk(str(host.root)), 0)[0]
    check_part(memoryview(good))
    plain = make_tools(str(host.root))
    expected = [plain["search"]("paris"), plain["backlinks"]("note_7.md"), plain["go_to_link"]("[[nte_7]]")]
    for at in range(0, len(good), 5):
        data = bytearray(good)
        data[at] ^= 1 << at % 8
        with pytest.raises((ValueError, struct.error)):
            check_part(memoryview(data))
        if at % 40:
            continue
        index = Index()
        index.attach(memoryview(data), [(0, len(data))], [])
        tools = make_tools(str(host.root), None, index)
        assert [tools["search"]("paris"), tools["backlinks"]("note_7.md"), tools["go_to_link"]("[[nte_7]]")] == expected


def test_a_lost_index_is_not_used(host: Host) -> None:
    host.put("a.md", b"old")
    host.renew(0)
    index = host.index()
    tools = make_tools(str(host.root), index=index)
    (host.root / "a.md").write_bytes(b"new")  # behind everybody's back
    assert tools["search"]("new") == []
    index.lose()
    assert tools["search"]("new") == ["a.md:1: new"]


def test_what_is_shown_is_what_is_there(host: Host) -> None:
    host.put("a.md", b"the word is here\n")
    host.renew(0)
    tools = make_tools(str(host.root), index=host.index())
    (host.root / "a.md").write_bytes(b"and here the other word\n")  # behind everybody's back
    assert tools["search"]("word") == ["a.md:1: and here the other word"]
    (host.root / "a.md").write_bytes(b"nothing\n")
    assert tools["search"]("word") == []


@given(st.dictionaries(st.text(max_size=4).filter(lambda key: "\0" not in key), st.sets(st.integers(0, 99))))
def test_tables(entries: dict[str, set[int]]) -> None:
    table = Table(memoryview(pack({key: sorted(numbers) for key, numbers in entries.items()}, 100)))
    assert list(table.keys()) == sorted(entries)
    for key, numbers in entries.items():
        assert list(numbers_in(table.find(key))) == sorted(numbers)
    for part in {key[:2] for key in entries if key} | {"q"}:
        together = {number for key, numbers in entries.items() if part in key for number in numbers}
        assert table.containing(part) == as_set(together, 100)
        together = {number for key, numbers in entries.items() if key.startswith(part) for number in numbers}
        assert table.beginning(part) == as_set(together, 100)
    assert table.find("not there") == 0
