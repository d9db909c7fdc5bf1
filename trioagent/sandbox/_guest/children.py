"""The zygote's book of its children: reap them, say how they died, and look after what they leave.

Where views are copies (see :mod:`.isolation`), a view is needed until the host has read from it what the block did;
then the host closes its end of the child's socket. If it does so earlier, the block was cancelled, and the child, which
may still be copying, is ended at once.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress

from .death import DEATH, DEATH_MARK, OVERFULL
from .isolation import Ground

LOOK_SECONDS = 0.1  # from one look at running blocks' views to the next
LOOK_SHARE = 10  # looking takes at most one part in this many of the time

Child = tuple[int, int, str]  # its pid, our copy of its socket, the name of its view


class Children:
    def __init__(self, ground: Ground, poll: select.epoll) -> None:
        self._ground, self._poll = ground, poll
        self._living: dict[int, Child] = {}  # by pidfd
        self._views: dict[int, tuple[int | None, str]] = {}  # by socket: the child's pidfd while it lives, its view
        self._overfull: set[int] = set()
        self._look_at = 0.0

    def add(self, pid: int, channel: int, name: str) -> None:
        pidfd = os.pidfd_open(pid)
        self._poll.register(pidfd, select.EPOLLIN)
        self._living[pidfd] = pid, channel, name
        if self._ground.keeps_views:
            self._views[channel] = pidfd, name
            self._poll.register(channel, 0)  # EPOLLHUP needs no asking for

    def forget(self) -> None:
        """In a child: know nothing of the others."""
        self._living.clear()
        self._views.clear()

    def on_event(self, descriptor: int) -> None:
        """A child has died, or the host has closed its end of a child's socket."""
        self._poll.unregister(descriptor)
        if descriptor in self._living:
            self._bury(descriptor, *self._living.pop(descriptor))
            return
        pidfd, name = self._views.pop(descriptor)
        if pidfd is None:
            self._drop(descriptor, name)
        else:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)

    def _bury(self, pidfd: int, pid: int, channel: int, name: str) -> None:
        """Reap a dead child and say on its socket how it died, in case the host still waits for its reply."""
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        if pidfd in self._overfull:
            self._overfull.remove(pidfd)
            status |= OVERFULL
        os.set_blocking(channel, False)
        try:
            os.write(channel, DEATH.pack(DEATH_MARK, status))
        except OSError:
            pass  # nobody listens any more, as a rule (Python ignores SIGPIPE)
        if channel in self._views:
            self._views[channel] = None, name  # the host is not done with it yet
        else:
            self._drop(channel, name)

    def _drop(self, channel: int, name: str) -> None:
        os.close(channel)
        self._ground.drop(name)

    def patience(self) -> float | None:
        """Seconds until the next look at the views, None for ever."""
        if not self._living or not self._ground.keeps_views:
            return None
        return max(0.0, self._look_at - time.monotonic())

    def look(self) -> None:
        """Stop children that have filled their views, if it is time to look."""
        if not self._ground.keeps_views or (started := time.monotonic()) < self._look_at:
            return
        for pidfd, (_, _, name) in self._living.items():
            if self._ground.is_overfull(name):
                self._overfull.add(pidfd)
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        ended = time.monotonic()
        self._look_at = ended + max(LOOK_SECONDS, LOOK_SHARE * (ended - started))

    def end(self) -> None:
        """Kill and reap all."""
        for pidfd, (pid, _, _) in self._living.items():
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)
