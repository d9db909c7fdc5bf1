"""``python -m gates.patched_names``: tests set no name of the package's modules and classes, but for those here.

What a test has to choose is an argument; what it has to see fail, it makes fail: by real files, processes and kills, or
by the system's own functions (those of `os` and the like) where nothing real can be had.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from .allowed import compare
from .surface import ROOT

# What is set, and why: by file, relative to the repository, and name.
ALLOWED = {
    "tests/compat/test_interop.py: task._log_destroy_pending": "asyncio's own",
    "tests/memory/support.py: trioagent.memory._fsops.*": (
        "the module whose functions stand for single file operations, so that tests can count them and fail at each"
    ),
    "tests/sandbox/test_frames.py: trioagent.sandbox._frames.decode": (
        "a machine so busy that it takes longer to decode a reply than its block may run"
    ),
}
_SETTERS = ("setattr", "delattr", "setitem", "delitem")


def found(folders: tuple[Path, ...] = (ROOT / "tests", ROOT / "benchmarks")) -> list[tuple[Path, int, str]]:
    """File, line and name of everything of the package that is set, and of every private attribute of an object."""
    files = sorted(path for folder in folders for path in folder.rglob("*.py"))
    return [(path, line, name) for path in files for line, name in _of_file(ast.parse(path.read_text("utf-8")))]


def _of_file(tree: ast.Module) -> Iterator[tuple[int, str]]:
    homes = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            for name in _set_by(node, homes):
                yield node.lineno, name
        elif isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.ctx, (ast.Store, ast.Del)):
            name = _dotted(node, homes)
            ours = name.startswith(("tests.", "benchmarks."))
            if name.startswith("trioagent.") or (_is_private_of_another(node) and not ours):
                yield node.lineno, name


def _imported(tree: ast.Module) -> dict[str, str]:
    """What each name that a file imports stands for."""
    homes: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            start = f"tests.{node.module}" if node.level else node.module
            homes |= {alias.asname or alias.name: f"{start}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            homes |= {(alias.asname or alias.name).partition(".")[0]: alias.name for alias in node.names}
    return homes


def _set_by(call: ast.Call, homes: dict[str, str]) -> Iterator[str]:
    """What a call of ``setattr``, ``monkeypatch.setattr``, ``mock.patch`` and their kind sets."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name not in (*_SETTERS, "patch", "object") or not call.args:
        return
    first, second = call.args[0], call.args[1] if len(call.args) > 1 else None
    if isinstance(first, ast.Constant) and isinstance(first.value, str):
        target = first.value
    elif isinstance(second, ast.Constant) and isinstance(second.value, str):
        target = f"{_dotted(first, homes)}.{second.value}"
    else:
        target = f"{_dotted(first, homes)}.*"
    part = target.rpartition(".")[2]
    is_private = name in ("setattr", "delattr") and part.startswith("_") and not part.startswith("__")
    if target.startswith("trioagent.") or (is_private and not target.startswith(("tests.", "benchmarks."))):
        yield target


def _dotted(node: ast.expr, homes: dict[str, str]) -> str:
    match node:
        case ast.Attribute(value=value, attr=attr):
            return f"{_dotted(value, homes)}.{attr}"
        case ast.Subscript(value=value):
            return f"{_dotted(value, homes)}[…]"
        case ast.Name(id=name):
            return homes.get(name, name)
    return "…"


def _is_private_of_another(node: ast.expr) -> bool:
    if not isinstance(node, ast.Attribute) or not node.attr.startswith("_") or node.attr.startswith("__"):
        return False
    return not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))


def main() -> int:
    everything = ((f"{path.relative_to(ROOT)}: {name}", line) for path, line, name in found())
    problem = "is set; make it an argument, or have it fail in earnest"
    return compare("patched names", everything, ALLOWED, problem=problem)


if __name__ == "__main__":
    sys.exit(main())
