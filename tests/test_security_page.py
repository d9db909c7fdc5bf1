"""SECURITY.md's table of limits says what the code has, and names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import attrs
import pytest

from trioagent import _config

TESTS = Path(__file__).parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (TESTS.parent / "SECURITY.md").read_text().partition("\n## Limits\n")[2].splitlines()
    if line.startswith("| ") and not line.startswith("| limit")
]
UNITS = {"": 1, "MiB": _config.MIB}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_tests_that_it_names_exist(row: list[str]) -> None:
    named = re.findall(r"`([^`]+)::(\w+)`", row[3])
    assert named
    for file, test in named:
        functions = ast.walk(ast.parse((TESTS / file).read_text()))
        assert test in {node.name for node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("settings", [_config.SandboxLimits, _config.MemoryLimits])
def test_the_defaults_are_the_codes(settings: type[attrs.AttrsInstance]) -> None:
    said = {}
    for limit, default, *_ in ROWS:
        if match := re.fullmatch(rf"`{settings.__name__}\.(\w+)`", limit):
            number, _, unit = default.partition(" ")
            said[match[1]] = int(number) * UNITS[unit]
    assert said == {field.name: field.default for field in attrs.fields(settings)}
