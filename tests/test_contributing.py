"""Where CONTRIBUTING.md says a thing is, there it is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (?P<question>[^|]+) \| (?P<files>`[^|]+) \| (?P<names>`[^|]+) \|$", PAGE, re.MULTILINE)


def defined(path: Path) -> set[str]:
    """Names of functions, classes, methods and constants of a module, and what it takes from others to hand it on."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.ImportFrom(names=names):
                found |= {alias.asname for alias in names if alias.asname == alias.name and alias.asname}
    return found


@pytest.mark.parametrize(("question", "files", "names"), ROWS, ids=[row[0][:40] for row in ROWS])
def test_the_table_names_files_and_what_is_in_them(question: str, files: str, names: str) -> None:
    paths = re.findall(r"`([^`]+)`", files)
    found = {name for path in paths for name in defined(ROOT / path)}
    assert set(re.findall(r"`([^`]+)`", names)) <= found, question


def test_the_table_answers_what_strangers_ask() -> None:
    asked = " ".join(question for question, _, _ in ROWS)
    for words in ("a 429", "block import", "commit become durable", "tier added", "stops a batch"):
        assert words in asked


def test_every_path_on_the_page_is_there() -> None:
    paths = set(re.findall(r"`((?:trioagent|tests|docs|benchmarks|gates)/[\w/.-]+)`", PAGE))
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_make_target_on_the_page_is_one() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {target for page in ("CONTRIBUTING.md", "README.md") for target in commands(page)} <= targets


def commands(page: str) -> list[str]:
    return re.findall(r"(?:`|^)make ([\w-]+)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
