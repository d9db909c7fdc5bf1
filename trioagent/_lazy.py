"""Public names that are imported when they are first used (PEP 562). Standard library only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def lazy_names(package: str, places: Mapping[str, str]) -> Callable[[str], object]:
    """A package's ``__getattr__``.

    Args:
        package: its name.
        places: by module of the package, the names that it gives to the package, separated by blanks.

    Returns:
        A function that imports what is asked for (such a name, or a public module of *places*) and keeps it, serves
        names of the last release with a DeprecationWarning, and raises AttributeError for all others.
    """
    modules = {name: module for module, names in places.items() for name in names.split()}

    def get(name: str) -> object:
        module = modules.get(name)
        if module is None and name in places and not name.startswith("_"):
            return import_module(f"{package}.{name}")
        if module is None:
            from ._deprecated import old_names

            return old_names(package, stacklevel=3)(name)
        value: object = getattr(import_module(f"{package}.{module}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get
