"""``import agent``: in this process, and for programs that are run by ``python -m trioagent.compat``."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from trioagent import InvalidInputError, compat
from trioagent.compat import install, uninstall

from .support import SECONDS, environment

MODULES = [
    "agent", "agent.agent", "agent.async_agent", "agent.async_agent.async_agent", "agent.async_agent.async_model",
    "agent.async_agent.async_engine", "agent.async_agent.async_sft_adapter", "agent.engine", "agent.model",
    "agent.schemas", "agent.settings", "agent.tools", "agent.utils",
]  # fmt: skip


@pytest.fixture
def _installed() -> Iterator[None]:
    install()
    yield
    uninstall()


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("name", MODULES)
def test_the_same_modules(name: str) -> None:
    alias = importlib.import_module(name)
    real = importlib.import_module("trioagent.compat" + name.removeprefix("agent"))
    assert alias is real
    assert sys.modules[name] is real
    assert real.__spec__ is not None
    assert real.__name__ == real.__spec__.name == "trioagent.compat" + name.removeprefix("agent")


@pytest.mark.parametrize("name", ["agent", "engine", "model", "schemas", "settings", "tools", "utils"])
def test_importing_all_of_a_module_gives_its_own_names(name: str) -> None:
    module = importlib.import_module(f"trioagent.compat.{name}")
    given: dict[str, object] = {}
    exec(f"from {module.__name__} import *", given)
    assert given.keys() - {"__builtins__"} == set(module.__all__)
    assert "MAX_TOOL_TURNS" in given or name != "settings"  # those that are read on access are given too


@pytest.mark.usefixtures("_installed")
def test_what_is_not_there() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"agent\.nothing"):
        importlib.import_module("agent.nothing")


def test_install_is_idempotent_and_can_be_undone() -> None:
    before = list(sys.meta_path)
    install()
    install()
    assert len(sys.meta_path) == len(before) + 1
    assert importlib.import_module("agent") is compat
    install()
    uninstall()
    uninstall()
    assert sys.meta_path == before
    assert not any(name.partition(".")[0] == "agent" for name in sys.modules)


def test_another_agent_is_there_already(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModuleType("agent")
    other.__file__ = "/theirs/agent/__init__.py"
    monkeypatch.setitem(sys.modules, "agent", other)
    with pytest.raises(InvalidInputError, match="/theirs/agent"):
        install()


def run(
    folder: Path, source: str, *arguments: str, launcher: bool = True, module: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run *source* by the launcher, or by Python itself."""
    (folder / "scripts").mkdir(exist_ok=True)
    script = folder / "scripts" / "theirs.py"
    script.write_text(textwrap.dedent(source))
    what = ["-m", "scripts.theirs"] if module else [str(script)]
    return subprocess.run(
        [sys.executable, *(["-m", "trioagent.compat"] if launcher else []), *what, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment(folder),
        timeout=SECONDS,
    )


SAME = """
    import os, sys
    def main():
        print(__name__, sys.argv[1:], os.path.basename(sys.argv[0]), __spec__ and __spec__.name)
        print(os.path.basename(sys.path[0]), os.path.basename(__file__), sys.modules["__main__"].main is main)
        {end}
    if __name__ == "__main__":
        main()
"""


@pytest.mark.real
@pytest.mark.parametrize(
    ("module", "end"),
    [
        (False, "sys.exit(7)"),
        (False, "1 / 0"),
        (True, "1 / 0"),
        (False, "raise KeyboardInterrupt"),
        (False, "sys.exit('so')"),
    ],
)
def test_programs_run_as_ever(tmp_path: Path, module: bool, end: str) -> None:
    """Output, exit code and traceback are those of Python itself."""
    ours, theirs = (
        run(tmp_path, SAME.format(end=end), "a", "-b", launcher=launcher, module=module) for launcher in (True, False)
    )
    assert ours.stdout == theirs.stdout
    assert ours.returncode == theirs.returncode
    runpy = [line for line in theirs.stderr.splitlines() if "runpy" in line]
    assert ours.stderr.splitlines() == [line for line in theirs.stderr.splitlines() if line not in runpy]
    if "Keyboard" in end:
        assert ours.returncode == -signal.SIGINT


@pytest.mark.real
def test_a_script_that_is_named_as_seen_from_here(tmp_path: Path) -> None:
    """Its argument stays as it is, its file is absolute, in tracebacks too."""
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "theirs.py").write_text("import sys\nprint(__file__, sys.argv)\n1 / 0\n")
    ours, theirs = (
        subprocess.run(
            [sys.executable, *launcher, "below/theirs.py", "a"],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment(tmp_path),
            timeout=SECONDS,
        )
        for launcher in (["-m", "trioagent.compat"], [])
    )
    assert (ours.stdout, ours.stderr, ours.returncode) == (theirs.stdout, theirs.stderr, theirs.returncode)


@pytest.mark.real
def test_a_program_written_for_agent(tmp_path: Path) -> None:
    (tmp_path / "scripts" / "agent").mkdir(parents=True)
    (tmp_path / "scripts" / "agent" / "__init__.py").write_text("raise AssertionError('the old copy')")
    done = run(
        tmp_path,
        """
        import asyncio
        from agent.agent import Agent
        from agent.async_agent import AsyncAgent
        from agent.schemas import ChatMessage, Role
        from agent.settings import MAX_TOOL_TURNS
        Agent(memory_path="m").chat("My sister Ada lives in Paris.")
        print(asyncio.run(AsyncAgent(memory_path="m").chat("Where does Ada live?")).reply)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout
    assert (tmp_path / "memory" / "m" / "user.md").exists()
    assert done.stderr.startswith("no model is configured")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.real
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [([], 2, "usage:"), (["-x"], 2, "usage:"), (["missing.py"], 2, "can't open file"), (["--help"], 0, "")],
)
def test_usage(tmp_path: Path, arguments: list[str], code: int, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trioagent.compat", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(tmp_path),
        timeout=SECONDS,
    )
    assert done.returncode == code
    assert words in done.stderr
