"""What a page may build of a note, and that no text becomes anything else."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioagent.server._markdown import MOST_CHARACTERS, TAGS, Node, to_tree
from trioagent.tools.links import Link

LINKS = {"note": "path heading block problem embed", "missing": "problem", "outside": "address", "image": "address"}


@attrs.frozen
class Meaning:
    target: str | None
    problem: str = ""


def resolve(link: Link) -> Meaning:
    return Meaning(f"{link.target}.md") if link.target != "none" else Meaning(None, "no such note")


def read(text: str) -> list[Node]:
    return to_tree(text, resolve)


def paragraph(*children: Any) -> list[Node]:
    return [["p", {"line": 1}, *children]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a *b* **c**", ["a ", ["em", {}, "b"], " ", ["strong", {}, "c"]]),
        ("`d` ~~e~~", [["code", {}, "d"], " ", ["s", {}, "e"]]),
        ("[[ada]]", [["note", {"path": "ada.md"}, "ada"]]),
        ("[[ada#Work|her]]", [["note", {"path": "ada.md", "heading": "Work"}, "her"]]),
        ("[[ada#^b1]]", [["note", {"path": "ada.md", "block": "b1"}, "ada#^b1"]]),
        ("![[ada]]", [["note", {"path": "ada.md", "embed": True}, "ada"]]),
        ("[[none]]", [["missing", {"problem": "no such note"}, "none"]]),
        ("[x](a%20b.md)", [["note", {"path": "a b.md.md"}, "x"]]),
        ("[x](https://e.org/?a=b)", [["outside", {"address": "https://e.org/?a=b"}, "x"]]),
        ("<https://e.org>", [["outside", {"address": "https://e.org"}, "https://e.org"]]),
        ("[x](javascript:alert(1))", [["outside", {"address": "javascript:alert(1)"}, "x"]]),
        ("[x](//e.org)", [["outside", {"address": "//e.org"}, "x"]]),
        ("![alt](https://e.org/p.png)", [["image", {"address": "https://e.org/p.png"}, "alt"]]),
        ("<b>x</b><script>alert(1)</script>", ["<b>x</b><script>alert(1)</script>"]),
        ("&lt;b&gt; \\[[ada]]", ["<b> [[ada]]"]),
        ("`[[ada]]`", [["code", {}, "[[ada]]"]]),
        ("a\nb  \nc", ["a\nb", ["br", {}], "c"]),
    ],
)  # fmt: skip
def test_inline(text: str, expected: list[Node]) -> None:
    assert read(text) == paragraph(*expected)


def test_blocks_know_their_lines() -> None:
    text = "# A\n\n- b\n- c\n\n3. d\n\n```py x\ne\n```\n\n| f | g |\n|---|:-:|\n| h | [[i\\|j]] |\n"
    assert to_tree(text, resolve, first_line=5) == [
        ["h1", {"line": 5}, "A"],
        ["ul", {"line": 7}, ["li", {"line": 7}, "b"], ["li", {"line": 8}, "c"]],
        ["ol", {"line": 10, "start": 3}, ["li", {"line": 10}, "d"]],
        ["pre", {"line": 12, "language": "py"}, "e\n"],
        [
            "table",
            {"line": 16},
            ["thead", {}, ["tr", {}, ["th", {}, "f"], ["th", {"align": "center"}, "g"]]],
            ["tbody", {}, ["tr", {}, ["td", {}, "h"], ["td", {"align": "center"}, ["note", {"path": "i.md"}, "j"]]]],
        ],
    ]


def nodes(tree: list[Node]) -> list[list[Any]]:
    found = []
    for node in tree:
        if not isinstance(node, str):
            found += [node, *nodes(node[2:])]
    return found


HOSTILE = st.lists(
    st.one_of(
        st.sampled_from(
            "[ ] ( ) [[ ]] ![[ ! < > <script> </script> <img/src=x> javascript: data:text/html, "
            "\" ' ` ``` * ** _ ~~ # > - 1. | \n \n\n    \t & &#106; &lt; \\ : // https://e.org ^id #".split(" ")
        ),
        st.text(max_size=5),
    ),
    max_size=60,
).map("".join)


@given(HOSTILE)
def test_any_text_gives_elements_of_the_list_and_plain_attributes(text: str) -> None:
    for tag, attributes, *_ in nodes(read(text)):
        if tag in LINKS:
            assert set(attributes) <= set(LINKS[tag].split())
        else:
            assert tag in TAGS
            assert set(attributes) <= {"line", "start", "align", "language"}
            assert attributes.get("align", "left") in ("left", "center", "right")


@pytest.mark.parametrize(
    "unit", ["[", "[[", "![", "*a _b ", "> ", "`", "[a](b) ", "<a ", "\\[", "~~a ", "[a]: b\n", "[a](("]
)
def test_a_long_note_is_shown_to_its_last_character(unit: str) -> None:
    """Reading what begins without end takes bounded time, and what is too long to be read is shown as it is."""
    text = unit * (MOST_CHARACTERS // len(unit) + 10) + "\n\nthe end"
    assert "the end" in json.dumps(read(text))
