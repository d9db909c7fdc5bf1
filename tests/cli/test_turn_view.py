"""What a turn looks like on the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trioagent._errors import ModelConnectionError
from trioagent._events import AgentEvent, Answered, CodeResult, CodeStarted, Replied
from trioagent._messages import AgentResponse, Usage
from trioagent._reply_parser import ReplyParser
from trioagent.cli._turn_view import TurnView
from trioagent.models import Retrying
from trioagent.sandbox import BlockResult


def answer(text: str, size: int = 3) -> list[AgentEvent]:
    """The events of one answer of the model, read in pieces of *size*."""
    parser = ReplyParser()
    events: list[AgentEvent] = [e for i in range(0, len(text), size) for e in parser.feed(text[i : i + size])]
    parsed, rest = parser.close()
    return [*events, *rest, Answered(parsed, Usage())]


def replied(reply: str) -> Replied:
    return Replied(AgentResponse(thoughts="", python_block="", reply=reply))


def result(error: str = "", saved: bool = False, values: dict[str, str] | None = None) -> CodeResult:
    return CodeResult(BlockResult(locals=values or {}, error=error, printed="", saved=saved, tier="kernel"))


def shown(events: list[AgentEvent], *, quiet: bool = False) -> str:
    file = io.StringIO()
    view = TurnView(Console(file=file, markup=False, highlight=False, soft_wrap=True), quiet=quiet)
    for event in events:
        view.show(event)
    view.close()
    return file.getvalue()


LOOK = "<think>\nLook it up.\n</think>\n<python>\nuser = read_file('user.md')\n</python>"
SAY = "<think>\nFound it.\n</think>\n<python></python>\n<reply>\nIn Berlin.\n\nSince May.\n</reply>"


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_a_whole_turn(size: int) -> None:
    events = [
        *answer(LOOK, size),
        CodeStarted("user = read_file('user.md')"),
        result(values={"user": "'- city: Berlin\\n'"}),
        *answer(SAY, size),
        replied("In Berlin.\n\nSince May."),
    ]
    assert shown(events) == (
        "Look it up.\n"
        "  > user = read_file('user.md')\n"
        "  = ok (kernel); user = '- city: Berlin\\n'\n"
        "Found it.\n"
        "In Berlin.\n\nSince May.\n"
    )
    assert shown(events, quiet=True) == "In Berlin.\n\nSince May.\n"


def test_a_reply_beside_code_waits_for_the_code() -> None:
    both = "<think>t</think><python>create_file('a.md')</python><reply>Saved.</reply>"
    failed = [
        *answer(both),
        CodeStarted("create_file('a.md')"),
        result(error="ValueError: no. Nothing was saved."),
        *answer("<think>hm</think><python></python><reply>It did not work.</reply>"),
        replied("It did not work."),
    ]
    assert "Saved." not in shown(failed)
    assert "= failed, nothing saved: ValueError: no." in shown(failed)
    worked = [*answer(both), CodeStarted("create_file('a.md')"), result(saved=True), replied("Saved.")]
    assert shown(worked, quiet=True) == "Saved.\n"
    assert shown(worked).endswith("  = notes saved (kernel)\nSaved.\n")


def test_a_retry_starts_the_answer_again() -> None:
    error = ModelConnectionError("http://x/v1", "broken")
    half = answer(SAY)[:-4]
    text = shown([*half, Retrying(error, 0.5, 1), *answer(SAY), replied("In Berlin.\n\nSince May.")])
    assert "trying again in 0.5 s" in text
    assert text.endswith("Found it.\nIn Berlin.\n\nSince May.\n")


def test_long_code_and_values_are_cut() -> None:
    code = "\n".join(f"x{i} = {i}" for i in range(100))
    values = {f"x{i}": "1" * 5000 for i in range(100)}
    lines = shown([CodeStarted(code), result(values=values)]).splitlines()
    assert lines[2:5] == ["  > x2 = 2", "  > … 92 lines …", "  > x95 = 95"]
    assert lines[-1].endswith("and 94 more")
    assert max(map(len, lines)) < 1000


def test_nothing_in_a_turn_can_drive_the_terminal() -> None:
    evil = "\x1b]0;gotcha\x07\x9b2J"
    events = [
        *answer(f"<think>{evil}</think><python>x = '{evil}'</python>"),
        CodeStarted(f"x = '{evil}'"),
        result(error=f"Error: {evil}"),
        *answer(f"<think>t</think><reply>{evil}\r\nok</reply>"),
        replied(f"{evil}\r\nok"),
    ]
    text = shown(events)
    assert not any((ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 for c in text)
    assert "\\x1b]0;gotcha\\x07\\x9b2J\nok\n" in text


def test_stopping_in_the_middle_ends_the_line() -> None:
    assert shown(answer("<think>Thinking of")[:-1]) == "Thinking of\n"
