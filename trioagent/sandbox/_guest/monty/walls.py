"""Confine keeper and worker with what this kernel has; on systems other than Linux there is nothing to put on.

========== ================================================= ========================================================
           Landlock                                          seccomp
========== ================================================= ========================================================
worker     opens its own program and libraries only          no writing, processes, sockets, signals; see `filters`
keeper     writes, makes, removes nothing; no TCP; while a   the same, besides no programs
           block runs: reads below its memory only
========== ================================================= ========================================================
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Mapping

from ..confine import READ_DIR, READ_FILE, RIGHTS_BY_ABI, CapabilityHeader, PathBeneath, Ruleset
from ..syscalls import PR_CAPBSET_DROP, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, call, prctl

EXECUTE = 1 << 0
DAC_READ_SEARCH = 1 << 2  # the capability to read what belongs to others


def landlock_abi() -> int:
    """The Landlock ABI of this kernel, 0 for none."""
    try:
        return call("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def all_rights(abi: int) -> int:
    return (1 << RIGHTS_BY_ABI[min(abi, len(RIGHTS_BY_ABI) - 1)]) - 1


def restrict(abi: int, handled: int, granted: Mapping[int, int], *, network: bool) -> None:
    """Take the rights *handled* from this thread and those it starts, save for those *granted* below a descriptor.

    Args:
        network: take TCP, abstract sockets and signals to outside as well, as far as *abi* knows them.
    """
    ruleset_size = 24 if abi >= 6 else 16 if abi >= 4 else 8
    wanted = Ruleset(handled, 3 if network and abi >= 4 else 0, 3 if network and abi >= 6 else 0)
    ruleset = call("landlock_create_ruleset", ctypes.byref(wanted), ruleset_size, 0)
    try:
        for descriptor, rights in granted.items():
            rule = PathBeneath(rights & handled, descriptor)
            call("landlock_add_rule", ruleset, 1, ctypes.byref(rule), 0)
        call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)


def settle(*, capabilities: int) -> None:
    """Give up dumps, new privileges and all capabilities but those of the bit set *capabilities*."""
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    for capability in range(64):
        try:
            if not capabilities >> capability & 1:
                prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the last one this kernel knows, or we are no root and have none
    effective = capabilities & _permitted()
    words = (ctypes.c_uint32 * 6)(effective, effective, 0, 0, 0, 0)
    call("capset", ctypes.byref(CapabilityHeader(0x20080522, 0)), words)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _permitted() -> int:
    with open("/proc/self/status") as status:
        return next((int(line.split()[1], 16) for line in status if line.startswith("CapPrm:")), 0)


def keep_from_writing(abi: int) -> None:
    """The keeper's own Landlock layer: it may read, until a block narrows that, and start the worker."""
    restrict(abi, all_rights(abi) & ~(EXECUTE | READ_FILE | READ_DIR), {}, network=True)


def read_below(abi: int, root: int | None) -> None:
    """From now on this thread opens files below descriptor *root* only, or none at all."""
    granted = {} if root is None else {root: READ_FILE | READ_DIR}
    restrict(abi, EXECUTE | READ_FILE | READ_DIR, granted, network=False)
