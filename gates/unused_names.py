"""``python -m gates.unused_names``: no function, method, class or constant is there for tests alone.

Seen are names of private modules that stand once in the package, where they are defined, and in none of the pages.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .allowed import compare
from .surface import PACKAGE, ROOT

# What stands once, and is called by somebody else: by file, relative to the package, and name.
ALLOWED = {
    "compat/schemas.py: ASSISTANT": "a member of the documented API's enumeration",
    "compat/_values.py: from_orm": "pydantic's interface, as programs of the documented API use it",
    "compat/_values.py: model_extra": "pydantic's interface",
    "compat/_values.py: schema_json": "pydantic's interface",
    "evals/suites/letta.py: FILESYSTEM": "found by the name of its suite",
    "sandbox/_guest/library.py: get_source": "the import system's interface",
    "sandbox/_guest/os_view.py: is_junction": "`os.DirEntry`'s interface",
    "server/_connections.py: _check_protocol": "replaces hypercorn's",
    "server/_connections.py: spawn_app": "hypercorn's interface",
    "server/_operations.py: to_string": "starlette's interface",
}
_PUBLIC = ("testing",)  # packages for tests of others


def found(package: Path = PACKAGE, pages: Path = ROOT) -> list[tuple[str, int, str]]:
    """File, line and name of everything that nothing names, the files relative to *package*."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(package.rglob("*.py"))}
    words = Counter(word for text in texts.values() for word in re.findall(r"\w+", text))
    read = [*(pages / "docs").rglob("*.md"), *pages.glob("*.md")]
    words.update(word for path in read if path.name != "CHANGELOG.md" for word in re.findall(r"\w+", path.read_text()))
    return [
        (str(path.relative_to(package)), line, name)
        for path, text in texts.items()
        if path.relative_to(package).parts[0] not in _PUBLIC
        for line, name in _defined(ast.parse(text))
        if words[name] == 1 and not name.startswith("__")
    ]


def _defined(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if not any(map(_registers, node.decorator_list)):
                yield node.lineno, node.name
        elif isinstance(node, ast.Assign):
            yield from (
                (node.lineno, each.id) for each in node.targets if isinstance(each, ast.Name) and each.id.isupper()
            )


def _registers(decorator: ast.expr) -> bool:
    """Whether a decorator makes its function known elsewhere, as those of commands do."""
    return isinstance(decorator, ast.Call) and isinstance(decorator.func, ast.Attribute) and decorator.func.attr in (
        "command", "group", "result_callback",
    )  # fmt: skip


def main() -> int:
    everything = ((f"{path}: {name}", line) for path, line, name in found())
    problem = "is named nowhere else; remove it, or move it to the tests that use it"
    return compare("unused names", everything, ALLOWED, problem=problem)


if __name__ == "__main__":
    sys.exit(main())
