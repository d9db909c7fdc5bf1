"""Where the ``monty`` extra lies: found without importing it, which would load asyncio and 10 MB into the host."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys

import attrs

from ._tier import TierStartError

VERSION = "1.4.0"
"""The one release this tier is made for; the extra pins it, since each release changes the interface."""

_ADVICE = "pip install trioagent[monty]"


@attrs.frozen
class Installed:
    """The interpreter's program, and the folders its Python client is imported from."""

    binary: str
    folders: tuple[str, ...]


def find() -> Installed:
    """Find the installed extra.

    Raises:
        TierStartError: it is not installed, or another release is.
    """
    try:
        found = (
            importlib.metadata.version("pydantic-monty-client"),
            importlib.metadata.version("pydantic-monty-runtime"),
        )
        files = importlib.metadata.files("pydantic-monty-runtime") or ()
    except importlib.metadata.PackageNotFoundError as error:
        raise TierStartError("monty", f"the package {error.name} is not installed: {_ADVICE}") from None
    if set(found) != {VERSION}:
        raise TierStartError("monty", f"pydantic-monty {found[0]} is installed, this tier needs {VERSION}: {_ADVICE}")
    program = "monty.exe" if sys.platform == "win32" else "monty"
    # By the package's own list, not by PATH or an environment variable: nobody else chooses what runs here.
    binaries = [os.path.realpath(str(file.locate())) for file in files if file.name == program]
    binaries = [binary for binary in binaries if os.access(binary, os.X_OK)]
    if not binaries:
        raise TierStartError("monty", f"the program of pydantic-monty-runtime is missing: {_ADVICE}")
    return Installed(binaries[0], _folders())


def _folders() -> tuple[str, ...]:
    folders: dict[str, None] = {}
    for name in ("pydantic_monty", "typing_extensions"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise TierStartError("monty", f"the module {name} cannot be found: {_ADVICE}")
        place = os.path.dirname(spec.origin)
        folders[os.path.dirname(place) if spec.submodule_search_locations else place] = None
    return tuple(folders)
