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
        places: by module of the package, the names that the package takes from it, separated by blanks.

    Returns:
        A function that imports the requested name (one of those, or a public module of *places*) and caches it, serves
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
        platform: str = sys.platform  # a type checker assumes the platform that it runs on
        if platform != "win32":
            raise
        return _refusing(name)  # it needs POSIX
    return found


def _refusing(name: str) -> Callable[..., NoReturn]:
    """A placeholder for a name that cannot exist on Windows, so that a program can import it and get the reason."""

    def refuse(*args: object, **kwargs: object) -> NoReturn:
        from ._errors import SandboxUnavailableError

        words = f"{name} needs POSIX: Windows can neither lock a folder nor confine a block; run this under WSL"
        raise SandboxUnavailableError((("Windows", words),))

    refuse.__name__ = refuse.__qualname__ = name
    return refuse


def _claim(value: object, package: str) -> None:
    """Set the module of *value* to *package*: where users find it, not where it is defined."""
    module = getattr(value, "__module__", None)
    if not isinstance(module, str) or not module.startswith(f"{package}."):
        return  # a type alias
    if isinstance(value, type):
        # Annotations are strings, resolved in the module of the class, so resolve them before the module changes.
        names = vars(sys.modules[module])
        if hasattr(value, "__attrs_attrs__"):
            import attrs  # loaded already: attrs made the class

            attrs.resolve_types(value, names)
        hints = get_type_hints(value, names)
        own = vars(value).get("__annotations__", {})
        value.__annotations__ = {name: hints[name] for name in own}
    value.__module__ = package
