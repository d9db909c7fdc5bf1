"""Run by path, ``python __main__.py ROLE ARGUMENT...``: ``warden CONTROL_FD SETTINGS`` or ``launch SETTINGS``.

The modules here import each other, the tools and parts of the kernel tier's child relatively. The packages in between
would bring trio and httpx along, so empty ones of another name stand in for them.
"""

import importlib
import os
import sys
import types

PACKAGE = "_trioagent"


def stand_in() -> None:
    """Make packages without contents for ``trioagent``, ``trioagent.sandbox`` and ``trioagent.sandbox._monty``."""
    monty = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    sandbox = os.path.dirname(monty)
    for name, folder in (
        (PACKAGE, os.path.dirname(sandbox)),
        (f"{PACKAGE}.sandbox", sandbox),
        (f"{PACKAGE}.sandbox._monty", monty),
    ):
        module = types.ModuleType(name)
        module.__path__ = [folder]
        sys.modules[name] = module


if __name__ == "__main__":
    stand_in()
    importlib.import_module(f"{PACKAGE}.sandbox._monty.inside.{sys.argv[1]}").main(*sys.argv[2:])
