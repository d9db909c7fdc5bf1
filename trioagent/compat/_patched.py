"""Refuses to run if another library has replaced threads, sockets and time, and names that library."""

from __future__ import annotations

import sys

from .._errors import WrongContextError

_REPLACED = ("thread", "threading", "socket", "select", "os", "time", "subprocess")


def check_not_patched() -> None:
    """Raise WrongContextError if gevent or eventlet has patched this process's standard library."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    if gevent is not None and any(gevent.is_module_patched(name) for name in _REPLACED):
        _refuse("gevent", "gevent.monkey.patch_all()")
    if eventlet is not None and any(eventlet.is_monkey_patched(name) for name in _REPLACED):
        _refuse("eventlet", "eventlet.monkey_patch()")


def _refuse(library: str, call: str) -> None:
    raise WrongContextError(
        "trioagent.compat",
        f"cannot run in a process that {library} has patched ({call}): Trio needs the real threads, sockets and clock; "
        f"run agents in a process without it, such as a worker with threads (gunicorn --worker-class gthread, "
        "celery --pool threads)",
    )
