"""A program: a sandbox inside of a jail like those that containers are, made here with the kernel's own means.

``python -m tests.sandbox.jails [NAME [N [FIRST]]]`` (as root) becomes process 1 of a jail, opens the best tier, and
prints as JSON: the tier, what went wrong with honest blocks and with eight that fill their memory at once, the signs of
escape after attacks of the corpus, and the zombies that 1000 blocks and 20 dead zygotes leave. With N other than 1 only
every N-th block and attack is tried, from number FIRST on, and with a FIRST fewer zygotes die. Without a name it does
so for each jail, and ends with 1 if anything is wrong. No container engine takes part: what Docker and Kubernetes do to
a process is done by name below, so that it can be read and changed.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import attrs
import trio

from trioagent._errors import SandboxUnavailableError
from trioagent.sandbox import Sandbox, open_sandbox
from trioagent.sandbox._guest import seccomp
from trioagent.sandbox._guest.confine import keep_capabilities
from trioagent.sandbox._guest.syscalls import (
    MACHINE,
    PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS,
    libc,
    prctl,
)

from .arena import LIMITS, Arena
from .background import Background
from .corpus import CASES
from .monty_arena import PairArena
from .monty_tier import OUTSIDE_THE_SUBSET, MontyBackground
from .run_blocks import BLOCKS, run_block

NEWNS, NEWUTS, NEWIPC, NEWPID = 0x20000, 0x4000000, 0x8000000, 0x20000000
MNT_DETACH = 2
RDONLY, NOSUID, NODEV, NOEXEC, REMOUNT, BIND, REC, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18

# What Docker's and containerd's default profile refuses to a process without CAP_SYS_ADMIN and its like. The profile
# itself is a list of what is allowed; of what it leaves out, these are the calls that a sandbox could want.
# name: (x86_64, aarch64)
DEFAULT_PROFILE: seccomp.Table = {
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "move_mount": (429, 429), "open_tree": (428, 428), "mount_setattr": (442, 442), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "open_by_handle_at": (304, 265), "io_uring_setup": (425, 425), "kcmp": (312, 272),
    "pidfd_getfd": (438, 438), "quotactl": (179, 60), "swapon": (167, 224), "init_module": (175, 105),
}  # fmt: skip
NAMESPACE_FLAGS = 0x7E020000  # of clone
# CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_RAW, SYS_CHROOT, MKNOD,
# AUDIT_WRITE, SETFCAP
DOCKER_CAPABILITIES = sum(1 << bit for bit in (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))


@attrs.frozen(kw_only=True)
class Jail:
    """What a container does to its process 1.

    Attributes:
        default_profile: the default seccomp profile; Docker's, and Kubernetes' "RuntimeDefault".
        capabilities: those that are left, by bit.
        user: who it runs as.
        read_only_root: its root cannot be written; /tmp is a file system of its own (an emptyDir).
        no_landlock: as under gVisor, and on kernels without it.
        user_namespaces: they may be made.
        memory: bytes that its control group may use, 0 for as many as there are.
        tier: the best that works in it.
    """

    default_profile: bool = True
    capabilities: int = DOCKER_CAPABILITIES
    user: int = 0
    read_only_root: bool = False
    no_landlock: bool = False
    user_namespaces: bool = True
    memory: int = 0
    tier: str = "kernel-lite"


JAILS = {
    "docker": Jail(),
    "docker, unconfined": Jail(default_profile=False, tier="kernel"),
    "docker, no user namespaces": Jail(default_profile=False, user_namespaces=False),
    "docker, another user": Jail(user=1000),
    "docker, no capabilities": Jail(capabilities=0),
    "kubernetes, restricted": Jail(capabilities=0, user=1000, read_only_root=True),
    "docker, 420 MB": Jail(memory=420_000_000),
    "kubernetes, 420 MB": Jail(capabilities=0, user=1000, read_only_root=True, memory=420_000_000),
    "gvisor": Jail(no_landlock=True, tier="monty"),
    "gvisor, another user": Jail(no_landlock=True, user=1000, tier="monty"),
}
NOT_CONTAINED = {"stat_outside"}
"""Where a block's root is not its memory, for want of a capability: see `tests.sandbox.tiers`."""
CHECKOUT, CGROUPS = Path(__file__).parents[2], Path("/sys/fs/cgroup")


def jail_call(name: str, *arguments: bytes | int) -> None:
    """One of the calls that a jail is made with, and that the library never makes."""
    number = MACHINE is not None and DEFAULT_PROFILE[name][MACHINE]
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    if not number or libc.syscall(ctypes.c_long(number), *words) < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _mount(kind: str, place: Path, flags: int = 0, options: str = "", source: str | None = None) -> None:
    place.mkdir(parents=True, exist_ok=True)
    if libc.mount((source or kind).encode(), bytes(place), kind.encode(), flags, options.encode()) != 0:
        raise OSError(f"cannot mount {kind} on {place}")


def limited_group(size: int) -> Path | None:
    """A new control group, of either version, that may use *size* bytes; None if none can be made here."""
    for top, limit in ((CGROUPS / "memory", "memory.limit_in_bytes"), (CGROUPS, "memory.max")):
        group = top / f"trioagent-jail-{os.urandom(4).hex()}"
        try:
            if (top / "cgroup.procs").exists():
                group.mkdir()
                (group / limit).write_text(str(size))
                return group
        except OSError:
            with suppress(OSError):
                group.rmdir()
    return None


def _program() -> set[Path]:
    """The folders that this program runs from."""
    names = (str(CHECKOUT), sys.prefix, sys.base_prefix, *sys.path[1:])
    return {place for place in map(Path, names) if place.is_dir()}


def _bind(source: Path, place: Path, flags: int) -> None:
    _mount("none", place, BIND, source=str(source))
    if flags:
        _mount("none", place, flags)


def enter_root(jail: Jail, group: Path | None = None) -> None:
    """Change to a root like a container's: an overlay over this machine's, 64 MiB of /dev/shm, a /proc of its own."""
    libc.mount(None, b"/", None, REC | PRIVATE, None)
    base = Path(tempfile.mkdtemp())
    _mount("tmpfs", base)
    for name in ("upper", "work"):
        (base / name).mkdir()
    root = base / "root"
    _mount("overlay", root, 0, f"lowerdir=/,upperdir={base}/upper,workdir={base}/work")
    for place in {each for source in _program() for each in (source, *source.parents)}:
        folder = root / place.relative_to("/")
        folder.chmod(stat.S_IMODE(folder.stat().st_mode) | 0o055)  # in the overlay: any user can run it
    _mount("proc", root / "proc", NOSUID | NODEV | NOEXEC)
    _mount("tmpfs", root / "dev", NOSUID, "mode=755,size=65536k")
    for name, number in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
        os.mknod(root / "dev" / name, 0o020666, os.makedev(1, number))
        (root / "dev" / name).chmod(0o666)
    _mount("tmpfs", root / "dev" / "shm", NOSUID | NODEV | NOEXEC, "mode=1777,size=65536k")
    if group is not None:  # as a container sees it: its own is the topmost, and it cannot be written
        place = root / group.parent.relative_to("/")
        _mount("tmpfs", root / "sys", NOSUID | NODEV | NOEXEC, "mode=755")
        _bind(group, place, REMOUNT | BIND | RDONLY)
    if jail.read_only_root:
        hidden = sorted(place for place in _program() if place.is_relative_to("/tmp"))
        kept = {place: base / f"kept-{number}" for number, place in enumerate(hidden)}
        for place, aside in kept.items():
            _bind(root / place.relative_to("/"), aside, 0)
        _mount("tmpfs", root / "tmp", 0, "mode=1777")
        for place, aside in kept.items():
            _bind(aside, root / place.relative_to("/"), REMOUNT | BIND | RDONLY)
        if libc.mount(None, bytes(root), None, REMOUNT | BIND | RDONLY, None) != 0:
            raise OSError("the root stays writable")
    os.chdir(root)  # not chroot, in which nobody may make a user namespace
    jail_call("pivot_root", b".", b".")
    jail_call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def confine(jail: Jail) -> None:
    """Take from this process what the jail's does not have."""
    for bit in range(64):
        if not jail.capabilities >> bit & 1:
            try:
                prctl(PR_CAPBSET_DROP, bit)
            except OSError:
                break
    if jail.user:
        os.setgroups([])
        os.setresgid(jail.user, jail.user, jail.user)
        os.setresuid(jail.user, jail.user, jail.user)
    else:
        keep_capabilities(jail.capabilities)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    refused: dict[str, int] = {}
    if jail.default_profile:
        refused = dict.fromkeys(DEFAULT_PROFILE, errno.EPERM)
    if not jail.user_namespaces:
        refused["unshare"] = errno.ENOSPC
    if jail.no_landlock:
        refused["landlock_create_ruleset"] = errno.ENOSYS
    if refused or jail.default_profile:
        _filter(refused)


def _filter(refused: dict[str, int]) -> None:
    assert MACHINE is not None
    numbers = DEFAULT_PROFILE | {"landlock_create_ruleset": (444, 444)}
    load, equal, ret = seccomp.LOAD, seccomp.EQUAL, seccomp.RETURN
    code = [(load, 0, 0, seccomp.NUMBER_AT)]
    for name, number in refused.items():
        at = numbers[name][MACHINE]
        assert at is not None
        code += [(equal, 0, 1, at), (ret, 0, 0, 0x00050000 | number)]
    clone = (56, 220)[MACHINE]
    code += [(equal, 0, 1, 435), (ret, 0, 0, 0x00050000 | errno.ENOSYS)]  # clone3, whose flags no filter can see
    code += [(equal, 0, 3, clone), seccomp.argument(0), (seccomp.HAS_BITS, 0, 1, NAMESPACE_FLAGS)]
    code += [(ret, 0, 0, 0x00050000 | errno.EPERM), (ret, 0, 0, seccomp.RET_ALLOW)]
    seccomp.Filter(code).apply()


def _tier() -> tuple[str, str]:
    """The best tier, and, if there is none, why."""

    async def opened() -> str:
        async with open_sandbox() as sandbox:
            return sandbox.tier

    try:
        return trio.run(opened), ""
    except SandboxUnavailableError as error:
        return "", str(error)


def _wrong_blocks(tier: str, every: int, first: int) -> dict[str, list[str]]:
    wrong = {}
    blocks = [block for block in BLOCKS if tier != "monty" or block.name not in OUTSIDE_THE_SUBSET]
    with MontyBackground() if tier == "monty" else Background(tier=tier) as background:
        for block in blocks[first::every]:
            with tempfile.TemporaryDirectory() as folder:
                if found := run_block(background, Path(folder), block):
                    wrong[block.name] = found
    return wrong


FILLED = LIMITS.memory_bytes * 3 // 4
FILL = f"data = bytearray({FILLED})\ndata[::4096] = b'x' * len(data[::4096])\nfilled = len(data)\ndel data"


def _crowd(tier: str) -> list[str]:
    """What went wrong with eight blocks at once that each fill most of the memory that one may have."""
    found: list[str] = []

    async def fill(sandbox: Sandbox) -> None:
        result = await sandbox.run(FILL)
        if result.locals != {"filled": str(FILLED)}:
            found.append(result.error)

    async def run() -> None:
        async with open_sandbox(tier) as sandbox, trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(fill, sandbox)

    trio.run(run)
    return found


def _signs(tier: str, every: int, first: int) -> dict[str, list[str]]:
    with MontyBackground(LIMITS) if tier == "monty" else Background(LIMITS, tier) as background:
        if isinstance(background, MontyBackground):
            arena: Arena = PairArena(background)
        else:
            arena = Arena(background.run, delay=background.delay)
        os.environ["SBX_SECRET"] = arena.tokens["environment"]
        with arena.open():
            return {case.name: found for case in CASES[first::every] if (found := arena.attack(case))}


def zombies() -> list[str]:
    """The dead children of this process that nobody has waited for."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] == "Z" and int(fields[1]) == os.getpid():
                found.append(name)
    return found


def _left_by_the_dead(tier: str, blocks: int, deaths: int) -> list[str]:
    """The zombies that so many blocks and so many dead zygotes leave with process 1."""

    async def run() -> None:
        async with open_sandbox(tier) as sandbox:
            for number in range(blocks):
                if number % (blocks // deaths) == 0:
                    os.kill(sandbox._executor.pid, signal.SIGKILL)  # type: ignore[attr-defined]
                assert (await sandbox.run("x = 1")).locals == {"x": "1"}

    trio.run(run)
    return zombies()


def report(every: int, first: int) -> dict[str, object]:
    tier, why = _tier()
    found: dict[str, object] = {"tier": tier, "why": why, "pid": os.getpid()}
    if tier:
        found["wrong"] = _wrong_blocks(tier, every, first)
        found["crowd"] = [] if tier == "monty" else _crowd(tier)
        found["zombies"] = _left_by_the_dead(tier, *((1000, 20) if first == 0 else (10, 3)))
        found["signs"] = _signs(tier, every, first)
    return found


def inside(jail: Jail, work: Callable[[], dict[str, object]]) -> dict[str, object]:
    """What *work* returns, done in a jail as its process 1."""
    group = limited_group(jail.memory) if jail.memory else None
    if jail.memory and group is None:
        return {"skipped": "no control group can be made here"}
    read, write = os.pipe()
    outer = os.fork()
    if outer == 0:
        try:
            if group is not None:
                (group / "cgroup.procs").write_text("0")
            jail_call("unshare", NEWNS | NEWPID | NEWIPC | NEWUTS)
            pid = os.fork()
            if pid == 0:
                try:
                    enter_root(jail, group)
                    confine(jail)
                    answer = work()
                except BaseException as error:  # noqa: BLE001  # reported by the parent
                    answer = {"failed": f"{type(error).__name__}: {error}"}
                os.write(write, json.dumps(answer).encode())
                os._exit(0)
            os.waitpid(pid, 0)
        finally:
            os._exit(0)
    os.close(write)
    with open(read) as pipe:
        text = pipe.read()
    os.waitpid(outer, 0)
    if group is not None:
        group.rmdir()
    if not text:
        return {"failed": "it was killed"}
    found: dict[str, object] = json.loads(text)
    return found


def jailed(name: str, every: int = 1, first: int = 0) -> dict[str, object]:
    """What was found in a jail; under "problems", whatever of that is not as it should be."""
    jail, started = JAILS[name], time.monotonic()
    found = inside(jail, lambda: report(every, first))
    found["seconds"] = round(time.monotonic() - started)
    if "skipped" in found:
        return found | {"problems": {}}
    wanted = {"tier": jail.tier, "pid": 1, "failed": None, "wrong": {}, "crowd": [], "zombies": []}
    problems: dict[str, object] = {key: found.get(key) for key, value in wanted.items() if found.get(key) != value}
    signs = found.get("signs", {})
    assert isinstance(signs, dict)
    if more := {case: seen for case, seen in signs.items() if case not in NOT_CONTAINED}:
        problems["signs"] = more
    return found | {"problems": problems}


def main() -> None:
    name, *numbers = sys.argv[1:] or [""]
    wrong = False
    for each in [name] if name else JAILS:
        found = jailed(each, *map(int, numbers))
        wrong |= bool(found["problems"])
        print(json.dumps({"jail": each, **found}), flush=True)
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
