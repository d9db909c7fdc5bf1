"""SECURITY.md's table of limits says what the code has, and names tests that exist."""

from __future__ import annotations

import ast
import importlib
import re
from importlib.util import find_spec
from pathlib import Path

import attrs
import pytest

from trioagent import _config
from trioagent.sandbox._indexes import IndexBounds
from trioagent.sandbox._note_grants import GrantBounds
from trioagent.server import ServerLimits

TESTS = Path(__file__).parent
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (TESTS.parent / "SECURITY.md").read_text().partition("\n## Limits\n")[2].splitlines()
    if line.startswith("| ") and not line.startswith("| limit")
]
UNITS = {"": 1, "MiB": _config.MIB}
CONSTANTS = [(match[1], row[1]) for row in ROWS if (match := re.search(r"`([a-z_.]+\.[A-Z_]+)`$", row[0]))]
COMPLETE = (_config.MemoryLimits, ServerLimits, GrantBounds)
# Of these, only what bounds something is a limit.
OTHERS = {
    _config.SandboxLimits: {field.name for field in attrs.fields(_config.SandboxLimits)} - {"python"},
    IndexBounds: {"memories", "total_bytes", "folders"},
    _config.AgentConfig: {"max_tool_turns", "message_chars"},
    _config.RetryPolicy: {"attempts", "max_delay", "max_retry_after"},
    _config.RateLimits: {"max_in_flight", "max_idle"},
    _config.ModelConfig: {"connect_seconds", "silence_seconds"},
    _config.BatchConfig: {
        "max_concurrent", "deadline", "max_tool_turns", "max_tokens_total", "max_cost", "grace_seconds",
    },
}  # fmt: skip


def amount(text: str) -> int | None:
    number, _, unit = text.partition(" ")
    return None if text == "none" else int(number) * UNITS[unit]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_tests_that_it_names_exist(row: list[str]) -> None:
    named = re.findall(r"`([^`]+)::(\w+)`", row[3])
    assert named
    for file, test in named:
        functions = ast.walk(ast.parse((TESTS / file).read_text()))
        assert test in {node.name for node in functions if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("settings", [*COMPLETE, *OTHERS])
def test_the_defaults_are_the_codes(settings: type[attrs.AttrsInstance]) -> None:
    said = {
        match[1]: amount(row[1]) for row in ROWS if (match := re.fullmatch(rf"`{settings.__name__}\.(\w+)`", row[0]))
    }
    fields = {field.name: field.default for field in attrs.fields(settings)}
    assert said == {name: fields[name] for name in OTHERS.get(settings, fields.keys())}


@pytest.mark.parametrize(("name", "default"), CONSTANTS)
def test_the_constants_are_the_codes(name: str, default: str) -> None:
    module, _, constant = name.rpartition(".")
    if "_monty" in module and find_spec("pydantic_monty") is None:
        pytest.skip("the monty extra is not installed")
    assert getattr(importlib.import_module(f"trioagent.{module}"), constant) == amount(default)


def test_each_limit_is_looked_at() -> None:
    """But for those that no one name in the code stands for."""
    settings = [row for row in ROWS if re.fullmatch(r"`\w+\.\w+`", row[0])]
    in_words = [row[0] for row in ROWS if "`" not in row[0]]
    assert len(settings) + len(CONSTANTS) + len(in_words) == len(ROWS)
    assert len(in_words) == 2, in_words
