"""Text that arrives in pieces, broken between words at a terminal's width."""

from __future__ import annotations

from rich.cells import cell_len

_FENCES = ("```", "~~~")
_FENCE_CHARS = 8  # at a line's beginning, in which a fence is searched


class WordWrap:
    """Wraps text as it arrives, holding nothing back: a word that turns out not to fit is moved to the next line.

    Lines of fenced code are left unchanged, so that they can be copied; so are words that are longer than a line, such
    as addresses.

    Args:
        width: of a line, in cells. The last one stays empty: terminals differ in where the cursor is after it.
    """

    def __init__(self, width: int) -> None:
        self._width = max(width, 20) - 1
        self._in_fence = False
        self._begin_line()

    def feed(self, text: str) -> str:
        """The text to send to the terminal for *text*."""
        return "".join(map(self._one, text))

    def end(self) -> None:
        """The next piece begins a new line, and is not part of code that was begun."""
        self._in_fence = False
        self._begin_line()

    def _begin_line(self) -> None:
        self._line, self._column = "", 0
        self._word, self._word_cells = "", 0

    def _one(self, char: str) -> str:
        if char == "\n":
            if self._line.lstrip().startswith(_FENCES):
                self._in_fence = not self._in_fence
            self._begin_line()
            return char
        if len(self._line) < _FENCE_CHARS:
            self._line += char
        cells = cell_len(char)
        if char in " \t":
            shown = char.expandtabs(4)
            self._word, self._word_cells = "", 0
            self._column += len(shown)
            return shown
        if cells == 2:  # lines may end between characters of East Asian scripts
            self._word, self._word_cells = "", 0
        self._word += char
        self._word_cells += cells
        self._column += cells
        begins_line = self._word_cells == self._column
        in_code = self._in_fence or self._line.lstrip().startswith(_FENCES)
        if self._column <= self._width or begins_line or in_code or self._word_cells > self._width:
            return char
        back = self._word_cells - cells
        self._column = self._word_cells
        return (f"\x1b[{back}D\x1b[K" if back else "") + f"\n{self._word}"
