"""A program: this interpreter without what only Linux has, as a simulation of other systems. It is none of them.

``python -m tests.elsewhere.simulated CODE [windows]`` hides names, modules and /proc, says that the platform is
another, and runs CODE; the processes that the library starts do the same first. Trio and subprocess are imported
before: they choose their ways by the platform, and must go on working.
"""

from __future__ import annotations

import builtins
import ctypes
import errno
import fcntl
import io
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from types import ModuleType
from typing import Any

ONLY_LINUX = {
    os: """
        pidfd_open memfd_create eventfd eventfd_read eventfd_write getrandom sched_setaffinity sched_getaffinity setns
        unshare splice copy_file_range getxattr setxattr listxattr removexattr posix_fadvise posix_fallocate
        getresuid getresgid setresuid setresgid pipe2 preadv2 sched_getscheduler O_PATH O_TMPFILE O_DIRECT O_NOATIME
        O_LARGEFILE O_RSYNC MFD_CLOEXEC MFD_ALLOW_SEALING P_PIDFD GRND_NONBLOCK RWF_HIPRI EFD_CLOEXEC
        """,
    signal: "pidfd_send_signal sigwaitinfo sigtimedwait SIGPWR SIGSTKFLT SIGRTMIN SIGRTMAX SIGPOLL",
    select: "epoll EPOLLIN EPOLLOUT EPOLLHUP EPOLLERR EPOLL_CLOEXEC",
    socket: """
        AF_NETLINK AF_PACKET AF_ALG AF_VSOCK AF_CAN SOCK_CLOEXEC SOCK_NONBLOCK SO_PASSCRED SO_PEERCRED
        SCM_CREDENTIALS MSG_NOSIGNAL TCP_USER_TIMEOUT
        """,
    fcntl: """
        F_ADD_SEALS F_GET_SEALS F_SEAL_WRITE F_SEAL_GROW F_SEAL_SHRINK F_SEAL_SEAL F_OFD_SETLK F_OFD_GETLK F_OFD_SETLKW
        F_NOTIFY
        """,
    resource: "prlimit RLIMIT_MSGQUEUE RLIMIT_SIGPENDING RLIMIT_RTTIME RLIMIT_NICE RLIMIT_RTPRIO",
}  # fmt: skip
"""Modules of both kinds of system, and what of them other systems do not have."""


def hide() -> None:
    """Hide it, in this process."""
    if "trio" not in sys.modules:  # it keeps what it chose for this platform; the sandbox's processes have none
        _keep_for_trio()
    sysconfig.get_config_vars()  # from a file that is called after the platform
    for module, names in ONLY_LINUX.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    real = os.uname()
    os.uname = lambda: os.uname_result(("Darwin", real.nodename, "24.0", "Darwin Kernel", "arm64"))
    sys.platform = "darwin"
    for place in (os, builtins, io):
        for name in ("open", "stat", "lstat", "listdir", "scandir", "readlink", "access"):
            if hasattr(place, name):
                setattr(place, name, _without_proc(getattr(place, name)))
    libc: Any = ctypes.CDLL(None).__class__
    real_get = libc.__getattr__

    def get(self: object, name: str) -> object:
        if name in ("prctl", "unshare", "inotify_init1", "inotify_add_watch", "capset"):
            raise AttributeError(name)
        return real_get(self, name)

    libc.__getattr__ = get


NOT_WINDOWS = {
    os: """
        fork O_NOFOLLOW O_DIRECTORY O_NONBLOCK O_CLOEXEC O_PATH O_NOCTTY geteuid getuid getegid getgid getgroups statvfs
        fstatvfs fchown chown lchown setsid getpgid killpg waitid uname fchmod getxattr setxattr pidfd_open memfd_create
        """,
    signal: "SIGKILL SIGSTOP SIGHUP SIGCHLD SIGPIPE SIGXCPU SIGXFSZ SIGUSR1 SIGALRM SIGSYS SIGBUS pthread_sigmask",
    socket: "SOCK_SEQPACKET send_fds recv_fds SCM_RIGHTS MSG_NOSIGNAL CMSG_SPACE",
}  # fmt: skip
NO_MODULES = ("fcntl", "resource", "termios", "pwd", "grp", "tty", "pty")


def hide_posix() -> None:
    """Hide what Windows has not, in this process, and say that this is Windows."""
    import trio  # noqa: F401  # before it would look for Windows' own calls

    sysconfig.get_config_vars()
    for name in NO_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]
    for module, names in NOT_WINDOWS.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    sys.platform = "win32"


def _keep_for_trio() -> None:
    from trio._core import _io_epoll

    kept = ModuleType("select")
    kept.__dict__.update(vars(select))
    _io_epoll.select = kept  # type: ignore[attr-defined]


def _without_proc(function: Callable[..., Any]) -> Callable[..., Any]:
    def wrapped(path: Any = ".", *arguments: Any, **options: Any) -> Any:
        if not isinstance(path, int) and os.fsdecode(path).startswith(("/proc", "/sys")):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return function(path, *arguments, **options)

    return wrapped


def hide_in_children() -> None:
    """Have the interpreters that are started run the simulation first."""
    real = subprocess.Popen

    class Simulated(real):  # type: ignore[misc, valid-type]
        def __init__(self, command: Any, *arguments: Any, **options: Any) -> None:
            if isinstance(command, list) and command[0] == sys.executable and "-S" in command:
                at = next(number for number, word in enumerate(command) if str(word).endswith("__main__.py"))
                command = [*command[:at], __file__, str(command[at]), *command[at + 1 :]]
            super().__init__(command, *arguments, **options)

    subprocess.Popen = Simulated  # type: ignore[misc, assignment]


def main() -> None:
    if sys.argv[1].endswith("__main__.py"):
        sys.modules["trio"] = sys  # a child has none
        hide()
        del sys.modules["trio"]
        sys.argv[:] = sys.argv[1:]
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        if len(sys.argv) > 2:
            hide_posix()
        else:
            hide()
            hide_in_children()
        exec(compile(sys.argv[1], "<simulated>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    main()
