"""Circuit breaker of one endpoint: closed, open, or half-open with one request at a time. Pure: time is passed in."""

from __future__ import annotations

import math


class CircuitBreaker:
    """Stops requests that cannot succeed, and lets a probe through from time to time to test whether that has changed.

    It opens when it is told to, or after `THRESHOLD` consecutive refusals; any success closes it. While it is open, one
    request at a time (a probe) may be sent after a pause: `FIRST_PAUSE` seconds plus a share of the time that it has
    been open, `LONGEST_PAUSE` at most. So a server that is available again is found after a time proportional to its
    outage.

    Attributes:
        is_open: requests are stopped, except for a probe.
        next_probe: when a probe may be sent.
        probes: how many have failed since it opened.
    """

    THRESHOLD = 8
    FIRST_PAUSE, LONGEST_PAUSE, SHARE = 1.0, 60.0, 0.2

    def __init__(self) -> None:
        self.is_open = False
        self.next_probe = -math.inf
        self.probes = 0
        self._opened = -math.inf
        self._refusals = 0
        self._probing = False

    def admit(self, now: float, *, ahead: bool = False) -> bool | None:
        """Whether a request may be sent: False for an ordinary one, True if it is the probe, None if none may be sent.

        Args:
            ahead: the caller has waited for its turn to probe.
        """
        if not self.is_open:
            return False
        if self.stops(now, ahead=ahead):
            return None
        self._probing = True
        return True

    def stops(self, now: float, *, ahead: bool = False) -> bool:
        """Whether `admit` would return None."""
        return self.is_open and (self._probing or (now < self.next_probe and not ahead))

    def succeeded(self) -> None:
        """A request succeeded, or failed in a way that shows that the endpoint works."""
        self.is_open = self._probing = False
        self.probes = self._refusals = 0

    def refused(self, now: float) -> bool:
        """Count a refusal; returns whether this one opened the breaker."""
        self._refusals += 1
        return self.is_open or self._refusals >= self.THRESHOLD

    def open(
        self,
        now: float,
        *,
        probe: bool,
        at_least: float = 0.0,
        since: float | None = None,
        first: float = FIRST_PAUSE,
        share: float = SHARE,
    ) -> None:
        """Open it, or keep it open after a *probe* that failed.

        Args:
            at_least: minimum seconds until the next probe.
            since: when the outage began, if that was earlier; the pauses grow from there.
            first, share: of the pause until the next probe.
        """
        if self.is_open and not probe:
            return  # the request was sent before it opened, so its failure is no news
        if not self.is_open:
            self._opened = now if since is None else since
        self.probes = self.probes + 1 if self.is_open else 0
        self.is_open, self._probing = True, False
        pause = min(self.LONGEST_PAUSE, first + share * (now - self._opened))
        self.next_probe = now + max(pause, at_least)

    def gave_up_probe(self) -> None:
        """The probe was cancelled: the next one may be sent at once."""
        self._probing = False
