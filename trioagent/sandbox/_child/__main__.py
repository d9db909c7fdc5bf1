"""Run by path, ``python -S -B -s -P __main__.py CONTROL_FD SETTINGS``: load this folder as a package and serve forks.

The package gets a private name, so that neither a block's ``import`` nor the host's package meets it.
"""

import importlib.util
import os
import sys

PACKAGE = "_trioagent_child"


def load_by_path(name: str, folder: str) -> None:
    """Import the package in *folder* under *name*, without its parents and without touching ``sys.path``."""
    spec = importlib.util.spec_from_file_location(
        name, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    load_by_path(PACKAGE, os.path.dirname(os.path.abspath(__file__)))
    zygote = importlib.import_module(f"{PACKAGE}.zygote")
    zygote.main(int(sys.argv[1]), sys.argv[2])
