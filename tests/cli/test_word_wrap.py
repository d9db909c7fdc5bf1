"""Words are broken at a terminal's width, whatever pieces the text comes in."""

from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from trioagent.cli._word_wrap import WordWrap

MOVED = re.compile(r"\x1b\[(\d+)D\x1b\[K")


def shown(*pieces: str, width: int = 21) -> list[str]:
    """The lines that a terminal shows of it."""
    wrap, text = WordWrap(width), ""
    for piece in pieces:
        text += wrap.feed(piece)
    while match := MOVED.search(text):  # erased to the left of where the cursor was
        cells, start = int(match[1]), match.start()
        while cells > 0:
            start -= 1
            cells -= cell_len(text[start])
        text = text[:start] + text[match.end() :]
    return text.split("\n")


TEXT = "The quick brown fox jumps over the lazy dog, and 東京に住んでいる人が一人 dances."


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_end_between_words(size: int) -> None:
    lines = shown(*(TEXT[at : at + size] for at in range(0, len(TEXT), size)))
    assert lines[:3] == ["The quick brown fox ", "jumps over the lazy ", "dog, and 東京に住ん"]
    assert all(cell_len(line.rstrip()) <= 20 for line in lines)
    assert "".join(lines) == TEXT


def test_what_stays_as_it_is() -> None:
    address = "https://example.com/a/very/long/address"
    assert shown(f"see {address} there") == ["see ", f"{address} ", "there"]
    code = "```python\nx = 'a long line of code, longer than the screen'\n```"
    assert shown(code) == code.split("\n")
    assert shown("a\n\n  b\n") == ["a", "", "  b", ""]
    assert shown("") == [""]


def test_a_new_text_begins_a_line() -> None:
    wrap = WordWrap(21)
    assert wrap.feed("```\ncode that was cut") == "```\ncode that was cut"
    wrap.end()
    assert wrap.feed("words that fit on no line") == "words that fit on no" + " \nline"
