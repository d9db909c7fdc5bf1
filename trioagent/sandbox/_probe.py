"""Does the kernel tier work here? Found out by really running a block, and explained for people."""

from __future__ import annotations

import errno
import os
import sys
import tempfile

import attrs
import trio

from .._config import SandboxLimits
from .._errors import SandboxError
from ._kernel import KernelTier
from ._zygote import ZygoteStartError

# It must be able to do each of these in its view; the host then must find exactly these changes.
_PROBE_CODE = """
with open("kept.md") as note:
    text = note.read()
with open("made.md", "w") as note:
    note.write(text.upper())
import os
os.remove("gone.md")
os.rmdir("folder")
os.mkdir("folder")
"""


@attrs.frozen
class Check:
    """One line of what ``trioagent doctor`` prints.

    Attributes:
        name: what was looked at.
        ok: is it as it should be?
        detail: what was found.
        advice: what to do if not, else "".
    """

    name: str
    ok: bool
    detail: str
    advice: str = ""


class ProbeError(Exception):
    """The kernel tier does not work here; *check* says where it failed."""

    def __init__(self, check: Check) -> None:
        super().__init__(check)
        self.check = check


async def start_probed(limits: SandboxLimits) -> KernelTier:
    """Start the kernel tier and run one block in it; the zygote that passed is the one that is then used.

    Raises:
        ProbeError: with the step that failed.
    """
    if sys.platform != "linux":
        raise ProbeError(Check("system", False, f"this is {sys.platform}, not Linux", "use the monty tier"))
    try:
        tier = await KernelTier.start(limits)
    except ZygoteStartError as error:
        raise ProbeError(Check(error.step, False, error.detail, _advice(error.step, error.errno))) from error
    try:
        problem = await _run_probe_block(tier)
    except BaseException:
        await tier.aclose()
        raise
    if problem:
        await tier.aclose()
        step = problem.partition(":")[0]
        raise ProbeError(Check("a block", False, problem, _advice(step, None)))
    return tier


async def _run_probe_block(tier: KernelTier) -> str:
    """Run a block that reads, writes and deletes notes in a temporary folder; "" or what is wrong with the result."""
    with tempfile.TemporaryDirectory(prefix="trioagent-probe-") as folder:
        for name in ("kept.md", "gone.md"):
            with open(os.path.join(folder, name), "w") as note:  # noqa: ASYNC230  # two tiny files, once
                note.write("note\n")
        os.mkdir(os.path.join(folder, "folder"))
        readable = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            outcome = await tier.execute(_PROBE_CODE, root_fd=readable, hide=False, host_tools={})
        except SandboxError as error:
            return error.problem
        finally:
            os.close(readable)
    if outcome.error:
        return outcome.error
    changes = outcome.changes
    if changes.writes != {"made.md": b"NOTE\n"} or changes.deletes != {"gone.md"}:
        return f"view: the changes came back as {changes!r}"
    return ""


async def diagnose(limits: SandboxLimits | None = None) -> list[Check]:
    """Try the kernel tier as ``open_sandbox`` would and say what was found, step by step."""
    checks = [
        Check("system", sys.platform == "linux", " ".join((os.uname().sysname, os.uname().release, os.uname().machine)))
    ]
    started = trio.current_time()
    try:
        tier = await start_probed(limits or SandboxLimits())
    except ProbeError as error:
        return [*checks, error.check]
    milliseconds = (trio.current_time() - started) * 1000
    hello = tier.hello
    await tier.aclose()
    who = "root: blocks run as the owner of the notes" if hello["all_ids"] else "your user only"
    return [
        *checks,
        Check("namespaces", True, f"user, pid, network, IPC, UTS and mount namespaces can be made (as {who})"),
        Check("landlock", True, f"ABI {hello['landlock']}"),
        Check("a block", True, f"ran confined, its changes came back; started in {milliseconds:.0f} ms"),
    ]


def _advice(step: str, number: int | None) -> str:
    """What helps when *step* of the start failed, with which error number if there was one."""
    match step:
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
        case "landlock and seccomp" | "landlock":
            return "the kernel must have Landlock (5.13 or newer, with landlock in the lsm= list) and seccomp filters"
        case "view":
            return (
                "overlay and tmpfs mounts inside a user namespace must be possible: Linux 6.6 or newer, and in a "
                "container a seccomp profile that allows fsopen, fsconfig and fsmount"
            )
        case "seccomp":
            return "the kernel must have seccomp filters (CONFIG_SECCOMP_FILTER)"
        case _:
            return ""
