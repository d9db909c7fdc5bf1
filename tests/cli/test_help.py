"""What a newcomer sees first."""

from __future__ import annotations

from pathlib import Path

import pytest

from trioagent.cli._main import trioagent as group

from .conftest import Run
from .support import trioagent


@pytest.mark.parametrize("arguments", [(), ("-h",), ("--help",)])
def test_help(arguments: tuple[str, ...], run: Run) -> None:
    said = run(*arguments)
    assert (said.code, said.err) == (0, "")
    for name in group.commands:
        assert f"  {name} " in said.out
    assert 'trioagent run "I moved to Berlin." --memory notes' in said.out
    assert "Exit codes: " in said.out


@pytest.mark.real
async def test_version(home: Path) -> None:
    said = await trioagent("--version", home=home)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("trioagent 0.")


@pytest.mark.parametrize("name", ["chat", "run"])
def test_the_help_says_where_the_key_comes_from(name: str, run: Run) -> None:
    said = run(name, "--help")
    assert said.code == 0
    assert "TRIOAGENT_API_KEY" in said.out
    assert "--memory DIR" in said.out
    assert "Examples:" in said.out
