"""Confine this process, then become the Monty worker. Run by the script that Monty's client is given."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shlex
import signal
from typing import Any

from .. import syscalls
from ..confine import READ_FILE, set_limit
from ..limits import MORE_THREADS, WORKER_FILES
from ..syscalls import PR_SET_PDEATHSIG, prctl
from . import confine

MFD_EXEC = 0x10
ITS_OWN = 256 * 1024 * 1024
"""Bytes of address space that the worker maps before any block has run (about 180 MB, most of it never touched)."""


def program(settings: dict[str, Any]) -> int:
    """A descriptor of a program for Monty's client, which takes no arguments for it: a script that starts `main`."""
    here = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "__main__.py")
    launcher: str = settings["launcher"]
    text = (
        f"import runpy, sys\n"
        f"sys.argv = [{here!r}, 'monty.worker', {json.dumps(settings)!r}]\n"
        f"runpy.run_path({here!r}, run_name='__main__')\n"
    )
    if library_path := os.environ.get("LD_LIBRARY_PATH"):
        # The client starts it without an environment, and a relocated interpreter would not find its libpython.
        command = shlex.join([launcher, "-ISB", "-c", text])
        text = f"#!/bin/sh\nLD_LIBRARY_PATH={shlex.quote(library_path)} exec {command}\n"
    else:
        text = f"#!{launcher} -ISB\n{text}"
    try:
        descriptor = os.memfd_create("launch", MFD_EXEC)
    except OSError:  # a kernel before 6.3 does not know the flag, nor need it
        descriptor = os.memfd_create("launch", 0)
    os.write(descriptor, text.encode())
    return descriptor


def main(settings_text: str) -> None:
    syscalls.reset_signals()
    settings = json.loads(settings_text)
    parent: int = settings["parent"]
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before PDEATHSIG was set
    os.closerange(3, 1024)
    set_limit(resource.RLIMIT_NOFILE, WORKER_FILES)
    limit_processes()
    set_limit(resource.RLIMIT_AS, ITS_OWN + settings["memory_bytes"])
    confine.drop_privileges(capabilities=0)
    binary: str = settings["binary"]
    abi: int = settings["landlock"]
    if abi:
        rights = {binary: confine.EXECUTE | READ_FILE}
        rights |= {path: READ_FILE | (confine.EXECUTE if is_loader(path) else 0) for path in settings["libraries"]}
        granted = {os.open(path, os.O_PATH | os.O_CLOEXEC): right for path, right in rights.items()}
        confine.restrict(abi, confine.all_rights(abi), granted, network=True)
    if settings["seccomp"]:
        confine.apply(worker=True)
    os.execve(binary, ["monty", "subprocess"], {})


def limit_processes() -> None:
    """Bound the threads that this process may make (other processes, it may make none).

    The kernel compares with all that this user runs, so the limit is above what that is now.
    """
    own, count = os.getuid(), 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid == own:
                count += os.stat(f"/proc/{name}/task").st_nlink - 2
    set_limit(resource.RLIMIT_NPROC, count + MORE_THREADS)


def is_loader(path: str) -> bool:
    return os.path.basename(path).startswith(("ld-", "ld."))


def libraries() -> list[str]:
    """The loader and shared libraries that the worker needs: those of them that this process has mapped itself."""
    wanted = ("ld-", "ld.", "libc.", "libc-", "libm.", "libm-", "libgcc_s", "libpthread", "libdl", "librt")
    found = {"/etc/ld.so.cache"} if os.path.exists("/etc/ld.so.cache") else set()
    with open("/proc/self/maps") as maps:
        for line in maps:
            path = line.split(maxsplit=5)[5].strip() if line.count("/") else ""
            if os.path.basename(path).startswith(wanted):
                found.add(path)
    # Each may go by a second path that is no symbolic link (/lib beside /usr/lib): Landlock goes by the file itself.
    return sorted(path for path in found if os.path.exists(path))
