"""The process of one block for the asyncio agent: code on standard input, its variables as JSON on standard output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def create_file(file_path: str, content: str = "") -> bool:
    """Make a note."""
    Path(file_path).parent.mkdir(parents=True, exist_ok=True)
    Path(file_path).write_text(content)
    return True


def read_file(file_path: str) -> str:
    """A note's text."""
    return Path(file_path).read_text()


def list_files() -> list[str]:
    """The paths of all notes."""
    return sorted(str(path) for path in Path().rglob("*.md"))


def main() -> None:
    """Run the code in the folder that argv names."""
    os.chdir(sys.argv[-1])
    tools: dict[str, Any] = {"create_file": create_file, "read_file": read_file, "list_files": list_files}
    names, error = dict(tools), ""
    try:
        exec(sys.stdin.read(), names)
    except Exception as problem:  # noqa: BLE001  # it is the block's own affair
        error = repr(problem)
    kept = {name: repr(value) for name, value in names.items() if name not in tools and name != "__builtins__"}
    print(json.dumps([kept, error]))


if __name__ == "__main__":
    main()
