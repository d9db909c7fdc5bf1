"""Decides which pieces of a reply can be sent before it is known that the reply is final."""

from __future__ import annotations

from .._parsed_reply import Delta


class ReplyText:
    """The part of a reply that a client has been sent, which cannot be withdrawn.

    A reply beside code is valid only if the code succeeds, and an answer that breaks off is requested again: then
    nothing more is sent until the turn has ended. Blanks at the beginning and the end do not belong to a reply.
    """

    def __init__(self) -> None:
        self._given, self._blanks = "", ""
        self._beside_code, self._waits = False, False

    def add(self, delta: Delta) -> str:
        """The text that can be sent now."""
        if delta.kind == "code" and delta.text.strip():
            self._beside_code = True
        if delta.kind != "reply" or self._beside_code or self._waits:
            return ""
        text = self._blanks + delta.text if self._given else delta.text.lstrip()
        kept = text.rstrip()
        self._blanks = text[len(kept) :] if self._given or kept else ""
        self._given += kept
        return kept

    def begin_anew(self) -> None:
        """The answer is complete or invalid: the next one begins."""
        self._waits = self._waits or bool(self._given)
        self._beside_code = False

    def rest(self, reply: str) -> str | None:
        """The rest to send when *reply* is final; None if a different text has been sent already."""
        reply = reply.strip()
        return reply[len(self._given) :] if reply.startswith(self._given) else None
