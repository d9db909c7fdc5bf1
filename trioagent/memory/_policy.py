"""What blocks may change in a memory, as its owner has set it; enforced by the host at every commit."""

from __future__ import annotations

from typing import Any

import attrs

from .._errors import InvalidInputError, MemoryProtectedError
from ..tools import NOTE_SUFFIXES, WriteRules, hidden_part, write_problem
from . import _fsops
from ._paths import Folders
from ._plan import CommitPlan


def _texts(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not value or not all(isinstance(item, str) and item for item in value):
        raise InvalidInputError(attribute.name, f"must be one or more texts, not {value!r:.200}")


def _suffixes(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    for suffix in value:
        if not isinstance(suffix, str) or not suffix.startswith(".") or suffix != suffix.lower():
            raise InvalidInputError(attribute.name, f"must be like '.md', in lower case, not {suffix!r:.200}")


def _boolean(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidInputError(attribute.name, f"must be True or False, not {value!r:.200}")


def _several(value: Any) -> Any:
    return value if isinstance(value, str) or not hasattr(value, "__iter__") else tuple(value)


@attrs.frozen(kw_only=True)
class VaultPolicy:
    """What blocks may change in a memory.

    Whatever it says, names that begin with a dot are never made, changed or removed, at any depth, and no commit sets
    an executable bit or changes the permissions of a note that is there.

    Attributes:
        writable: globs of the notes that may be made, changed and deleted, such as ``entities/**``. ``*`` and ``?``
            stay within a folder, ``**`` crosses folders.
        suffixes: of the files that may be: by default those of notes and attachments, no scripts and no build files.
        read_only: nothing may be changed.
    """

    writable: tuple[str, ...] = attrs.field(default=("**",), converter=_several, validator=_texts)
    suffixes: frozenset[str] = attrs.field(default=NOTE_SUFFIXES, converter=frozenset, validator=_suffixes)
    read_only: bool = attrs.field(default=False, validator=_boolean)

    @property
    def rules(self) -> WriteRules:
        """The same for :mod:`trioagent.tools`."""
        return WriteRules(self.writable, self.suffixes, self.read_only)


def check_policy(plan: CommitPlan, policy: VaultPolicy, folders: Folders) -> None:
    """Refuse a plan that changes what its policy does not allow.

    Raises:
        MemoryProtectedError: names the note or folder, and why.
    """
    for folder in plan.removed:
        fd = folders.at(folder.path)
        hidden = sorted(filter(hidden_part, _fsops.names(fd) if fd is not None else ()))
        if hidden:
            what = f"it holds hidden files ({', '.join(hidden[:3])}), which stay where they are"
            raise MemoryProtectedError(folder.path, f"{what}; it cannot be moved or removed")
    rules = policy.rules
    made_and_removed = [folder.path for folder in (*plan.made, *plan.removed)]
    for paths, is_folder in (((*plan.deletes, *plan.writes), False), (made_and_removed, True)):
        for path in sorted(paths):
            problem = write_problem(path, rules, is_folder=is_folder)
            if problem:
                raise MemoryProtectedError(path, problem)
