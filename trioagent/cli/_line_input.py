"""Reading what the user types: line editing, and a history that outlives the session."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

HISTORY_LINES = 1000
CONTINUED = "...> "


class LineInput:
    """The user's lines, from a terminal or a pipe.

    Reading blocks its thread, which must be the main thread and must not run an event loop (see `_foreground`). On a
    terminal Ctrl-C raises KeyboardInterrupt from `read`, and Ctrl-D EOFError.

    Args:
        history: the file for typed lines, or None. An error with it is reported once, and reading continues.
    """

    def __init__(self, history: Path | None) -> None:
        self.interactive = sys.stdin is not None and sys.stdin.isatty()
        self._history = history if self.interactive else None
        if self.interactive:
            self._load()

    def read(self, prompt: str, *, kept: bool = True) -> str:
        """The next line, without its end. On a terminal, a line that ends with a backslash continues on the next.

        Args:
            kept: it goes into the history.

        Raises:
            EOFError: there is none.
            KeyboardInterrupt: Ctrl-C.
        """
        if self.interactive:
            line = _typed(prompt, kept)
            while kept and line.endswith("\\"):
                line = f"{line[:-1]}\n{_typed(CONTINUED, kept)}"
            if kept and line.strip() and self._history is not None:
                self._append(line)
            return line
        line = "" if sys.stdin is None else sys.stdin.readline()
        if not line:
            raise EOFError
        return without_bom(line).removesuffix("\n").removesuffix("\r")

    def _load(self) -> None:
        try:
            import readline  # importing it is enough to give input() line editing
        except ImportError:
            self._history = None
            return
        readline.parse_and_bind("set enable-bracketed-paste on")  # pasted lines become one message
        if self._history is None:
            return
        readline.set_auto_history(True)
        try:
            fd = os.open(self._history, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block
            with open(fd, encoding="utf-8", errors="replace") as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return
        except OSError as error:
            self._disable_history(error)
            return
        for line in lines[-HISTORY_LINES:]:
            readline.add_history(line)
        if len(lines) > 2 * HISTORY_LINES:
            self._write(lines[-HISTORY_LINES:], os.O_TRUNC)

    def _append(self, line: str) -> None:
        self._write([line.replace("\n", " ")], os.O_APPEND)

    def _write(self, lines: list[str], how: int) -> None:
        if self._history is None:
            return
        try:
            self._history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self._history, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | how, 0o600)
            with open(fd, "w", encoding="utf-8", errors="replace") as file:
                os.fchmod(fd, 0o600)
                file.writelines(f"{text}\n" for text in lines)
        except OSError as error:
            self._disable_history(error)

    def _disable_history(self, error: OSError) -> None:
        click.echo(f"note: the history is not kept: {self._history}: {error.strerror}", err=True)
        self._history = None


def _typed(prompt: str, kept: bool) -> str:
    """A line from the terminal; if it is not *kept*, it is removed from readline's own history."""
    line = input(prompt)
    if not kept and line and (readline := sys.modules.get("readline")):
        last = readline.get_current_history_length()
        if last and readline.get_history_item(last) == line:
            readline.remove_history_item(last - 1)
    return line


def without_bom(text: str) -> str:
    """*text* without the byte order mark that some editors write at the beginning of a file."""
    return text.removeprefix("\ufeff")


def history_path(env: Mapping[str, str]) -> Path | None:
    """``trioagent/history`` in ``XDG_STATE_HOME``, which is used only if absolute, else in ``~/.local/state``."""
    state = env.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return Path(state) / "trioagent" / "history"
    try:
        return Path.home() / ".local" / "state" / "trioagent" / "history"
    except RuntimeError:  # no home folder is known
        return None
