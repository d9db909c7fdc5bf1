"""The zygote's own namespaces: user, pid, network, IPC, UTS, mount, and cgroup where there is one.

One set for the zygote, not one for each child. A pid namespace for each child takes a setns, an unshare and a namespace
to tear down, which costs more than the fork itself, and buys nothing here: a child cannot name its siblings (no /proc,
and seccomp refuses kill, ptrace, pidfd_open and process_vm_*), has no network or IPC call to meet them by, and cannot
make descendants. What the namespaces are for is the way out: to the host's processes, network and mounts.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from .syscalls import PR_SET_PDEATHSIG, call, libc, prctl

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
INNER_ID = 1000  # who a plain user is inside: not 0, so that no program takes itself for root


def _put(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _identity(kind: str) -> str:
    """A map of every id that exists here onto itself."""
    with open(f"/proc/self/{kind}_map") as current:
        ranges = [line.split() for line in current]
    return "".join(f"{inside} {inside} {count}\n" for inside, _, count in ranges)


def _map_all(pid: int) -> bool:
    """Map all ids of process *pid*'s new user namespace onto themselves; True if that was allowed (root only)."""
    try:
        uids, gids = _identity("uid"), _identity("gid")
        _put(f"/proc/{pid}/uid_map", uids)
        _put(f"/proc/{pid}/gid_map", gids)
    except OSError:
        return False
    return True


def enter() -> bool:
    """Move this process into new namespaces; its next child will be process 1 of the new pid namespace.

    Returns:
        True if all ids are mapped (we are root), False if only our own are.

    Raises:
        OSError: if the kernel refuses; the text names the call.
    """
    uid, gid = os.getuid(), os.getgid()  # after unshare both read as "nobody"
    # All ids can be mapped only from outside, by root. A short-lived child stays outside to do it: as root it lets a
    # block run as the owner of the notes, whoever that is.
    mapper = _start_mapper() if uid == 0 else None
    try:
        call("unshare", NEWUSER | NEWPID | NEWNET | NEWIPC | NEWUTS | NEWNS)
    except BaseException:
        if mapper is not None:
            mapper(False)
        raise
    mapped_all = mapper is not None and mapper(True)
    if not mapped_all:
        _put("/proc/self/setgroups", "deny")
        _put("/proc/self/uid_map", f"{INNER_ID} {uid} 1")
        _put("/proc/self/gid_map", f"{INNER_ID} {gid} 1")
    try:
        call("unshare", NEWCGROUP)
    except OSError:
        pass  # an old kernel, or one without cgroups: nothing of theirs is visible to a child anyway
    libc.sethostname(b"sandbox", 7)
    return mapped_all


def _start_mapper() -> Callable[[bool], bool]:
    """Fork a process that stays in the old namespaces.

    Returns:
        A function that has it map our ids (True) or just end (False), and says whether it mapped them.
    """
    parent = os.getpid()
    ask_read, ask_write = os.pipe()
    say_read, say_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.close(ask_write)
            if os.read(ask_read, 1) == b"y":
                os.write(say_write, b"y" if _map_all(parent) else b"n")
        finally:
            os._exit(0)
    os.close(ask_read)
    os.close(say_write)

    def finish(go: bool) -> bool:
        os.write(ask_write, b"y" if go else b"n")
        os.close(ask_write)
        answer = os.read(say_read, 1)
        os.close(say_read)
        os.waitpid(pid, 0)
        return answer == b"y"

    return finish


def become_init() -> None:
    """Return only in a fork that is process 1 of the new pid namespace; this process waits for it and ends with it."""
    pid = os.fork()
    if pid == 0:
        # Process 1's death makes the kernel kill every process of its namespace, so this one signal ends them all.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        return
    # Asked to end, end process 1 and reap it first: a host that is process 1 of a container, or a subreaper, would
    # otherwise inherit it as a zombie.
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGKILL))
    # Nothing of the host may be held open here: end of file on the control socket must mean that the host is gone.
    call("close_range", 0, 0xFFFFFFFF, 0)
    os._exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 0xFF)
