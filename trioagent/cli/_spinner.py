"""A line at the end of the terminal that says what the program waits for, and for how long."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import trio

from ._terminal import shortened

if TYPE_CHECKING:
    from rich.console import Console

_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_ASCII_FRAMES = "|/-\\"
_SECONDS = 0.1  # between two frames
_PATIENCE = 0.5  # seconds of waiting before anything is shown
_ERASE = "\r\x1b[2K"


class Spinner:
    """Shows what the program waits for while there is no other output; call `clear` before printing.

    Args:
        console: a terminal that can erase a line; else nothing is shown.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shows = console.is_terminal and not console.is_dumb_terminal and console.color_system is not None
        self._waiting, self._since, self._shown = "", 0.0, False

    def wait_for(self, what: str) -> None:
        """Show *what* as the present wait; the cursor is at the beginning of a line."""
        self.clear()
        self._waiting, self._since = what, time.monotonic()

    def clear(self) -> None:
        """Remove the line; there is no present wait."""
        self._waiting = ""
        if self._shown:
            self._console.file.write(_ERASE)
            self._console.file.flush()
            self._shown = False

    async def run(self) -> None:
        """Turn, until cancelled."""
        frames = itertools.cycle(_FRAMES if "utf" in (self._console.encoding or "") else _ASCII_FRAMES)
        try:
            while self._shows:
                await trio.sleep(_SECONDS)
                seconds = time.monotonic() - self._since
                if self._waiting and seconds >= _PATIENCE:
                    line = shortened(f"{self._waiting} {seconds:.0f} s", self._console.width - 3)
                    self._console.file.write(f"{_ERASE}\x1b[2m{next(frames)} {line}\x1b[0m")
                    self._console.file.flush()
                    self._shown = True
        finally:
            self.clear()
