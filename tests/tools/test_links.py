"""Obsidian's rules, one table each: what is a link, what it means, and what is nearest to one that means nothing."""

from __future__ import annotations

import os
import time
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent.tools.links import Link, NoteIndex, parse_links, read_link

from .conftest import Memory


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[Note]]", [Link("Note")]),
        ("[[ Note ]]", [Link("Note")]),
        ("[[a/Note.md]]", [Link("a/Note.md")]),
        ("[[Note|shown]]", [Link("Note", alias="shown")]),
        ("[[Note|a|b]]", [Link("Note", alias="a|b")]),
        ("| [[Note\\|shown]] |", [Link("Note", alias="shown")]),
        ("[[Note#Heading]]", [Link("Note", heading="Heading")]),
        ("[[Note#A#B|x]]", [Link("Note", heading="A#B", alias="x")]),
        ("[[Note#^id-1]]", [Link("Note", block="id-1")]),
        ("[[#Heading]]", [Link("", heading="Heading")]),
        ("[[#^id]]", [Link("", block="id")]),
        ("![[pic.png|100]]", [Link("pic.png", alias="100", embed=True)]),
        ("a [[b]] c\n[[d]]", [Link("b"), Link("d", line=2)]),
        ("[[]] [[ ]] [[|x]]", []),
        ("[[a\nb]]", []),
        ("\\[[a]]", []),
        ("\\\\[[a]]", [Link("a")]),
        ("[[[a]]]", [Link("a")]),
        ("[text](note.md)", [Link("note.md", alias="text")]),
        ("[text](my%20note.md#My%20Part)", [Link("my note.md", heading="My Part", alias="text")]),
        ("[text](<my note.md>)", [Link("my note.md", alias="text")]),
        ('[text](note.md "Title")', [Link("note.md", alias="text")]),
        ("[text](a(1).md)", [Link("a(1).md", alias="text")]),
        ("[text](#Part)", [Link("", heading="Part", alias="text")]),
        ("[caf%C3%A9](caf%C3%A9.md) [x](%FF.md)", [Link("café.md", alias="caf%C3%A9"), Link("%FF.md", alias="x")]),
        ("![alt](p.png)", [Link("p.png", alias="alt", embed=True)]),
        (
            "[![alt](p.png)](n.md)",
            [Link("n.md", alias="![alt](p.png)"), Link("p.png", alias="alt", embed=True)],
        ),
        ("[x](https://a.b/c.md) [y](mailto:a@b.c) [z](//a/b)", []),
        ("[x]() [y](  )", []),
        ("- friend:: [[a]], [[b]]", [Link("a"), Link("b")]),
        ("[x]([[note]])", [Link("note")]),
        ("[x](<[[my note]]>) [y](b.md)", [Link("my note"), Link("b.md", alias="y")]),
        ("![[a.pdf#page=3]] [[v.mp4#t=10,20]]", [Link("a.pdf", "page=3", embed=True), Link("v.mp4", "t=10,20")]),
        ('---\nfriend: "[[a]]"\n---\n', [Link("a", line=2)]),
    ],
)
def test_what_is_a_link(text: str, expected: list[Link]) -> None:
    assert parse_links(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "`[[a]]`",
        "``[[a]] ` ``",
        "`x\n[[a]]`",
        "```\n[[a]]\n```",
        "```python\n[[a]]",
        "~~~\n```\n[[a]]\n~~~",
        "- item\n  ```\n  [[a]]\n  ```",
        "> ```\n> [[a]]\n> ```",
        "````\n```\n[[a]]\n````",
        "%% [[a]] %%",
        "%%\n[[a]]\n\n%%",
        "<!-- [[a]] -->",
        "`[x](a.md)`",
    ],
)
def test_code_and_comments_have_no_links(text: str) -> None:
    assert parse_links(text) == []
    assert parse_links(f"{text}\n\n") == []


@pytest.mark.parametrize(
    "text",
    ["` [[a]]", "`x\n\n[[a]]`", "``[[a]]`", "```\nx\n```\n[[a]]", "\\`[[a]]\\`", "```a`b` [[a]]", "100%% [[a]]"],
)
def test_what_only_looks_like_code(text: str) -> None:
    assert [link.target for link in parse_links(text)] == ["a"]


@given(st.text(alphabet="[]()!#^|\\`~%<>-\n ab.", max_size=60))
def test_any_text_can_be_parsed(text: str) -> None:
    lines = text.count("\n") + 1
    for link in parse_links(text):
        assert 1 <= link.line <= lines
        assert link.target or link.heading or link.block
    read_link(text)


@pytest.mark.parametrize(
    ("given_link", "expected"),
    [
        ("[[x]]", Link("x")),
        ("x", Link("x")),
        (" x.md ", Link("x.md")),
        ("[[x|y]]", Link("x", alias="y")),
        ("x#Part", Link("x", heading="Part")),
        ("[text](a/x.md)", Link("a/x.md", alias="text")),
        ("![[x]]", Link("x", embed=True)),
        ("[[x", Link("x")),
        ("[x]", Link("x")),
        ("see [[x]] there", Link("x")),
        ("", Link("")),
    ],
)
def test_links_as_models_pass_them(given_link: str, expected: Link) -> None:
    assert read_link(given_link) == expected


NOTES = [
    "Note.md",
    "a/Note.md",
    "a/b/Note.md",
    "c/b/Note.md",
    "a/Own.md",
    "x/y/Own.md",
    "z/Own.md",
    "pic.png",
    "Zoë.md",
]


@pytest.mark.parametrize(
    ("target", "source", "path"),
    [
        ("Note", "", "Note.md"),
        ("note", "", "Note.md"),
        ("NOTE.MD", "", "Note.md"),
        (" Note ", "", "Note.md"),
        ("a/Note", "", "a/Note.md"),
        ("A/note.md", "", "a/Note.md"),
        ("b/Note", "", "a/b/Note.md"),
        ("c/b/Note", "", "c/b/Note.md"),
        ("Note", "a/Own.md", "Note.md"),
        ("Own", "x/y/Note.md", "x/y/Own.md"),
        ("Own", "", "a/Own.md"),
        ("Own", "c/b/Note.md", "a/Own.md"),
        ("b/Note", "c/x.md", "c/b/Note.md"),
        ("./Note", "a/b/Note.md", "a/b/Note.md"),
        ("../Own", "a/b/Note.md", "a/Own.md"),
        ("../../../Own", "a/b/Note.md", None),
        ("../Own", "", None),
        ("/Note", "a/Own.md", "Note.md"),
        ("/Own", "a/Own.md", None),
        ("pic.png", "", "pic.png"),
        ("PIC.PNG", "a/Own.md", "pic.png"),
        ("pic", "", None),
        ("zoë", "", "Zoë.md"),
        ("Zoe\u0308", "", "Zoë.md"),
        ("", "a/Own.md", "a/Own.md"),
        ("", "", None),
        ("No", "", None),
        ("ote", "", None),
        ("n/Own", "", None),
        ("a\\Own", "", "a/Own.md"),
        ("///", "", None),
    ],
)
def test_what_a_target_means(target: str, source: str, path: str | None) -> None:
    assert NoteIndex(NOTES).resolve(target, source).path == path


def test_dots_and_suffixes_in_names() -> None:
    index = NoteIndex(["v1.2.md", "x.md.md", "y.md", "y.md.md", "data.json", "readme"])
    found = {target: index.resolve(target).path for target in ("v1.2", "x.md", "y", "y.md", "data.json", "readme", "x")}
    assert found == {
        "v1.2": "v1.2.md",
        "x.md": "x.md.md",
        "y": "y.md",
        "y.md": "y.md",
        "data.json": "data.json",
        "readme": "readme",
        "x": None,
    }


def test_fewer_folders_come_before_a_shorter_path() -> None:
    assert NoteIndex(["x/y/a.md", "a-long-name/a.md"]).resolve("a").path == "a-long-name/a.md"
    assert NoteIndex(["long/a.md", "z/a.md"]).resolve("a").path == "z/a.md"
    assert NoteIndex(["z/a.md", "b/a.md"]).resolve("a").path == "b/a.md"


def test_ambiguity_is_told() -> None:
    index = NoteIndex(NOTES)
    found = index.resolve("Own")
    assert found.candidates == ("a/Own.md", "z/Own.md", "x/y/Own.md")
    assert len(index.resolve("Note").candidates) == 1  # an exact path
    assert len(index.resolve("c/b/Note").candidates) == 1


@pytest.mark.parametrize(
    ("target", "first"),
    [
        ("John Smith", "entities/john_smith.md"),
        ("john-smith", "entities/john_smith.md"),
        ("entity/john_smith", "entities/john_smith.md"),
        ("people/John Smith.md", "entities/john_smith.md"),
        ("jon_smith", "entities/john_smith.md"),
        ("smith", "entities/john_smith.md"),
        ("acme", "entities/acme_corporation.md"),
        ("Müller", "entities/mueller_muller.md"),
        ("usr", "user.md"),
    ],
)
def test_a_miss_names_the_nearest(target: str, first: str) -> None:
    index = NoteIndex(
        [
            "user.md",
            "entities/john_smith.md",
            "entities/acme_corporation.md",
            "entities/mueller_muller.md",
            "log/2024-05-01.md",
        ]
    )
    found = index.resolve(target)
    assert found.path is None and found.suggestions[0] == first
    assert index.resolve("qqqq").suggestions == ()
    assert index.resolve(target, suggest=False).suggestions == ()


_names = st.text(alphabet="aAbB ._-/#é\u0301", max_size=8)


@given(paths=st.lists(_names, max_size=8, unique=True), target=_names, source=_names)
def test_resolving_is_total(paths: list[str], target: str, source: str) -> None:
    found = NoteIndex(paths).resolve(target, source)
    assert found.path is None or found.path == source or found.path in paths
    assert set(found.candidates) | set(found.suggestions) <= {*paths, source}
    for path in paths:
        if (
            path
            and path == path.strip()
            and not any(part in ("", ".", "..") or part != part.strip() for part in path.split("/"))
        ):
            assert NoteIndex(paths).resolve(path).path == path


# go_to_link and backlinks


def test_going_to_a_link(memory: Memory) -> None:
    memory.put("user.md", "# User\n- boss: [[ada]]\n")
    memory.put("entities/ada.md", "# Ada\n## Job\nAt [[acme]] ^job\n### Since\n2020\n## Age\n36\n")
    memory.put("jorge_santos.md", "Jorge")
    for link in (
        "[[entities/ada]]",
        "entities/ada",
        "ada.md",
        "[[ADA]]",
        "[boss](entities/ada.md)",
        "[[ada|the boss]]",
    ):
        assert memory.go_to_link(link) == memory.read_file("entities/ada.md")
    assert memory.go_to_link("[[ada#Job]]") == "## Job\nAt [[acme]] ^job\n### Since\n2020"
    assert memory.go_to_link("[[ada#job#since]]") == "### Since\n2020"
    assert memory.go_to_link("[[ada#^job]]") == "At [[acme]]"
    assert memory.go_to_link("[[jorge_santos.md]]") == "Jorge"


@pytest.mark.parametrize(
    ("link", "words"),
    [
        ("[[entities/john smith]]", "did you mean [[entities/john_smith]]?"),
        ("[[zzzz]]", "no note is called [[zzzz]]: Use list_files()"),
        ("[[john_smith#Jobs]]", "has no heading 'Jobs'. Its headings are like 'Job'"),
        ("[[john_smith#^x]]", "has no block ^x"),
        ("[[#Job]]", "names no note"),
        ("", "names no note"),
        (None, "link must be text"),
        ("[[../john_smth]]", "did you mean [[entities/john_smith]]?"),
        ("[[a/../../x]]", "leads out of the memory"),
        ("[[a\0]]", "NUL"),
    ],
)
def test_a_link_to_nowhere(memory: Memory, link: str, words: str) -> None:
    memory.put("entities/john_smith.md", "## Job\n## Age\n")
    answer = memory.go_to_link(link)
    assert not answer and answer.startswith("Error: ") and words in answer


def test_an_ambiguous_link_says_so(memory: Memory) -> None:
    memory.put("b/ada.md", "B")
    memory.put("a/ada.md", "A")
    assert memory.go_to_link("[[ada]]") == "[ada is a/ada.md here; it could also mean b/ada.md]\n\nA"
    assert memory.go_to_link("[[b/ada]]") == "B"


def test_links_see_what_the_blocks_own_code_changes(memory: Memory) -> None:
    memory.put("a/one.md", "1")
    assert memory.go_to_link("[[one]]") == "1"
    memory.put("b/two.md", "2")
    assert memory.go_to_link("[[two]]") == "2"
    (memory.root / "b/two.md").rename(memory.root / "a/three.md")
    assert not memory.go_to_link("[[two]]")
    assert memory.go_to_link("[[three]]") == "2"
    memory.create_file("b/four", "4")
    assert memory.go_to_link("[[four]]") == "4"
    memory.delete_file("b/four")
    assert not memory.go_to_link("[[four]]")


def test_a_change_within_one_step_of_the_clock_is_seen(memory: Memory) -> None:
    """File systems stamp changes with a clock of some milliseconds: an equal stamp may hide a change."""
    memory.put("a/one.md", "1")
    soon = time.time_ns() + 10**10
    os.utime(memory.root / "a", ns=(soon, soon))
    assert memory.go_to_link("[[one]]") == "1"
    memory.put("a/two.md", "2")
    os.utime(memory.root / "a", ns=(soon, soon))
    assert memory.go_to_link("[[two]]") == "2"


def test_hidden_notes_are_not_linked(memory: Memory) -> None:
    memory.put(".obsidian/ada.md", "x")
    assert not memory.go_to_link("[[ada]]") and not memory.go_to_link("[[.obsidian/ada]]")
    assert memory.search("x") == []


def test_backlinks(memory: Memory) -> None:
    memory.put("entities/my note.md", "self: [[my note]]")
    memory.put("a.md", "[[My Note]]")
    memory.put("b.md", "[x](entities/my%20note.md)")
    memory.put("c.md", "`[[my note]]` and my note")
    memory.put("d/e.md", "![[entities/my note#Part|x]]")
    memory.put("f.md", "[[other]]")
    memory.put("g.md", b"\xff [[my note.md]]")
    memory.put("h.md", "---\naliases: [my note]\n---\n")
    assert memory.backlinks("entities/my note.md") == ["a.md", "b.md", "d/e.md", "g.md"]
    assert memory.backlinks("entities/my note") == memory.backlinks("entities/my note.md")
    memory.put("my note.md", "nearer")
    assert memory.backlinks("my note.md") == ["a.md", "entities/my note.md", "g.md"]
    missing: object = memory.backlinks("nope")
    assert missing == [] and "'nope' does not exist" in repr(missing)


def test_aliases_in_front_matter_do_not_resolve(memory: Memory) -> None:
    memory.put("ada.md", "---\naliases: [Countess]\n---\n")
    assert "no note is called [[Countess]]" in memory.go_to_link("[[Countess]]")


@pytest.mark.parametrize("link", ["[[b/pic.png]]", "![[pic.png#outline|100]]", "[[pic.png#^x]]", "[p](b/pic.png#icon)"])
def test_an_attachment_is_named(memory: Memory, link: str) -> None:
    memory.put("b/pic.png", b"\x89PNG\r\n\0secret")
    answer = memory.go_to_link(link)
    assert answer == "[b/pic.png is an attachment of 13 bytes, which is not shown as text]"


def test_attachments_are_never_shown(memory: Memory) -> None:
    memory.put("clip.mp3", b"ID3 secret")
    memory.put("drawing.svg", b"<svg>secret [[user]]</svg>")
    memory.put("unknown.bin", b"secret\0\0")
    memory.put("paper.pdf", b"%PDF secret")
    memory.put("user.md", b"secret\0 of the user")
    for path in ("clip.mp3", "drawing.svg", "unknown.bin", "paper.pdf"):
        for answer in (
            memory.read_file(path),
            memory.update_file(path, "secre", "x"),
            memory.write_to_file(path, "+x"),
        ):
            assert not answer and "is an attachment of" in answer and "secret" not in answer
    assert memory.search("secret") == ["user.md:1: secret\0 of the user"]
    assert memory.search("clip") == ["clip.mp3:1: (attachment)"]
    assert memory.backlinks("user.md") == []
    assert memory.get_size("clip.mp3") == 10 and memory.delete_file("clip.mp3") is True


def test_a_canvas_is_text_without_sections(memory: Memory) -> None:
    memory.put("board.canvas", '{"nodes": []}')
    assert memory.go_to_link("[[board.canvas#^x]]") == '{"nodes": []}'


@pytest.mark.parametrize(
    ("heading", "links"),
    [
        ("Use `code` here", ["Use `code` here", "Use code here", "use-code-here"]),
        ("See [[ada|Ada L]]", ["See Ada L", "See ada Ada L"]),
        ("See [[ada]]", ["See ada"]),
        ("Read [the docs](http://a.b/c_(d)) now", ["Read the docs now", "read-the-docs-now"]),
        (
            "*Very* __bold__ _slanted_ snake_case",
            ["Very bold slanted snake_case", "*Very* __bold__ _slanted_ snake_case"],
        ),
        ("H<sub>2</sub>O", ["H2O"]),
    ],
)
def test_headings_with_markup(memory: Memory, heading: str, links: list[str]) -> None:
    memory.put("n.md", f"# Other\n## {heading}\ntext\n")
    for link in links:
        assert memory.go_to_link(f"[[n#{link}]]") == f"## {heading}\ntext"


def test_accents_count_in_every_form(memory: Memory) -> None:
    """A note in the linking note's folder, and a heading, are found in the form of accents that is there."""
    composed, decomposed = (normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
    memory.put(f"{decomposed}.md", f"# Le {decomposed}\nlower\n# Le cafe\nplain")
    memory.put(f"{composed.upper()}.md", "upper")
    assert memory.go_to_link(f"[[{composed}#Le {composed}]]") == f"# Le {decomposed}\nlower"
    assert memory.go_to_link(f"[[/{composed}#le cafe]]") == "# Le cafe\nplain"
    assert memory.go_to_link(f"[[{decomposed.upper()}]]") == "upper"
    index = NoteIndex([f"a/{decomposed}.md", f"a/{composed.upper()}.md"])
    assert index.resolve(composed, "a/x.md").path == f"a/{decomposed}.md"
    assert index.resolve(composed.upper(), "a/x.md").path == f"a/{composed.upper()}.md"
