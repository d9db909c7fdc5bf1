"""What blocks may change in a memory, according to its owner's policy; enforced by the host at every commit."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from functools import lru_cache

from .._config import VaultPolicy
from .._errors import MemoryProtectedError
from ..tools import NOTE_SUFFIXES, AccessRules, hidden_part, is_shown, write_problem
from . import _fsops
from ._paths import Folders
from ._plan import CommitPlan

_NO_FILE = "it is not a file but a symbolic link, a pipe, a socket or a device, which are never changed"
_NOT_SHOWN = "it holds notes that may not be read here, which must stay; it cannot be moved or removed"


@lru_cache(maxsize=256)
def access_rules(policy: VaultPolicy) -> AccessRules:
    """A policy in the form of :mod:`trioagent.tools`."""
    readable = _with_own(policy.readable, policy.agent_folder)
    return AccessRules(
        () if readable == ("**",) else (readable,),
        _with_own(policy.writable, policy.agent_folder),
        NOTE_SUFFIXES if policy.suffixes is None else frozenset(policy.suffixes),
        policy.read_only,
    )


def _with_own(globs: tuple[str, ...], folder: str) -> tuple[str, ...]:
    """*globs*, plus everything in the agent's own folder, if the globs admit paths and do not only exclude some."""
    own = f"{folder}/**"
    if not folder or "**" in globs or own in globs or all(glob.startswith("!") for glob in globs):
        return globs
    return (*globs, own)


def check_policy(plan: CommitPlan, rules: AccessRules, folders: Folders) -> None:
    """Refuse a plan that changes what its rules do not allow.

    Raises:
        MemoryProtectedError: names the note or folder, and why.
    """
    for path in sorted((*plan.deletes, *plan.replaced)):
        found = plan.before(path)
        if found is not None and not stat.S_ISREG(found.status.st_mode):
            raise MemoryProtectedError(path, _NO_FILE)
    for folder in plan.removed:
        fd = folders.at(folder.path)
        hidden = sorted(filter(hidden_part, _fsops.names(fd) if fd is not None else ()))
        if hidden:
            what = f"it holds hidden files ({', '.join(hidden[:3])}), which must stay"
            raise MemoryProtectedError(folder.path, f"{what}; it cannot be moved or removed")
        if rules.readable and fd is not None:
            inside = _fsops.entries(fd)
            if not all(is_shown(f"{folder.path}/{name}", rules, is_folder=below) for name, below, _ in inside):
                raise MemoryProtectedError(folder.path, _NOT_SHOWN)
    if rules.readable:
        _check_not_shown((*plan.deletes, *(folder.path for folder in plan.removed)), rules)
    made_and_removed = [folder.path for folder in (*plan.made, *plan.removed)]
    for paths, is_folder in (((*plan.deletes, *plan.writes), False), (made_and_removed, True)):
        for path in sorted(paths):
            problem = write_problem(path, rules, is_folder=is_folder)
            if problem:
                raise MemoryProtectedError(path, problem)


def _check_not_shown(gone: Iterable[str], rules: AccessRules) -> None:
    """Refuse to remove a folder with notes that the block was not shown; the error does not name them."""
    for path in sorted(gone):
        if not is_shown(path, rules) and not is_shown(path, rules, is_folder=True):
            above = path
            while above and not is_shown(above, rules, is_folder=True):
                above = above.rpartition("/")[0]
            raise MemoryProtectedError(above or ".", _NOT_SHOWN)
