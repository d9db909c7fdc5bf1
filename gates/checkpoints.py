"""``python -m gates.checkpoints``: every public async function is a checkpoint on each of its ways out.

Trio's own rule, and what `docs/reference.md` promises: an await of a public function can be cancelled and lets other
tasks run, whether or not it has to wait. flake8-async's ASYNC910 and ASYNC911 find the ways out that have none (ruff
lacks these two rules). Functions that only this package calls promise nothing: a fast path there may return at once.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .surface import PACKAGE, exported_names, public_modules

# Not Trio's to promise: asyncio's side of the bridge, the program, and code without `async`.
_EXEMPT = ("trioagent.compat", "trioagent.cli", "trioagent.tools")
_FINDING = re.compile(r"(?P<path>[^:]+):(?P<line>\d+):\d+: (?P<words>ASYNC91[01] .*)")


def promised() -> set[tuple[str, int]]:
    """File and first line of each public async function and method."""
    found = set()
    for name in public_modules():
        if name.startswith(_EXEMPT):
            continue
        for value in _public(importlib.import_module(name)):
            for function in _methods(value) if inspect.isclass(value) else [value]:
                inner = inspect.unwrap(getattr(function, "__func__", function))
                if inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner):
                    found.add((inner.__code__.co_filename, inner.__code__.co_firstlineno))
    return {(path, line) for path, line in found if Path(path).is_relative_to(PACKAGE)}


def _public(module: ModuleType) -> Iterator[Any]:
    """A module's public values: those it exports, or all functions and classes that it defines under a public name."""
    path = Path(str(module.__file__))
    names = exported_names(path) if path.name == "__init__.py" else _defined(path)
    for name in getattr(module, "__all__", names):
        value = getattr(module, name)
        if not name.startswith("_") and callable(value):
            yield value


def _defined(path: Path) -> list[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node.name for node in ast.parse(path.read_text()).body if isinstance(node, kinds)]


def _methods(owner: type) -> Iterator[Any]:
    for name, value in inspect.getmembers_static(owner):
        if not name.startswith("_") and callable(getattr(value, "__func__", value)):
            yield value


def _enclosing(path: str, line: int) -> tuple[str, int] | None:
    """The innermost async function around a line: file and first line, its decorators included."""
    around = [
        node
        for node in ast.walk(ast.parse(Path(path).read_text()))
        if isinstance(node, ast.AsyncFunctionDef) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    if not around:
        return None
    inner = max(around, key=lambda node: node.lineno)
    return path, min([inner.lineno, *(decorator.lineno for decorator in inner.decorator_list)])


def main() -> int:
    functions = promised()
    files = sorted({path for path, _ in functions})
    command = [str(Path(sys.executable).with_name("flake8-async")), "--enable", "ASYNC910,ASYNC911", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    findings = [match for line in done.stdout.splitlines() if (match := _FINDING.fullmatch(line))]
    if done.stderr or (done.returncode and not findings):
        sys.exit(f"flake8-async ended with status {done.returncode}:\n{done.stdout}{done.stderr}")
    wrong = [match for match in findings if _enclosing(match["path"], int(match["line"])) in functions]
    for match in wrong:
        print(f"{Path(match['path']).relative_to(PACKAGE.parent)}:{match['line']}: {match['words']}")
    print(
        f"checkpoints: {len(functions)} public async functions in {len(files)} files, {len(wrong)} ways out without one"
    )
    return bool(wrong or not functions)


if __name__ == "__main__":
    sys.exit(main())
