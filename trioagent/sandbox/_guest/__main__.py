"""Run by path in a bare interpreter: ``python __main__.py MODULE ARGUMENT...`` calls ``main`` of a module in here.

The modules keep the names that they have in the host, so they import each other and ``trioagent.tools`` as usual; the
packages around them import nothing before they are asked (see :mod:`trioagent._lazy`). Only the package itself is made
known, not the folder that it lies in, whose other packages would be importable too.
"""

import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


def load_package(name: str, folder: str) -> None:
    """Import the package in *folder* under *name*, without touching ``sys.path``."""
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    load_package("trioagent", ROOT)
    importlib.import_module(f"trioagent.sandbox._guest.{sys.argv[1]}").main(*sys.argv[2:])
