"""The history file."""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path

import pytest

from trioagent.cli._line_input import HISTORY_LINES, LineInput, history_path


@pytest.mark.parametrize(
    ("env", "path"),
    [
        ({}, "home/.local/state/trioagent/history"),
        ({"XDG_STATE_HOME": ""}, "home/.local/state/trioagent/history"),
        ({"XDG_STATE_HOME": "relative"}, "home/.local/state/trioagent/history"),
        ({"XDG_STATE_HOME": "/state"}, "/state/trioagent/history"),
    ],
)
def test_where_the_history_is(env: dict[str, str], path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert history_path(env) == Path(os.path.join(tmp_path, path))


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "stdin", Tty())
    return tmp_path / "state" / "history"


def type_line(line: str, lines: LineInput, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stdin", Tty(f"{line}\n"))
    return lines.read("")


def test_a_long_history_is_cut_when_it_is_loaded(history: Path) -> None:
    history.parent.mkdir()
    history.write_text("".join(f"line {i}\n" for i in range(2 * HISTORY_LINES + 1)))
    LineInput(history)
    kept = history.read_text().splitlines()
    assert (len(kept), kept[-1]) == (HISTORY_LINES, f"line {2 * HISTORY_LINES}")


def test_what_is_typed_is_appended_and_blank_lines_are_not(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = LineInput(history)
    for line in ("one", "  ", "two\udcff é"):
        assert type_line(line, lines, monkeypatch) == line
    assert history.read_text() == "one\ntwo? é\n"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["folder", "fifo", "file above"])
def test_a_history_that_is_none_is_said_once(
    kind: str, history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "file above":
        history.parent.write_text("x")
    else:
        history.parent.mkdir()
        (os.mkdir if kind == "folder" else os.mkfifo)(history)
    lines = LineInput(history)
    for line in ("one", "two"):
        assert type_line(line, lines, monkeypatch) == line
    assert capsys.readouterr().err.count("the history is not kept") == 1


def test_without_a_terminal_there_is_no_history(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\nlast"))
    lines = LineInput(history)
    assert not lines.interactive
    assert [lines.read("> "), lines.read("> ")] == ["one", "last"]
    with pytest.raises(EOFError):
        lines.read("> ")
    assert not history.exists()
