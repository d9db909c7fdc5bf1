"""Run by path in a bare interpreter: ``python __main__.py MODULE ARGUMENT...`` calls ``main`` of a module in here.

The modules keep the names that they have in the host, so they import each other and ``trioagent.tools`` as usual; the
packages around them import lazily (see :mod:`trioagent._lazy`). Only the package itself is made importable, not its
parent folder, whose other packages would be importable too.
"""

from __future__ import annotations

import _imp
import importlib.machinery
import importlib.util
import os
import sys
from typing import Any


def load_package(name: str, folder: str) -> None:
    """Import the package in *folder* under *name*, without touching ``sys.path``."""
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def hide_places(package: str) -> None:
    """Make code that is imported from here on report only file names relative to *package*, not where it is installed.

    Blocks see file names in tracebacks and in every function. The name is set when code is loaded.
    """
    vars(_imp)["_fix_co_filename"](sys._getframe(1).f_code, "<trioagent>/sandbox/_guest/__main__.py")
    loading: Any = importlib.machinery.SourceFileLoader.get_code.__globals__
    library = os.path.dirname(os.__file__)
    compile_bytecode, to_code = loading["_compile_bytecode"], loading["SourceLoader"].source_to_code

    def neutral(path: Any) -> Any:
        for root, shown in ((package, "<trioagent>"), (library, "<library>")):
            if isinstance(path, str) and path.startswith(root):
                return shown + path[len(root) :]
        return path

    loading["_compile_bytecode"] = lambda data, name=None, bytecode_path=None, source_path=None: compile_bytecode(
        data, name, None, neutral(source_path)
    )
    loading["SourceLoader"].source_to_code = lambda self, data, path, **options: to_code(
        self, data, neutral(path), **options
    )


if __name__ == "__main__":
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    hide_places(root)
    load_package("trioagent", root)
    del root  # a block can inspect the frames that it runs in
    importlib.import_module(f"trioagent.sandbox._guest.{sys.argv[1]}").main(*sys.argv[2:])
