"""What cannot work: each with its exit code, one clear line on stderr, and nothing changed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio

from .conftest import Run
from .support import Ended, notes_in, trioagent

RUN = ("run", "hi", "--model", "offline-rules")


def a_file(home: Path) -> None:
    (home / "notes").write_text("not a folder")


def a_link(home: Path) -> None:
    (home / "real").mkdir()
    (home / "notes").symlink_to("real")


def unreadable(home: Path) -> None:
    (home / "notes").mkdir(mode=0)


def nothing(home: Path) -> None:
    pass


def bad_prompts(home: Path) -> None:
    (home / "binary").write_bytes(b"\xff\xfe")
    (home / "empty").write_bytes(b"\n")


@attrs.frozen(kw_only=True)
class Case:
    """A command that must fail.

    Attributes:
        words: what the line on stderr must say.
        prepare: makes the files that the case needs.
    """

    arguments: tuple[str, ...]
    code: int
    words: tuple[str, ...]
    prepare: Callable[[Path], None] = nothing
    stdin: bytes = b""
    env: dict[str, str] = attrs.field(factory=dict)


NOTES = ("--memory", "notes")
CASES = {
    "no memory": Case(arguments=("run", "hi"), code=2, words=("--memory", "trioagent run --help")),
    "no message": Case(arguments=("run", *NOTES), code=2, words=("MESSAGE",)),
    "unknown command": Case(arguments=("rum",), code=2, words=("No such command 'rum'",)),
    "unknown option": Case(arguments=(*RUN, *NOTES, "--modle", "x"), code=2, words=("--modle", "--model")),
    "no key option": Case(arguments=(*RUN, *NOTES, "--api-key", "x"), code=2, words=("No such option", "--api-key")),
    "tool turns": Case(arguments=(*RUN, *NOTES, "--max-tool-turns", "-1"), code=2, words=("-1",)),
    "no prompt": Case(arguments=(*RUN, *NOTES, "--system-prompt", "gone"), code=2, words=("gone", "does not exist")),
    "binary prompt": Case(
        arguments=(*RUN, *NOTES, "--system-prompt", "binary"), code=2, words=("not UTF-8",), prepare=bad_prompts
    ),
    "empty prompt": Case(
        arguments=(*RUN, *NOTES, "--system-prompt", "empty"), code=2, words=("empty",), prepare=bad_prompts
    ),
    "memory is a file": Case(arguments=(*RUN, *NOTES), code=1, words=("it is a file",), prepare=a_file),
    "chat in a file": Case(
        arguments=("chat", *NOTES),
        code=1,
        words=("it is a file",),
        prepare=a_file,
        env={"TRIOAGENT_MODEL": "offline-rules"},
    ),
    "memory is a link": Case(arguments=(*RUN, *NOTES), code=1, words=("symbolic link to 'real'",), prepare=a_link),
    "memory is empty": Case(arguments=(*RUN, "--memory", ""), code=2, words=("is empty",)),
    "memory unreadable": Case(arguments=(*RUN, *NOTES), code=1, words=("permissions",), prepare=unreadable),
    "empty message": Case(arguments=("run", " ", *NOTES, "--model", "offline-rules"), code=2, words=("is empty",)),
    "empty stdin": Case(arguments=("run", "-", *NOTES, "--model", "offline-rules"), code=2, words=("is empty",)),
    "NUL in the message": Case(
        arguments=("run", "-", *NOTES, "--model", "offline-rules"), code=2, words=("NUL at position 1",), stdin=b"a\0b"
    ),
    "message not UTF-8": Case(
        arguments=("run", "-", *NOTES, "--model", "offline-rules"),
        code=2,
        words=("Unicode at position 1",),
        stdin=b"a\xffb",
    ),
    "message of 1 MB": Case(
        arguments=("run", "-", *NOTES, "--model", "offline-rules"),
        code=2,
        words=("1,000,000 characters", "200,000"),
        stdin=b"x" * 1_000_000,
    ),
    "unknown model": Case(
        arguments=("run", "hi", *NOTES, "--model", "gpt-9"), code=2, words=("'gpt-9'", "offline-rules")
    ),
    "missing key": Case(
        arguments=("run", "hi", *NOTES, "--model", "openrouter:a/b"), code=2, words=("OPENROUTER_API_KEY",)
    ),
    "model with a bad URL": Case(
        arguments=("run", "hi", *NOTES, "--model", "m", "--base-url", "localhost:1"), code=2, words=("http://",)
    ),
    "URL without a model": Case(
        arguments=("run", "hi", *NOTES), code=2, words=("TRIOAGENT_MODEL",), env={"TRIOAGENT_BASE_URL": "http://x/v1"}
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input(case: Case, home: Path, run: Run) -> None:
    if case.prepare is unreadable and os.geteuid() == 0:
        pytest.skip("root may read everything")
    case.prepare(home)
    check(case, run(*case.arguments, stdin=case.stdin, env=case.env), home)


@pytest.mark.real
async def test_bad_input_as_processes(home: Path) -> None:
    """Some of them as what they are, beside a model that is down, which takes some seconds of retries."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_model_is_down, home)
        for name in ("unknown option", "memory is a file", "NUL in the message", "missing key"):
            await _as_a_process(CASES[name], home / name)


async def _as_a_process(case: Case, home: Path) -> None:
    home.mkdir()
    case.prepare(home)
    check(case, await trioagent(*case.arguments, home=home, stdin=case.stdin, env=case.env), home)


def check(case: Case, ended: Ended, home: Path) -> None:
    lines = [line for line in ended.err.splitlines() if not line.startswith("note: no model is configured")]
    assert (ended.code, ended.out, len(lines)) == (case.code, "", 1), ended
    assert lines[0].startswith("error: ")
    for words in case.words:
        assert words in lines[0]
    if (home / "notes").is_dir() and os.access(home / "notes", os.R_OK):
        assert notes_in(home / "notes") == {}


async def _model_is_down(home: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        (home / "notes").mkdir()
        ended = await trioagent("run", "hi", *NOTES, "--model", "m", "--base-url", url, home=home)
    lines = ended.err.splitlines()
    assert (ended.code, ended.out) == (1, "")
    assert all(line.startswith("note: ") and "trying again" in line for line in lines[:-1])
    assert lines[-1].startswith("error: no answer from the model at ")
    assert notes_in(home / "notes") == {}


def test_a_traceback_only_if_asked_for(run: Run, home: Path) -> None:
    a_file(home)
    options = (*NOTES, "--model", "offline-rules")
    for arguments, env in (
        (("run", "hi", *options, "--debug"), {}),
        (("--debug", "run", "hi", *options), {}),
        (("run", "hi", *options), {"TRIOAGENT_DEBUG": "1"}),
    ):
        ended = run(*arguments, env=env)
        assert ended.code == 1
        assert "Traceback (most recent call last)" in ended.err
        assert ended.err.splitlines()[-1].startswith("error: the memory ")


def test_a_key_is_never_shown(run: Run) -> None:
    env = {"TRIOAGENT_API_KEY": "sk-very-secret", "TRIOAGENT_MODEL": "gpt-9", "TRIOAGENT_DEBUG": "1"}
    for arguments in (("run", "hi", *NOTES), ("doctor",)):
        ended = run(*arguments, env=env)
        assert "gpt-9" in ended.out + ended.err
        assert "sk-very-secret" not in ended.out + ended.err
