"""The gates find what they must find: a check that checks nothing would always pass."""

from __future__ import annotations

import inspect
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

import trioagent
from gates import checkpoints, coverage_floors, module_state, patched_names, pythons, readme, unused_names
from gates.public_types import problems
from gates.surface import PACKAGE, ROOT, exported_names, public_modules
from trioagent.testing import serve_model


def report(*symbols: dict[str, Any]) -> dict[str, Any]:
    return {
        "typeCompleteness": {"symbols": list(symbols)},
        "generalDiagnostics": [{"message": "No py.typed file found"}],
    }


def symbol(name: str, **other: Any) -> dict[str, Any]:
    return {"name": name, "isTypeKnown": True, "isTypeAmbiguous": False, "diagnostics": [], **other}


def test_public_types_names_what_was_not_looked_at() -> None:
    (line,) = problems(report())
    assert "run_batch" in line and "No py.typed" in line
    assert problems(report(*(symbol(f"trioagent._x.{name}") for name in exported_names()))) == []


def test_public_types_names_what_is_incomplete() -> None:
    seen = [symbol(f"trioagent._x.{name}") for name in exported_names()]
    vague = symbol("trioagent._x.A.b", isTypeAmbiguous=True, diagnostics=[{"message": "no\n annotation"}])
    unknown = symbol("trioagent._x.c", isTypeKnown=False)
    assert problems(report(*seen, vague, unknown)) == [
        "trioagent._x.A.b: no annotation",
        "trioagent._x.c: its type is not fully known",
    ]


def test_exported_names_are_attributes() -> None:
    names = exported_names()
    assert len(names) == len(set(names)) > 50
    assert all(hasattr(trioagent, name) for name in names)
    assert {"trioagent", "trioagent.sft", "trioagent.nursery_runner"} <= set(public_modules())


def test_public_async_functions_promise_checkpoints() -> None:
    promised = checkpoints.promised()
    for function in (trioagent.Agent.chat, trioagent.run_batch, trioagent.open_runner, serve_model):
        code = inspect.unwrap(function).__code__
        assert (code.co_filename, code.co_firstlineno) in promised


@pytest.mark.parametrize(("body", "expected"), [("return 1", 1), ("await trio.sleep(0)", 0)])
def test_a_way_out_without_checkpoint_is_found(
    body: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not Path(sys.executable).with_name("flake8-async").exists():
        pytest.skip("the linters are not installed in this environment")
    path = tmp_path / "module.py"
    path.write_text(
        f"import trio\n\n\n@decorated\nasync def public():\n    {body}\n\n\nasync def private():\n    pass\n"
    )
    monkeypatch.setattr(checkpoints, "PACKAGE", tmp_path)
    monkeypatch.setattr(checkpoints, "promised", lambda: {(str(path), 4)})
    assert checkpoints.main() == expected
    assert capsys.readouterr().out.count("ASYNC910") == expected


STATE = """
import threading
from functools import lru_cache
from .other import TABLE

NUMBERS = {"one": 1}
NUMBERS["two"] = 2
_seen = []
_last = None
_count = itertools.count()


class Changing:
    def __init__(self):
        self.value = 0


@attrs.frozen
class Frozen:
    value: int = 0


_changing, _frozen = Changing(), Frozen()


def note(name):
    global _last
    _last = NUMBERS[name]
    _seen.append(name)
    TABLE[name] = _last


@lru_cache(maxsize=8)
def remembered(name):
    trio.lowlevel.spawn_system_task(note)
"""


def test_what_changes_after_the_import_is_found(tmp_path: Path) -> None:
    (tmp_path / "_module.py").write_text(STATE)
    (tmp_path / "other.py").write_text("TABLE = {}\nOTHER = {}\n")
    found = {f"{path}: {name}" for path, _, name in module_state.found(tmp_path)}
    names = ("_seen", "_count", "_changing", "global _last", "remembered", "spawn_system_task")
    assert found == {*(f"_module.py: {name}" for name in names), "other.py: TABLE"}


PATCHES = """
import os
from trioagent import _files as files
from trioagent._runs._journal import Journal
from .support import helper

def test(monkeypatch, tier):
    monkeypatch.setattr(os, "replace", None)
    monkeypatch.setattr(tier, "_run_once", None)
    monkeypatch.setattr(files, "renameat2", None)
    monkeypatch.setattr("trioagent.memory._lease._NESTED", 0.2)
    monkeypatch.setattr(helper, "_seconds", 1)
    setattr(files, tier, None)
    Journal.begin = None
    files.TABLE["x"] = 1
    tier._zygotes = None
    tier.indexes = None
"""


def test_names_that_a_test_sets_are_found(tmp_path: Path) -> None:
    (tmp_path / "test_x.py").write_text(PATCHES)
    assert [name for _, _, name in sorted(patched_names.found((tmp_path,)))] == [
        "tier._run_once",
        "trioagent._files.renameat2",
        "trioagent.memory._lease._NESTED",
        "trioagent._files.*",
        "trioagent._runs._journal.Journal.begin",
        "trioagent._files.TABLE[…]",
        "tier._zygotes",
    ]


def test_names_that_nothing_names_are_found(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "testing").mkdir(parents=True)
    (package / "_a.py").write_text("def used(): ...\ndef unused(): used()\ndef documented(): ...\nLIMIT = 1\n")
    (package / "testing" / "_b.py").write_text("def for_others(): ...\n")
    (tmp_path / "README.md").write_text("`documented`\n")
    assert [name for _, _, name in unused_names.found(package, tmp_path)] == ["unused", "LIMIT"]


def test_every_pattern_of_the_coverage_floors_matches_a_file() -> None:
    files = [str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")]
    patterns = [*coverage_floors.PURE, *coverage_floors.GUEST]
    assert [pattern for pattern in patterns if not any(fnmatch(file, pattern) for file in files)] == []
    assert {coverage_floors.kind(file) for file in files} == {"pure", "host", "guest"}


def test_coverage_counts_lines_and_branches() -> None:
    half = {"num_statements": 6, "num_branches": 4, "covered_lines": 4, "covered_branches": 1}
    assert coverage_floors.percent([half]) == 50.0
    assert coverage_floors.percent([]) == 0.0


def test_this_interpreter_is_among_those_found() -> None:
    if sys.version_info[1] not in pythons.MINORS:
        pytest.skip("a newer interpreter than the supported ones")
    assert sys.version_info[1] in pythons.interpreters()


def test_left_out_of_the_core_are_tests_that_exist() -> None:
    for name in (*pythons.CORE, *pythons.LEFT_OUT):
        path, _, function = name.partition("::")
        assert (ROOT / path).exists(), name
        assert not function or f"def {function}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_the_readme_installs_before_anything_else() -> None:
    lines = readme.commands().splitlines()
    assert lines[:3] == ["python3 -m venv .venv", ". .venv/bin/activate", "pip install ."]
    assert any(line.startswith("trioagent run ") for line in lines)
    assert not any(line.startswith("make test") for line in lines)


@pytest.mark.real
def test_make_knows_every_target_of_ci() -> None:
    targets = [line.split()[1] for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make ")]
    assert "test" in targets
    subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
