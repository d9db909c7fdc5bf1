"""The first thing that every process of ours does: forget what its host does with signals.

Blocked and ignored signals pass through ``exec``. With SIGCHLD ignored a zygote could not wait for its children; with
SIGTERM or SIGXCPU ignored or blocked, neither the host nor a limit could end one.
"""

from __future__ import annotations

import signal


def set_defaults() -> None:
    """Unblock all signals and give each its default effect.

    But for SIGPIPE and SIGXFSZ, which Python ignores in favour of an OSError.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in signal.valid_signals():
        ignored = number in (getattr(signal, "SIGPIPE", None), getattr(signal, "SIGXFSZ", None))
        try:
            signal.signal(number, signal.SIG_IGN if ignored else signal.SIG_DFL)
        except (OSError, ValueError):
            pass  # SIGKILL, SIGSTOP, and those that the C library keeps to itself
