"""Server-sent events, decoded from bytes as they come. Pure.

The rules are those of the WHATWG HTML standard, section "Server-sent events", less reconnection (``id``, ``retry``).
"""

from __future__ import annotations

import attrs

from .._errors import ModelProtocolError

LINE_BYTES = 1024 * 1024
EVENT_BYTES = 4 * 1024 * 1024


@attrs.frozen
class ServerEvent:
    """One event: its ``data`` lines joined, and its type ("message" unless the server says)."""

    data: str
    event: str = "message"


class SSEDecoder:
    """Feed bytes in any split, get events out; what they are does not depend on the split.

    Args:
        line_bytes: the longest line taken.
        event_bytes: the most data taken for one event.
    """

    def __init__(self, *, line_bytes: int = LINE_BYTES, event_bytes: int = EVENT_BYTES) -> None:
        self._line_bytes, self._event_bytes = line_bytes, event_bytes
        self._partial: list[bytes] = []  # an unfinished line in pieces: joining at each feed would be quadratic
        self._partial_bytes = 0
        self._after_cr = False  # the last byte was a CR that ended a line; an LF next belongs to it
        self._first_line = True
        self._data: list[str] = []
        self._data_bytes = 0
        self._event = ""

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """The events that *chunk* completes.

        Raises:
            ModelProtocolError: a line or an event is longer than the limits.
        """
        if not chunk:
            return []
        if self._after_cr:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        events: list[ServerEvent] = []
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
            event = self._on_line(line)
            if event is not None:
                events.append(event)
        if rest:
            self._partial.append(rest)
            self._partial_bytes += len(rest)
            if self._partial_bytes > self._line_bytes:
                self._too_long()
        return events

    def _too_long(self) -> None:
        raise ModelProtocolError(f"a line of the event stream is longer than {self._line_bytes} bytes")

    def _on_line(self, line: bytes) -> ServerEvent | None:
        if self._first_line:
            self._first_line = False
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data_bytes += len(value) + 1
            if self._data_bytes > self._event_bytes:
                raise ModelProtocolError(f"an event of the stream is longer than {self._event_bytes} bytes")
            self._data.append(value.decode(errors="replace"))
        elif name == b"event":
            self._event = value.decode(errors="replace")
        return None  # comments (an empty name) and unknown fields are passed over

    def _dispatch(self) -> ServerEvent | None:
        data, event = self._data, self._event or "message"
        self._data, self._data_bytes, self._event = [], 0, ""
        return ServerEvent("\n".join(data), event) if data else None
