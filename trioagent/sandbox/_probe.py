"""``open_sandbox``: the best tier that works here, determined by running a real block, with explanations."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from .._config import SandboxLimits
from .._descriptors import BLOCK, descriptor_budget
from .._errors import InvalidInputError, SandboxError, SandboxUnavailableError
from .._exceptions import open_helper_nursery
from ..tools import DEFAULT_RULES
from ._control_group import delegated
from ._guest.views import Scratch, remove_left_behind
from ._kernel import KernelTier
from ._sandbox import TIERS, Executor, Sandbox, TierStartError

# The block must be able to do each of these in its view; the host must then find exactly these changes.
_NOTES_CODE = """
text = read_file("kept.md")
made = create_file("made.md", text.upper())
gone = delete_file("gone.md")
"""
# Real Python may use the view as a folder too.
_FOLDERS_CODE = """
import os
with open("kept.md") as note:
    assert note.read() == text
os.rmdir("folder")
os.mkdir("folder")
"""


@attrs.frozen
class Check:
    """One line of what ``trioagent doctor`` prints.

    Attributes:
        name: what was checked.
        ok: whether it is as it should be.
        detail: the result.
        advice: what to do if not, else "".
    """

    name: str
    ok: bool
    detail: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" + (f" ({self.advice})" if self.advice else "")


@attrs.frozen
class TierReport:
    """Whether one tier works here.

    Attributes:
        tier: its name.
        works: a real block ran in it.
        checks: the results in order; the last one is not ok if the tier does not work.
    """

    tier: str
    works: bool
    checks: tuple[Check, ...]


class ProbeError(Exception):
    """A tier does not work here; *check* tells at which step."""

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.check = check


@asynccontextmanager
async def open_sandbox(tier: str | None = None, *, limits: SandboxLimits = SandboxLimits()) -> AsyncIterator[Sandbox]:
    """Start a sandbox: the requested tier, or the best one that works here. On exit all of it is removed.

    Tried in this order: "kernel", "kernel-lite", "monty". A tier works if a real block has run in it. Model-written
    code never runs without one. `Sandbox.tier` and each result name the tier.

    Indexes of large memories are built in a nursery of its own, so the task that entered the block must leave it, as
    with any cancel scope. An exception of the body is raised unwrapped, never in a group.

    Raises:
        InvalidInputError: there is no tier of that name.
        SandboxUnavailableError: no tier works, or not the requested one; with the reasons.
    """
    if tier is not None and tier not in TIERS:
        raise InvalidInputError("tier", f"must be one of {', '.join(TIERS)}, not {tier!r}")
    executor = await start_best(tier, limits)
    try:
        # Indexes are built in here: they end with the sandbox, and the body's own exception is raised unwrapped.
        async with open_helper_nursery() as background:
            executor.use_background(background)
            with descriptor_budget().reserved_for_blocks(BLOCK * limits.parallel):
                yield Sandbox(executor, limits)
    finally:
        await executor.aclose()


async def start_best(tier: str | None, limits: SandboxLimits) -> Executor:
    """Start the first tier of TIERS that works, or just *tier*.

    Raises:
        SandboxUnavailableError: none works; with the reason for each that was tried.
    """
    reasons = []
    for name in TIERS if tier is None else (tier,):
        try:
            return await start_probed(name, limits)
        except ProbeError as error:
            reasons.append((name, str(error.check)))
    raise SandboxUnavailableError(tuple(reasons))


async def start_probed(tier: str, limits: SandboxLimits) -> Executor:
    """Start one tier and run one block in it; the instance that passed is then used.

    Raises:
        ProbeError: names the failed step.
    """
    await trio.to_thread.run_sync(remove_left_behind, tempfile.gettempdir())
    try:
        executor = await _start(tier, limits)
    except TierStartError as error:
        raise ProbeError(
            Check(error.step, False, error.detail, _advice(tier, error.step, error.errno, error.detail))
        ) from error
    try:
        problem = await _run_probe_block(executor)
    except BaseException:
        await executor.aclose()
        raise
    if problem:
        await executor.aclose()
        step = problem.partition(":")[0]
        raise ProbeError(Check("a block", False, problem, _advice(tier, step, None, problem)))
    return executor


async def _start(tier: str, limits: SandboxLimits) -> Executor:
    if tier == "monty":
        try:
            from ._monty_tier import MontyTier
        except ImportError as error:
            raise TierStartError("extra", f"cannot be imported: {error}") from error
        return await MontyTier.start(limits)
    if sys.platform != "linux":
        raise TierStartError("system", f"this is {sys.platform}, not Linux")
    return await KernelTier.start(limits, tier)


async def _run_probe_block(executor: Executor) -> str:
    """Run a block that reads, writes and deletes notes in a temporary folder; returns "" or what is wrong."""
    code = _NOTES_CODE if executor.tier == "monty" else _NOTES_CODE + _FOLDERS_CODE
    memory = Scratch(tempfile.gettempdir())  # locked: if we are killed now, the next start removes it
    try:
        for name in ("kept.md", "gone.md"):
            with open(os.path.join(memory.path, name), "w") as note:  # noqa: ASYNC230  # two tiny files, once
                note.write("note\n")
        os.mkdir(os.path.join(memory.path, "folder"))
        outcome = await executor.execute(code, root_fd=memory.folder, hide=False, host_tools={}, rules=DEFAULT_RULES)
    except SandboxError as error:
        return error.problem
    finally:
        with trio.CancelScope(shield=True):  # three small files
            await trio.to_thread.run_sync(memory.remove)
        os.close(memory.folder)
    if outcome.error:
        return outcome.error
    changes = outcome.changes
    if changes.writes != {"made.md": b"NOTE\n"} or changes.deletes != {"gone.md"}:
        return f"view: the changes came back as {changes!r}"
    return ""


async def diagnose(limits: SandboxLimits | None = None) -> list[TierReport]:
    """Try every tier as ``open_sandbox`` would, best first, and report the results."""
    return [await _report(tier, limits or SandboxLimits()) for tier in TIERS]  # noqa: ASYNC910 - TIERS is never empty


async def _report(tier: str, limits: SandboxLimits) -> TierReport:
    started = trio.current_time()
    try:
        executor = await start_probed(tier, limits)
    except ProbeError as error:
        return TierReport(tier, False, (error.check,))
    milliseconds = (trio.current_time() - started) * 1000
    await executor.aclose()
    checks = [Check("a block", True, f"ran confined, its changes came back; started in {milliseconds:.0f} ms")]
    if isinstance(executor, KernelTier):
        checks[:0] = _isolation_checks(executor)
    return TierReport(tier, True, tuple(checks))


def check_control_group() -> Check:
    """Whether there is a cgroup for all processes of a sandbox together."""
    place = delegated()
    if place is None:
        return Check("control group", True, "none is delegated to us (cgroup v2): each process has its own limits")
    return Check("control group", True, f"memory and processes of all blocks together are bounded below {place}")


def _isolation_checks(executor: KernelTier) -> list[Check]:
    """The isolation of a kernel tier, as its zygote reported it."""
    handshake = executor.handshake
    landlock = Check("landlock", True, f"ABI {handshake['landlock']}")
    if executor.tier == "kernel":
        who = "root: blocks run as the owner of the notes" if handshake["all_ids"] else "your user only"
        what = f"user, pid, network, IPC, UTS and mount namespaces can be made (as {who})"
        return [Check("namespaces", True, what), landlock]
    who = "nobody, or as the owner of private notes" if handshake["all_ids"] else "your user"
    seen = (
        "chroot to the memory"
        if handshake["changes_root"]
        else "no chroot: names, sizes and times of outside files can be seen"
    )
    return [
        landlock,
        Check("view", True, f"changes go to {os.path.dirname(str(handshake['scratch']))}; {seen}; runs as {who}"),
    ]


def _advice(tier: str, step: str, number: int | None, detail: str) -> str:
    """The remedy for a failed *step* of the start, with its error number if there was one."""
    match step:
        case _ if "No such file or directory: '/proc/" in detail:
            return "/proc must be mounted"
        case "library" if number == errno.EFBIG:
            return "raise the limit: ulimit -f unlimited"
        case "extra":
            return "pip install 'trioagent[monty]'"
        case "system":
            return "use the monty tier: pip install 'trioagent[monty]'"
        case "namespaces" if number in (errno.EPERM, errno.EACCES):
            return (
                "user namespaces are not allowed here. On Ubuntu 24.04: "
                "sysctl kernel.apparmor_restrict_unprivileged_userns=0; on Debian: "
                "sysctl kernel.unprivileged_userns_clone=1; in a container: run it with a seccomp profile that "
                "allows unshare and mount (docker: --security-opt seccomp=unconfined, or a profile of your own)"
            )
        case "namespaces" if number == errno.ENOSPC:
            return "no more user namespaces may be made: sysctl user.max_user_namespaces=10000"
        case "namespaces":
            return "the kernel must have user, pid, network, IPC, UTS and mount namespaces"
        case "landlock and seccomp" | "confinement" if "seccomp" in detail:
            return "the kernel must have seccomp filters (CONFIG_SECCOMP_FILTER), and a container must allow seccomp(2)"
        case "landlock and seccomp" | "confinement":
            version = "5.13" if tier == "kernel" else "6.2"
            return (
                f"the kernel must have Landlock ({version} or newer, with landlock in the lsm= list), "
                "and a container's seccomp profile must allow its calls"
            )
        case "view" | "warm-up" if tier == "kernel" and "mounting" in detail:
            return (
                "overlay and tmpfs mounts inside a user namespace must be possible: Linux 6.6 or newer, and in a "
                "container a seccomp profile that allows fsopen, fsconfig and fsmount"
            )
        case "view" | "scratch folder":
            return "/dev/shm or the folder for temporary files (TMPDIR) must be writable"
        case _:
            return ""
