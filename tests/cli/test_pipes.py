"""A reader that goes away (``| head``) is no error worth a word."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .support import SECONDS, command, environment

pytestmark = pytest.mark.real

LONG = "word " * 50_000


@pytest.mark.parametrize(
    "arguments",
    [
        ("memory", "show", "notes", "long"),
        ("memory", "links", "notes", "long"),
        ("chat", "--memory", "notes", "--model", "offline-rules"),
    ],
    ids=lambda arguments: arguments[0] + arguments[1],
)
def test_a_reader_that_goes_away(arguments: tuple[str, ...], home: Path) -> None:
    (home / "notes").mkdir()
    (home / "notes" / "user.md").write_text("# Me\n")  # an agent's own memory, of which nothing is said
    (home / "notes" / "long.md").write_text(f"{LONG}\n" + "[[a]]\n" * 20_000)
    process = subprocess.Popen(
        command(*arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(home),
        cwd=home,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        if arguments[0] == "chat":
            process.stdout.close()
            process.stdin.write(b"My sister Ada lives in Lisbon.\n" * 3)
            process.stdin.close()
        else:
            assert len(process.stdout.read(80)) == 80
            process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(SECONDS) == 1
