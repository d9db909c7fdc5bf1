"""Blocks and code spans are what markdown-it-py, an implementation of CommonMark, takes them for."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from trioagent.tools._blocks import FENCED, HEADING, INDENTED, TEXT, blocks
from trioagent.tools._markdown import without_code
from trioagent.tools.links import headings, parse_links, section

from ..examples import examples

PEER = (
    MarkdownIt("commonmark").disable(["html_block", "html_inline", "reference", "autolink", "entity"]).enable("table")
)

LINES = """a|b c|- x|-|- |1. y|2. z|10) q|> q|>|>q|    code|\tcode|  in|   in3|---|- - -|***|===|==|# H|## H2 ##|#x|```
~~~|````|  ```|> ```|- ```|| |  - n|    - m|+ p|* s|*|> - l|- > k|-      far|  ===|   ---|> ---|- ---|> # QH|- # LH
\t- t|-\tt|>\tq|      deep|`a|b` c|``d|- `e|> f`""".replace("\n", "|").split("|")
texts = st.lists(st.sampled_from(LINES), min_size=1, max_size=8).map("\n".join).map(lambda text: text.rstrip(" \n>"))


def peer_blocks(text: str) -> list[tuple[str, int, int, int, int]]:
    found: list[tuple[str, int, int, int, int]] = []
    depth = 0
    for token in PEER.parse(text):
        depth += {"blockquote_open": 1, "list_item_open": 1, "blockquote_close": -1, "list_item_close": -1}.get(
            token.type, 0
        )
        kind = {"heading_open": HEADING, "paragraph_open": TEXT, "fence": FENCED, "code_block": INDENTED}.get(
            token.type
        )
        if kind:
            assert token.map is not None
            found.append((kind, token.map[0], token.map[1], depth, int(token.tag[1]) if kind == HEADING else 0))
    return found


@given(texts)
@settings(max_examples=examples(66), deadline=None)
def test_blocks(text: str) -> None:
    if text.startswith("---"):
        text = f"x\n\n{text}"
    found = [(block.kind, block.start, block.end, block.depth, block.level) for block in blocks(text.split("\n"))]
    assert found == peer_blocks(text)


@given(texts)
@settings(max_examples=examples(33), deadline=None)
def test_headings(text: str) -> None:
    text = f"x\n\n{text}"
    level = 0
    expected = []
    tokens = PEER.parse(text)
    for token, inner in pairwise(tokens):
        if token.type == "heading_open" and level == 0:
            assert token.map is not None
            expected.append((token.map[0], int(token.tag[1]), " ".join(inner.content.split())))
        level += token.nesting
    assert [(found.line, found.level, " ".join(found.text.split())) for found in headings(text)] == expected


@given(st.lists(st.sampled_from(["`", "``", "a", " ", "\n", "\n\n", "\n- ", "\n> ", "\\", "\\`", "\n# "]), max_size=14))
@settings(max_examples=examples(50), deadline=None)
def test_code_spans(parts: list[str]) -> None:
    # Each letter is marked with its place, so that those in code can be told from the others.
    text = "x" + "".join(f"<{number}>" if part == "a" else part for number, part in enumerate(parts))
    in_code = []
    for token in PEER.parse(text):
        if token.type in ("fence", "code_block"):
            in_code += (token.info + token.content).split("<")[1:]
        for child in token.children or ():
            if child.type == "code_inline":
                in_code += child.content.replace(" ", "").replace("\n", "").split("<")[1:]
    shown = without_code(text)
    hidden = [f"{number}>" for number, part in enumerate(parts) if part == "a" and f"<{number}>" not in shown]
    assert hidden == [each[: each.index(">") + 1] for each in in_code if ">" in each]


@pytest.mark.parametrize(
    ("text", "heading", "expected"),
    [
        ("# A\n- item\n  wrapped\n---\nmore\n# B", "A", "# A\n- item\n  wrapped\n---\nmore"),
        ("# A\n> quote\nwrapped\n---\nmore\n# B", "A", "# A\n> quote\nwrapped\n---\nmore"),
        ("# A\n1. one\n   two\n***\nmore\n# B", "A", "# A\n1. one\n   two\n***\nmore"),
        ("# A\n> ```\n> x\n\nmore\n# B\nend", "B", "# B\nend"),
        ("# A\n- ```\n  x\n\nmore\n# B\nend", "B", "# B\nend"),
        ("one\ntwo\n  three\n===\ntext\n# B", "one two three", "one\ntwo\n  three\n===\ntext"),
        ("# A\n- a\n  # in the item\n# B", "A", "# A\n- a\n  # in the item"),
        ("# A\ntext\n-\nmore", "text", "text\n-\nmore"),
        ("# A\n<!--\n# B\n-->\nend\n# C", "A", "# A\n<!--\n# B\n-->\nend"),
    ],
)
def test_where_sections_end(text: str, heading: str, expected: str) -> None:
    assert section(text, heading) == expected


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("a ` b\n\n[[a]] ` c", ["a"]),
        ("- a ` b\n- [[a]] ` c", ["a"]),
        ("# a ` b\n[[a]] ` c", ["a"]),
        ("> a ` b\n\n[[a]] ` c", ["a"]),
        ("| a | b |\n|---|---|\n| ` | x |\n| [[a]] | ` |", ["a"]),
        ("a ` b\n[[a]] ` [[b]]", ["b"]),
        ("> ```\n> [[a]]\n\n[[b]]", ["b"]),
        ("- ```\n  [[a]]\n\n[[b]]", ["b"]),
        ("```\n[[a]]\n\n[[b]]", []),
        ("x\n\n    [[a]]\n\n[[b]]", ["b"]),
        ("- x\n    - [[a]]\n\n      [[b]]", ["a", "b"]),
        ("[[n#The `x` option]] `[[a]]` [[b]]", ["n", "b"]),
        ("`a [[b` c]]", []),
    ],
)
def test_links_and_code(text: str, targets: list[str]) -> None:
    assert [link.target for link in parse_links(text)] == targets
