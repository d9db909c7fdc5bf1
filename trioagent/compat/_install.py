"""Makes `trioagent.compat` importable as ``agent``: the same modules under a second name."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from .._errors import InvalidInputError

_NAME = "agent"
_PACKAGE = __name__.rpartition(".")[0]
_SPAWNED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_spawned")


class _AliasFinder(MetaPathFinder):
    """Finds ``agent.x`` if ``trioagent.compat.x`` exists."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] != _NAME:
            return None
        real = importlib.util.find_spec(_PACKAGE + fullname.removeprefix(_NAME))
        return None if real is None else ModuleSpec(fullname, _AliasLoader(real))


class _AliasLoader(Loader):
    """Imports the module under its own name, and returns that same module."""

    def __init__(self, real: ModuleSpec) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return importlib.import_module(self._real.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._real  # the import system has just set the alias's spec


_alias = _AliasFinder()


def install(**settings: Any) -> None:
    """Make ``import agent``, ``from agent.async_agent import AsyncAgent`` and so on mean `trioagent.compat`.

    A package of that name on the path is hidden. Calling it again has no further effect. It also applies to processes
    that `multiprocessing` starts from now on.

    Args:
        settings: see `configure`, which they are passed to.

    Raises:
        InvalidInputError: another package ``agent`` has been imported already; or see `configure`.
        TypeError: `configure` has no such setting.
    """
    if settings:
        from ._lifespan import configure

        configure(**settings)
    there = sys.modules.get(_NAME)
    if there is not None and there is not sys.modules[_PACKAGE]:
        where = getattr(there, "__file__", None) or "somewhere"
        raise InvalidInputError(
            "install()", f"another {_NAME!r} is already imported, from {where}; call install() before that import"
        )
    if _alias not in sys.meta_path:
        sys.meta_path.insert(0, _alias)
    if _SPAWNED not in sys.path:
        sys.path.insert(1, _SPAWNED)  # after the program's own folder


def uninstall() -> None:
    """Undo `install`. Modules that have been imported stay usable."""
    if _alias in sys.meta_path:
        sys.meta_path.remove(_alias)
    if _SPAWNED in sys.path:
        sys.path.remove(_SPAWNED)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == _NAME and module.__name__.startswith(_PACKAGE):
            del sys.modules[name]
