"""``python -m gates.module_state``: nothing of a module changes after its import, but for what is listed here.

State that belongs to no object is shared by all runs, threads and tests of a process, and nobody can say when it ends.
Seen are: ``global`` statements, functions that remember what they returned, containers that something changes, objects
of classes that are not frozen, and system tasks. Context variables and run variables belong to a task or a run.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from .allowed import compare
from .surface import PACKAGE

# What there is, and why: by file, relative to the package, and name.
ALLOWED = {
    "_descriptors.py: _raised": "a limit of the process itself, which all of its runs and threads share",
    "_files.py: libc": "the C library: there is one",
    "_model_profile.py: _fitting": "a pure function",
    "_prompt.py: _built_in": "a pure function",
    "_redaction.py: _folded": "a pure function",
    "_redaction.py: _forms": "a pure function",
    "_runs/_pins.py: prompt_hash": "a pure function",
    "agent.py: _day_and_zone": "a pure function",
    "agent.py: _prompt_of": "a pure function",
    "agent.py: _system_message": "a pure function; so that one text is encoded once",
    "compat/_bridge.py: _process": "the bridge: programs without an event loop of ours have no scope that could own it",
    "compat/_bridge.py: global _process": "a forked process has a bridge of its own",
    "compat/_configuration.py: _current": "what `configure` says holds for the process, as the documented API has it",
    "evals/_porter.py: stem": "a pure function",
    "memory/_policy.py: access_rules": "a pure function",
    "models/_schema.py: _schema_of_class": "a pure function of a class",
    "models/_span.py: _of_server": "a pure function",
    "models/_streams.py: shared_ssl_context": "the system's certificates, 20 ms to read; nobody changes the context",
    "sandbox/_guest/layers.py: REAL": "set once, before the functions of `os` are replaced",
    "sandbox/_guest/monty/block.py: OFFERED": "set once, in a process that is a tool server and nothing else",
    "sandbox/_guest/os_view.py: current": "a block's own process: the functions of `os` take no further argument",
    "sandbox/_guest/zygote.py: _waiting": "a zygote's own process: whoever forks allocates nothing",
    "server/_page.py: page_files": "the files of the page that this package has",
    "server/_evaluations.py: _comparison": "by the stamps of the files that it is read from",
    "server/_evaluations.py: _scores": "by the stamps of the files that it is read from",
    "testing/_script.py: _say": "a pure function",
    "tools/_policy.py: _pattern": "a pure function",
    "tools/_results.py: quiet": "a block's own process: an audit hook takes no further argument",
}
_REMEMBERS = ("cache", "lru_cache")
_CONTAINERS = ("dict", "list", "set", "bytearray", "deque", "defaultdict", "OrderedDict", "Counter")
_LITERALS = (ast.Dict, ast.List, ast.Set, ast.DictComp, ast.ListComp, ast.SetComp)
_CHANGING = frozenset(
    "add append appendleft clear discard extend insert move_to_end pop popitem popleft remove reverse setdefault sort "
    "update difference_update intersection_update symmetric_difference_update".split()
)
# Classes of others whose objects do not change, or belong to a task or a run.
_UNCHANGED = frozenset(
    "ContextVar JSONDecoder MappingProxyType NewType ParamSpec Path PyDLL RunVar Struct TypeVar TypeVarTuple".split()
)
# Functions whose objects do change.
_CHANGED = frozenset("count cycle local poll".split())
_THEIR_MODULES = ("itertools", "select", "threading")
_FROZEN = ("frozen", "NamedTuple", "Enum", "Protocol", "TypedDict")


def found(package: Path = PACKAGE) -> list[tuple[str, int, str]]:
    """File, line and name of everything that may change, the files relative to *package*."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(package.rglob("*.py"))}
    frozen, changed = _frozen_classes(trees.values()), _changed_names(trees)
    return [
        (str(path.relative_to(package)), line, name)
        for path, tree in trees.items()
        for line, name in _of_module(path, tree, frozen, changed)
    ]


def _of_module(
    path: Path, tree: ast.Module, frozen: frozenset[str], changed: set[tuple[Path, str]]
) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield node.lineno, f"global {', '.join(node.names)}"
        elif isinstance(node, ast.Attribute) and node.attr == "spawn_system_task":
            yield node.lineno, "spawn_system_task"
    for statement in _statements(tree.body):
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            for function in statement.body if isinstance(statement, ast.ClassDef) else [statement]:
                if isinstance(function, ast.FunctionDef) and any(map(_remembers, function.decorator_list)):
                    yield function.lineno, function.name
            continue
        for name, value in _bindings(statement):
            is_container = isinstance(value, _LITERALS) or _called(value) in _CONTAINERS
            if (path, name) in changed if is_container else _may_change(value, frozen):
                yield statement.lineno, name


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Those of a module, also in its conditions."""
    for statement in body:
        yield statement
        if isinstance(statement, (ast.If, ast.Try, ast.With)):
            for part in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                yield from _statements(handler.body)


def _bindings(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    value = getattr(statement, "value", None)
    for target in targets:
        if isinstance(target, ast.Name) and value is not None:
            yield target.id, value
        elif isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            pairs = zip(target.elts, value.elts, strict=False)
            yield from ((each.id, part) for each, part in pairs if isinstance(each, ast.Name))


def _called(value: ast.expr) -> str:
    """The last part of the name of what *value* is a call of; "" if it is none."""
    if not isinstance(value, ast.Call):
        return ""
    function = value.func.value if isinstance(value.func, ast.Subscript) else value.func
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _remembers(decorator: ast.expr) -> bool:
    named = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")) in _REMEMBERS


def _may_change(value: ast.expr, frozen: frozenset[str]) -> bool:
    name, function = _called(value), getattr(value, "func", None)
    if isinstance(function, ast.Attribute) and not isinstance(function.value, ast.Name):
        return False
    is_class = name.lstrip("_")[:1].isupper() and not name.isupper() and name not in _UNCHANGED and name not in frozen
    of_a_module = not isinstance(function, ast.Attribute) or getattr(function.value, "id", "") in _THEIR_MODULES
    return is_class or (name in _CHANGED and of_a_module)


def _frozen_classes(trees: object) -> frozenset[str]:
    """The package's own classes whose objects do not change: frozen ones, and those without attributes of their own."""
    names = set()
    for tree in trees:  # type: ignore[attr-defined]
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                marks = [ast.unparse(each) for each in (*node.decorator_list, *node.bases)]
                sets = any(
                    isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store) for each in ast.walk(node)
                )
                fields = any(isinstance(each, ast.AnnAssign) for each in node.body)
                if any(word in mark for mark in marks for word in _FROZEN) or not (sets or fields):
                    names.add(node.name)
    return frozenset(names)


def _changed_names(trees: dict[Path, ast.Module]) -> set[tuple[Path, str]]:
    """By module, the names of containers that something changes: there, or in a module that imports them."""
    changed = set()
    for path, tree in trees.items():
        homes = {name: (path, name) for statement in _statements(tree.body) for name, _ in _bindings(statement)}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level and node.module:
                home = path.parents[node.level - 1].joinpath(*node.module.split(".")).with_suffix(".py")
                homes |= {alias.asname or alias.name: (home, alias.name) for alias in node.names}
        functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
        for node in (each for function in functions for each in ast.walk(function)):
            target: ast.expr | None = None
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
                target = node.value
            elif isinstance(node, ast.AugAssign):
                target = node.target
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGING:
                target = node.func.value
            if isinstance(target, ast.Name) and target.id in homes:
                changed.add(homes[target.id])
    return changed


def main() -> int:
    everything = ((f"{path}: {name}", line) for path, line, name in found())
    problem = "may change after the import; make it an argument, or an object's own"
    return compare("module state", everything, ALLOWED, problem=problem)


if __name__ == "__main__":
    sys.exit(main())
