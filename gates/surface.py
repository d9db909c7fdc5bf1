"""What the package makes public: read from its source, so that nothing has to be imported to know it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "trioagent"


def exported_names(init: Path = PACKAGE / "__init__.py") -> list[str]:
    """The names that a package's ``__init__`` exports, in order: ``from .module import Name as Name``, lazy or not."""
    return [
        alias.name
        for node in ast.walk(ast.parse(init.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]


def public_modules(package: Path = PACKAGE) -> list[str]:
    """The importable modules that have no underscore in their path, by dotted name."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        if not any(part.startswith("_") for part in parts):
            found.append(".".join(parts))
    return found
