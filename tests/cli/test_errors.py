"""How failures become a line and an exit code."""

from __future__ import annotations

import errno
import os

import click
import pytest

from trioagent._errors import InvalidInputError, MemoryPathError, ModelStatusError, SandboxUnavailableError
from trioagent.cli._errors import exit_code_of, line_and_code
from trioagent.cli._terminal import GlobalOptions

GROUP = BaseExceptionGroup("outer", [ValueError("a\nb"), BaseExceptionGroup("inner", [MemoryPathError("x", "is bad")])])


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (click.Abort(), "interrupted", 130),
        (click.UsageError("no such option"), "error: no such option", 2),
        (click.ClickException("no reply"), "error: no reply", 1),
        (InvalidInputError("message", "is empty"), "error: message: is empty", 2),
        (MemoryPathError("x", "is a file"), "error: the memory 'x' cannot be used: is a file", 1),
        (ModelStatusError(500), "error: the model's server answered with status 500", 1),
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.txt"),
            "error: a.txt: No such file or directory",
            1,
        ),
        (OSError("odd"), "error: odd", 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_each_kind_of_error(error: BaseException, line: str, code: int) -> None:
    assert line_and_code(error) == (line, code)


def test_a_defect_says_so_and_how_to_learn_more() -> None:
    line, code = line_and_code(KeyError("x"))
    assert code == 1
    assert "KeyError" in line
    assert "--debug" in line


def _fail(error: BaseException) -> object:
    raise error


def test_every_leaf_of_a_group_gets_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(lambda: _fail(GROUP), GlobalOptions(debug=False)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: unexpected ValueError: a b; ")
    assert lines[1] == "error: the memory 'x' cannot be used: is bad"


def test_an_interrupt_in_a_group_decides_the_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    error = BaseExceptionGroup("", [SandboxUnavailableError((("kernel", "no"),)), KeyboardInterrupt()])
    assert exit_code_of(lambda: _fail(error), GlobalOptions(debug=False)) == 130
    assert "interrupted" in capsys.readouterr().err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code_of(lambda: _fail(InvalidInputError("message", "is empty")), GlobalOptions(debug=True))
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("\nerror: message: is empty\n")


@pytest.mark.parametrize(("value", "debug"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_the_environment_can_ask_for_tracebacks(
    value: str | None, debug: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRIOAGENT_DEBUG", raising=False)
    if value is not None:
        monkeypatch.setenv("TRIOAGENT_DEBUG", value)
    assert GlobalOptions().debug is debug


@pytest.mark.parametrize(("result", "code"), [(None, 0), (0, 0), (3, 3)])
def test_what_a_command_returns_is_its_exit_code(result: int | None, code: int) -> None:
    assert exit_code_of(lambda: result, GlobalOptions(debug=False)) == code


@pytest.mark.parametrize(
    "error",
    [BrokenPipeError(), SystemExit(1), BaseExceptionGroup("", [BaseExceptionGroup("", [SystemExit(1)])])],
    ids=repr,
)
def test_a_reader_that_has_gone_is_not_worth_a_word(error: BaseException, capfd: pytest.CaptureFixture[str]) -> None:
    stdout = os.dup(1)
    try:
        assert exit_code_of(lambda: _fail(error), GlobalOptions(debug=False)) == 1
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    assert capfd.readouterr() == ("", "")
