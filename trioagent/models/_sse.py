"""Incremental decoder of server-sent events. Pure.

It follows the WHATWG HTML standard, section "Server-sent events", without reconnection (``id``, ``retry``) and without
event types, which no model server needs.
"""

from __future__ import annotations

from .._errors import ModelProtocolError

LINE_BYTES = 1024 * 1024
EVENT_BYTES = 4 * 1024 * 1024
_DATA, _END = "data: ", "\n\n"


class SSEDecoder:
    """Decodes bytes, however they are split, to the data of each event.

    Args:
        line_bytes: longest line accepted.
        event_bytes: most data accepted in one event.
    """

    def __init__(self, *, line_bytes: int = LINE_BYTES, event_bytes: int = EVENT_BYTES) -> None:
        self._line_bytes, self._event_bytes = line_bytes, event_bytes
        self._always_within = min(line_bytes, event_bytes)
        self._partial: list[bytes] = []  # an unfinished line in pieces: joining at each feed would be quadratic
        self._partial_bytes = 0
        self._after_cr = False  # the last byte was a CR that ended a line; a following LF belongs to it
        self._first_line = True
        self._data: list[str] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[str]:
        """The data of the events that *chunk* completes.

        Raises:
            ModelProtocolError: a line or an event is longer than the limits.
        """
        if not (self._partial or self._data or self._after_cr) and len(chunk) <= self._always_within:
            events = self._whole_events(chunk)
            if events is not None:
                return events
        return self._feed_lines(chunk)

    def _whole_events(self, chunk: bytes) -> list[str] | None:
        """Fast path for complete events of one line each, the common case; None for anything else."""
        if not chunk.endswith(b"\n\n") or b"\r" in chunk:
            return None
        events = chunk[:-2].decode(errors="replace").split(_END)
        for event in events:
            if not event.startswith(_DATA) or "\n" in event:
                return None
        self._first_line = False
        start = len(_DATA)
        return [event[start:] for event in events]

    def _feed_lines(self, chunk: bytes) -> list[str]:
        if not chunk:
            return []
        if self._after_cr:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        events: list[str] = []
        lines = chunk.splitlines(keepends=True)
        if lines and not lines[-1].endswith((b"\n", b"\r")):
            rest = lines.pop()
        else:
            rest = b""
            self._after_cr = chunk.endswith(b"\r")
        for line in lines:
            if self._partial:
                line = b"".join((*self._partial, line))
                self._partial, self._partial_bytes = [], 0
            line = line.rstrip(b"\r\n")
            if len(line) > self._line_bytes:
                self._too_long()
            if line or self._first_line:
                self._on_line(line)
            elif self._data:
                events.append("\n".join(self._data))
                self._data, self._data_bytes = [], 0
        if rest:
            self._partial.append(rest)
            self._partial_bytes += len(rest)
            if self._partial_bytes > self._line_bytes:
                self._too_long()
        return events

    def rest(self) -> list[str]:
        """The data of the last event if the stream ended without its blank line; it may be truncated."""
        if self._partial:
            line = b"".join(self._partial)
            self._partial, self._partial_bytes = [], 0
            self._on_line(line)
        events = ["\n".join(self._data)] if self._data else []
        self._data, self._data_bytes = [], 0
        return events

    def _too_long(self) -> None:
        raise ModelProtocolError(f"a line of the event stream is longer than {self._line_bytes} bytes")

    def _on_line(self, line: bytes) -> None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        name, _, value = line.partition(b":")
        # Comments (an empty name) and other fields are skipped. llama.cpp has reported errors in a field ``error:``,
        # and Ollama in lines without any field name.
        if name == b"data" or name == b"error" or name == b'{"error"':
            value = line if name.startswith(b"{") else value.removeprefix(b" ")
            self._data_bytes += len(value) + 1
            if self._data_bytes > self._event_bytes:
                raise ModelProtocolError(f"an event of the stream is longer than {self._event_bytes} bytes")
            self._data.append(value.decode(errors="replace"))
