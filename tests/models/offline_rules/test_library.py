"""The package that blocks import: on the standard library alone, and usable by any block."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from trioagent.models.offline_rules import library
from trioagent.sandbox import open_sandbox
from trioagent.tools import make_tools

SOURCES = sorted(Path(library.__file__).parent.glob("**/*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_imports_only_itself_and_the_standard_library(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 1 or (node.level == 0 and (node.module or "").split(".")[0] in sys.stdlib_module_names)
        elif isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= sys.stdlib_module_names


def test_operations_are_carried_out_in_order(tmp_path: Path) -> None:
    tools = make_tools(str(tmp_path))
    put = {"op": "put", "who": "me", "key": "City", "how": "set", "alias": [["citi"]]}
    done = library.update_notes([{**put, "value": "Oslo"}, {**put, "value": "Rome"}], tools=tools)
    assert done == {
        "saved": [{"note": "user.md", "text": "- **City**: Oslo", "old": ""}],
        "changed": [{"note": "user.md", "text": "- **City**: Rome", "old": "Oslo"}],
        "removed": [],
        "known": [],
        "missed": [],
        "failed": [],
    }
    assert "- **City**: Rome\n" in (tmp_path / "user.md").read_text()


@pytest.mark.real
async def test_a_block_imports_it_in_the_sandbox_where_it_was_not_loaded_before(tmp_path: Path) -> None:
    code = """
import sys
early = [name for name in sys.modules if name.startswith("offline_rules")]
from offline_rules import update_notes
first = sorted(name for name in sys.modules if name.startswith("offline_rules"))
changes = update_notes([{"op": "note", "text": "the key is under the mat"}], tools=globals())
missed = update_notes([{"op": "drop", "words": ["boat"], "text": "boat"}], tools=globals())["missed"]
"""
    async with open_sandbox() as sandbox:
        result = await sandbox.run(code, memory_path=tmp_path)
    assert result.error == ""
    assert result.locals["early"] == "[]"
    assert result.locals["first"] == "['offline_rules', 'offline_rules._notes', 'offline_rules._words']"
    assert result.locals["missed"] == "['boat']"
    assert "- the key is under the mat\n" in (tmp_path / "user.md").read_text()
