"""Output to the terminal: streams that accept every character, and text without control characters."""

from __future__ import annotations

import io
import os
import re
import sys
from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@attrs.define
class GlobalOptions:
    """The options of the command itself, before a sub-command.

    Attributes:
        debug: show the traceback of an error, too.
    """

    debug: bool = attrs.field(factory=lambda: os.environ.get("TRIOAGENT_DEBUG", "") not in ("", "0"))


def prepare_streams() -> None:
    """Escape characters that a terminal cannot show, and read bytes that are not UTF-8 without an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="surrogateescape")


def safe(text: str) -> str:
    """*text* with its control characters escaped: a note or a reply must not move the cursor or set the title."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r", ""))


def one_line(text: str) -> str:
    """*text* on one line."""
    return safe(" ".join(text.split()))


def shortened(text: str, width: int) -> str:
    """*text* on one line of at most *width* characters."""
    line = one_line(text)
    return line if len(line) <= width else f"{line[: width - 1]}…"


def console() -> Console:
    """A console that prints text unchanged. Plain if it is not a terminal, or if ``NO_COLOR`` is set."""
    from rich.console import Console  # imported on use: 60 ms

    # With NO_COLOR alone rich would still write bold and dim.
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(color_system=colours, markup=False, highlight=False, emoji=False, soft_wrap=True)
