"""Progress displays of a run: live, a line every 10 seconds, or JSON. A slow or closed stream never delays the run."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

import attrs

from ..batch import Progress
from ._batch_text import progress_line, progress_lines
from ._terminal import one_line, safe, shortened

PLAIN_SECONDS = 10.0
_ID_CHARS = 80
# A pipe that polls as writable takes this many bytes without blocking (PIPE_BUF on Linux).
_PIPE_BUF = 4096


class Stream:
    """A standard stream whose reader may be slow or closed; neither ends a run."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def write_line(self, text: str) -> None:
        """Write a line; blocks while the pipe is full."""
        if self._file is None:
            return
        try:
            self._file.write(f"{text}\n")
            self._file.flush()
        except (OSError, ValueError):  # a closed pipe, a full disk, a closed file
            self._discard_output()

    def write_line_if_ready(self, text: str) -> None:
        """Write a line if that does not block, else drop it."""
        if self.ready and len(text.encode(errors="replace")) < _PIPE_BUF:
            self.write_line(text)

    @property
    def ready(self) -> bool:
        """Whether a small write would not block."""
        if self._file is None:
            return False
        try:
            poll = select.poll()
            poll.register(self._file.fileno(), select.POLLOUT)
        except (OSError, ValueError):  # not a real file, so a write does not block
            return True
        events = poll.poll(0)
        if any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in events):
            self._discard_output()
            return False
        return bool(events)

    def _discard_output(self) -> None:
        """Redirect the stream to /dev/null, so that buffered and later output is dropped."""
        if self._file is None:
            return
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._file.fileno())
            os.close(nowhere)
        self._file = None


class Display:
    """Shows notes on stderr and no progress; the base class of the others.

    Attributes:
        began: whether the run has.
    """

    def __init__(self) -> None:
        self.errors = Stream(sys.stderr)
        self.began = False

    def progress(self, progress: Progress) -> None:
        """Show how far the run is."""
        self.began = True
        self.show(progress)

    def show(self, progress: Progress) -> None:
        """Called about every second."""

    def note(self, text: str) -> None:
        """Show a line on any display."""
        self.errors.write_line(one_line(text))

    def end(self, code: int, body: Mapping[str, Any]) -> None:
        """The run has ended; *body* is for machines."""


class PlainDisplay(Display):
    """A line every `PLAIN_SECONDS`."""

    def __init__(self) -> None:
        super().__init__()
        self._last = time.monotonic()

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= PLAIN_SECONDS:
            self._last = now
            self.errors.write_line_if_ready(safe(progress_line(attrs.asdict(progress))))


class JsonDisplay(Display):
    """A JSON object a second on stdout, and a last one."""

    def __init__(self) -> None:
        super().__init__()
        self._out = Stream(sys.stdout)

    def show(self, progress: Progress) -> None:
        body = attrs.asdict(progress)
        for job in body["stragglers"]:
            job["id"] = shortened(job["id"], _ID_CHARS)
        self._out.write_line_if_ready(json.dumps({"event": "progress", **body}))

    def end(self, code: int, body: Mapping[str, Any]) -> None:
        self._out.write_line(json.dumps({"event": "end", "exit_code": code, **body}))


class LiveDisplay(Display):
    """Counts, rates, spending and the slowest jobs, in place, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console  # 60 ms, only for this display
        from rich.live import Live

        super().__init__()
        plain = bool(os.environ.get("NO_COLOR"))
        console = Console(
            stderr=True, color_system=None if plain else "auto", markup=False, highlight=False, emoji=False
        )
        self._live = Live(
            console=console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
        )

    def show(self, progress: Progress) -> None:
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        if not self.errors.ready:
            return
        lines = [Text(safe(line), no_wrap=True, overflow="ellipsis") for line in progress_lines(attrs.asdict(progress))]
        ended = progress.skipped + progress.done + progress.failed
        # A progress bar alone does not end its line.
        bar = [Padding(ProgressBar(total=progress.total, completed=ended), 0)] if progress.total else []
        with contextlib.suppress(OSError):  # the terminal was closed after the check
            self._live.start()
            self._live.update(Group(*bar, *lines), refresh=True)

    def note(self, text: str) -> None:
        if not self._live.is_started:
            super().note(text)
        elif self.errors.ready:
            with contextlib.suppress(OSError):
                self._live.console.print(one_line(text), soft_wrap=True)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._live.stop()


@contextmanager
def open_display(*, as_json: bool, quiet: bool) -> Iterator[Display]:
    """The display for these options and this stderr."""
    if as_json:
        yield JsonDisplay()
    elif quiet:
        yield Display()
    elif sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        live = LiveDisplay()
        try:
            yield live
        finally:
            live.close()
    else:
        yield PlainDisplay()
