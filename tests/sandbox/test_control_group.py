"""A control group for a sandbox's processes, in a simulated tree of cgroup v2: this machine may have another."""

from __future__ import annotations

import os
from contextlib import aclosing
from pathlib import Path

import pytest

from trioagent._config import SandboxLimits
from trioagent.sandbox import Sandbox
from trioagent.sandbox._control_group import ZYGOTE_BYTES, BlockShare, ControlGroup, delegated
from trioagent.sandbox._kernel import KernelTier
from trioagent.sandbox._monty_tier import MontyTier
from trioagent.sandbox._zygote import ProcessSettings

MIB = 1024 * 1024
DEFAULT = BlockShare()


def tree(folder: Path, own: str, **enabled: str) -> tuple[Path, Path]:
    """A ``/proc/self/cgroup`` that says *own*, and a tree in which these groups have these controllers enabled."""
    said, mounted = folder / "cgroup", folder / "mounted"
    said.write_text(f"1:name=systemd:/elsewhere\n0::{own}\n")
    for group, controllers in enabled.items():
        place = mounted / group.replace("_", "/").removeprefix("top").strip("/")
        place.mkdir(parents=True, exist_ok=True)
        (place / "cgroup.subtree_control").write_text(f"{controllers}\n")
    return said, mounted


@pytest.mark.parametrize(
    ("own", "enabled", "found"),
    [
        ("/service/main", {"service": "cpu memory pids", "service_main": ""}, "service"),
        ("/service", {"service": "memory pids"}, "service"),
        ("/service", {"top": "memory", "service": "memory"}, None),
        ("/", {"top": "memory pids"}, "."),
        ("/service/main", {"service_main": ""}, None),
        ("/gone", {"top": ""}, None),
    ],
)
def test_where_groups_may_be_made(own: str, enabled: dict[str, str], found: str | None, tmp_path: Path) -> None:
    said, mounted = tree(tmp_path, own, **enabled)
    assert delegated(said, mounted) == (None if found is None else mounted / found)


def test_no_cgroup_v2(tmp_path: Path) -> None:
    (tmp_path / "cgroup").write_text("4:memory:/user\n1:name=systemd:/\n")
    assert delegated(tmp_path / "cgroup", tmp_path) is None
    assert delegated(tmp_path / "nothing", tmp_path) is None


def test_its_limits(tmp_path: Path) -> None:
    limits = SandboxLimits(parallel=3, memory_bytes=100 * MIB, view_bytes=10 * MIB)
    group = ControlGroup(tmp_path, limits)
    assert (group.path / "memory.max").read_text() == f"{ZYGOTE_BYTES + 330 * MIB}\n"
    assert (group.path / "pids.max").read_text() == "38\n"
    group.add(17)
    assert (group.path / "cgroup.procs").read_text() == "17\n"


def test_one_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        ControlGroup(tmp_path / "nothing", SandboxLimits())
    assert os.listdir(tmp_path) == []


@pytest.mark.real
@pytest.mark.parametrize("name", ["kernel-lite", "monty"])
async def test_a_sandbox_moves_its_processes_there(name: str, tmp_path: Path) -> None:
    made: list[ControlGroup] = []

    def make_group(limits: SandboxLimits, share: BlockShare = DEFAULT) -> ControlGroup:
        made.append(ControlGroup(tmp_path, limits, share))
        return made[-1]

    limits, processes = SandboxLimits(), ProcessSettings(make_group=make_group)
    tier: KernelTier | MontyTier
    if name == "monty":
        tier = await MontyTier.start(limits, processes=processes)
    else:
        tier = await KernelTier.start(limits, name, processes=processes)
    async with aclosing(tier):
        (group,) = made
        assert (group.path / "cgroup.procs").read_text() == f"{tier.pid}\n"
        assert (await Sandbox(tier, limits).run("x = 1")).locals == {"x": "1"}
        for name in os.listdir(group.path):  # the kernel's own files are no obstacle to removing a group
            os.unlink(group.path / name)
    assert os.listdir(tmp_path) == []


def test_a_larger_share(tmp_path: Path) -> None:
    limits = SandboxLimits(parallel=3, memory_bytes=100 * MIB, view_bytes=10 * MIB)
    group = ControlGroup(tmp_path, limits, BlockShare(memories=2, threads=20))
    assert (group.path / "memory.max").read_text() == f"{ZYGOTE_BYTES + 630 * MIB}\n"
    assert (group.path / "pids.max").read_text() == "92\n"
