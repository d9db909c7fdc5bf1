"""A program: in which tier does a sandbox open where the kernel refuses what others need?

``python -m tests.sandbox.refusals NAME...`` tries the scenarios of these names, each in a process of its own on which
the refusals really lie, as a container or an old kernel puts them there, and prints what came of each as JSON.
"""

from __future__ import annotations

import ctypes
import errno
import importlib.metadata
import json
import os
import struct
import sys
from collections.abc import Callable

import trio

from trioagent._errors import SandboxUnavailableError
from trioagent.sandbox import open_sandbox
from trioagent.sandbox._guest import seccomp
from trioagent.sandbox._guest.syscalls import MACHINE, OWN_CALLS, PR_SET_NO_NEW_PRIVS, call, libc, prctl

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
NEWUSER = 0x10000000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse(**calls: int) -> None:
    """Have system calls fail, in this process and all that come of it: name=errno."""
    assert MACHINE is not None
    code = [(seccomp.LOAD, 0, 0, seccomp.NUMBER_AT)]
    for name, number in calls.items():
        code += [(seccomp.EQUAL, 0, 1, OWN_CALLS[name][MACHINE]), (seccomp.RETURN, 0, 0, 0x00050000 | number)]
    code.append((seccomp.RETURN, 0, 0, seccomp.RET_ALLOW))
    packed = b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    program = _Program(len(code), ctypes.addressof(buffer))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    # Not seccomp(2), which may be among the refused.
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)) == 0


def enter_user_namespace(limit: str | None = None) -> None:
    """Become root of a new user namespace, in which at most *limit* further ones may be made."""
    uid, gid = os.getuid(), os.getgid()
    call("unshare", NEWUSER)
    lines = {"setgroups": "deny", "uid_map": f"0 {uid} 1", "gid_map": f"0 {gid} 1"}
    for name, line in lines.items():
        with open(f"/proc/self/{name}", "w") as file:
            file.write(line)
    if limit is not None:
        with open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write(limit)


def drop_capabilities(dropped: int) -> None:
    """Be root without the capabilities whose bits are in *dropped*, as in a container that drops some."""
    with open("/proc/self/status") as status:
        (held,) = (int(line.split()[1], 16) for line in status if line.startswith("CapPrm:"))
    low, high = (held & ~dropped) & 0xFFFFFFFF, (held & ~dropped) >> 32
    call("capset", struct.pack("=II", 0x20080522, 0), struct.pack("=6I", low, low, 0, high, high, 0))


def without_monty() -> None:
    """As where the extra is not installed."""
    version = importlib.metadata.version

    def installed(distribution_name: str) -> str:
        if distribution_name.startswith("pydantic-monty"):
            raise importlib.metadata.PackageNotFoundError(distribution_name)
        return version(distribution_name)

    importlib.metadata.version = installed


def no_landlock(number: int) -> Callable[[], None]:
    return lambda: refuse(landlock_create_ruleset=number)


SCENARIOS: dict[str, tuple[Callable[[], None], ...]] = {
    "nothing refused": (),
    "namespaces forbidden": (lambda: refuse(unshare=errno.EPERM),),
    "namespaces missing": (lambda: refuse(unshare=errno.EINVAL),),
    "namespaces used up": (lambda: enter_user_namespace("0"),),
    "mounts forbidden": (lambda: refuse(fsopen=errno.EPERM),),
    "another user namespace": (enter_user_namespace,),
    "no capabilities": (lambda: refuse(unshare=errno.EPERM), lambda: drop_capabilities(-1)),
    "no chroot": (lambda: refuse(unshare=errno.EPERM), lambda: drop_capabilities(1 << 18)),
    "no landlock": (no_landlock(errno.ENOSYS), without_monty),
    "landlock disabled": (no_landlock(errno.EOPNOTSUPP), without_monty),
    "no seccomp": (lambda: refuse(seccomp=errno.EPERM), without_monty),
    "nothing works": (lambda: refuse(unshare=errno.EPERM, landlock_create_ruleset=errno.EPERM), without_monty),
    "only monty": (lambda: refuse(unshare=errno.EPERM, landlock_create_ruleset=errno.ENOSYS),),
}


async def _open(tier: str | None) -> dict[str, object]:
    try:
        async with open_sandbox(tier) as sandbox:
            result = await sandbox.run("x = 6 * 7")
            return {"tier": sandbox.tier, "ran": [result.tier, result.locals, result.error]}
    except SandboxUnavailableError as error:
        return {"tier": None, "reasons": dict(error.reasons), "text": str(error)}


def tried(name: str, tier: str | None) -> dict[str, object]:
    """What comes of opening *tier*, None for the best, in the scenario *name*."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            for impose in SCENARIOS[name]:
                impose()
            answer = trio.run(_open, tier)
        except BaseException as error:  # noqa: BLE001  # reported by the parent
            answer = {"failed": repr(error)}
        os.write(write, json.dumps(answer).encode())
        os._exit(0)
    os.close(write)
    with open(read) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    found: dict[str, object] = json.loads(text)
    return found


def main() -> None:
    """Try the scenarios in the arguments, each as ``NAME`` or ``NAME=TIER``."""
    pairs = [argument.partition("=") for argument in sys.argv[1:]]
    print(json.dumps({"".join(pair): tried(pair[0], pair[2] or None) for pair in pairs}))


if __name__ == "__main__":
    main()
