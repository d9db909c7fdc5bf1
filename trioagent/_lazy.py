"""Public names that are imported when they are first used (PEP 562). Standard library only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import NoReturn, get_type_hints


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
        value: object = _imported(package, module, name)
        _claim(value, package)
        setattr(sys.modules[package], name, value)
        return value

    return get


def _imported(package: str, module: str, name: str) -> object:
    try:
        found: object = getattr(import_module(f"{package}.{module}"), name)
    except (ImportError, AttributeError):
        platform: str = sys.platform  # which a type checker takes for the one that it runs on
        if platform != "win32":
            raise
        return _refusing(name)  # what it needs of POSIX is not there
    return found


def _refusing(name: str) -> Callable[..., NoReturn]:
    """Stands for a name that Windows cannot have, so that a program that imports it comes to read why."""

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        from ._errors import SandboxUnavailableError

        words = f"{name} needs POSIX: Windows can neither lock a folder nor confine a block; run this under WSL"
        raise SandboxUnavailableError((("Windows", words),))

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


def _claim(value: object, package: str) -> None:
    """Make *value* say that it is of *package*: where users find it, not where it happens to be defined."""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str) or not module.startswith(f"{package}."):
        return  # a type alias
    if isinstance(value, type):
        # Annotations are texts, which are looked up in the module of the class: so that is done before.
        names = vars(sys.modules[module])
        if hasattr(value, "__attrs_attrs__"):
            import attrs  # loaded already: the class is made with it

            attrs.resolve_types(value, names)
        hints = get_type_hints(value, names)
        own = vars(value).get("__annotations__", {})
        value.__annotations__ = {name: hints[name] for name in own}
    value.__module__ = package
