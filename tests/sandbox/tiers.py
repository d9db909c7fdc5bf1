"""The tiers that blocks and attacks are tried in, and what each of them is known not to contain."""

from __future__ import annotations

import os

TIERS = ("kernel", "kernel-lite")
"""Tiers that run real CPython. A tier with a language of its own needs a probe of its own: see ``arena.Arena``."""

# Attacks that a tier does not contain, by name, for a user who may not chroot. Nothing but what stat tells of a file
# outside: that it is there, its kind, size, times, owner and mode. For root, who may, there are none.
NOT_CONTAINED = {"kernel": frozenset[str](), "kernel-lite": frozenset({"stat_outside"})}


def not_contained(tier: str) -> frozenset[str]:
    """The attacks that *tier* does not contain when this user runs it."""
    return frozenset() if os.geteuid() == 0 else NOT_CONTAINED[tier]
