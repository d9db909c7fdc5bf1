"""What `--review` asks and what becomes of the answers, and the line that says what is waited for; in this process."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from rich.console import Console

from trioagent.cli._review import QUESTION, WHY, TerminalReview, edit_text, nobody_to_ask
from trioagent.cli._spinner import Spinner
from trioagent.memory import NoteChange
from trioagent.sandbox import AcceptChanges, EditChanges, RejectChanges, ReviewPolicy, ReviewRequest

pytestmark = pytest.mark.real

CHANGES = (
    NoteChange("a.md", b"old\n", b"new\n"),
    NoteChange("b.md", None, b"made\n"),
    NoteChange("c.png", None, b"\xff"),
    NoteChange("d.md", b"gone", None),
)


def request(*changes: NoteChange) -> ReviewRequest:
    return ReviewRequest(code="x = 1", changes=changes or CHANGES, diff="-old\n+new", reads=())


class Answers:
    """Answers questions in order; None is the end of the input, an exception is raised."""

    def __init__(self, *answers: str | BaseException | None) -> None:
        self.asked: list[str] = []
        self._answers: Iterator[str | BaseException | None] = iter(answers)

    async def ask(self, prompt: str) -> str:
        self.asked.append(prompt)
        answer = next(self._answers)
        if answer is None:
            raise EOFError
        if isinstance(answer, BaseException):
            raise answer
        return answer


def review(answers: Answers, env: dict[str, str] | None = None, policy: str = "") -> TerminalReview:
    return TerminalReview(
        policy=ReviewPolicy.parse(policy),
        ask=answers.ask,
        interrupt=trio.sleep_forever,
        before=lambda: None,
        env=env or {},
    )


@pytest.mark.parametrize(
    ("answers", "decision"),
    [
        (["y"], AcceptChanges()),
        (["", "?", "YES"], AcceptChanges()),
        (["n", "not yet"], RejectChanges("not yet")),
        (["n", None], RejectChanges("")),
        ([None, "why"], RejectChanges("why")),
        (["use the other note"], RejectChanges("use the other note")),
    ],
)
async def test_answers(answers: list[str | None], decision: object, capsys: pytest.CaptureFixture[str]) -> None:
    asked = Answers(*answers)
    assert await review(asked)(request()) == decision
    assert asked.asked[0] == QUESTION and set(asked.asked) <= {QUESTION, WHY}
    assert "+new" in capsys.readouterr().out


async def test_edits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\necho more >> "$1"\n')
    editor.chmod(0o755)
    env = {"VISUAL": str(editor)}
    answers = Answers("e", "9", "e", "b.md", "e", "1", "y")
    decision = await review(answers, env)(request())
    assert decision == EditChanges({"b.md": "made\nmore\n", "a.md": "new\nmore\n"})
    shown = capsys.readouterr().out
    assert "there is no note '9' here" in shown and "+more" in shown
    only = await review(Answers("e", "y"), env)(request(CHANGES[2]))
    assert only == AcceptChanges() and "no text to edit" in capsys.readouterr().out
    assert await review(Answers("e", "y"), {"EDITOR": "/nowhere/editor"})(request(CHANGES[0])) == AcceptChanges()
    assert "set VISUAL or EDITOR" in capsys.readouterr().err
    failing = tmp_path / "failing"
    failing.write_text("#!/bin/sh\nexit 3\n")
    failing.chmod(0o755)
    assert await edit_text("x", ".md", {"EDITOR": str(failing)}) is None


async def test_what_rules_decide_is_not_asked() -> None:
    assert await review(Answers(), policy="** auto")(request()) == AcceptChanges()
    rejected = await review(Answers(), policy="a.md reject, ** auto")(request())
    assert isinstance(rejected, RejectChanges) and "a.md" in rejected.reason
    nobody = await nobody_to_ask(request())
    assert isinstance(nobody, RejectChanges) and "not a terminal" in nobody.reason


async def test_an_interrupt_at_a_question_waits_to_be_cancelled() -> None:
    with trio.move_on_after(0.1) as scope:
        await review(Answers(KeyboardInterrupt()))(request())
    assert scope.cancelled_caught


async def test_the_spinner_shows_what_is_waited_for_and_takes_it_away() -> None:
    file = io.StringIO()
    spinner = Spinner(Console(file=file, force_terminal=True, color_system="standard", width=60))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(spinner.run)
        spinner.wait_for("waiting for a model with a name that is much too long for one line of a terminal")
        with trio.fail_after(20):
            while "waiting for a model" not in file.getvalue():
                await trio.sleep(0.05)
        spinner.clear()
        shown = file.getvalue()
        assert shown.endswith("\r\x1b[2K") and "…" in shown
        nursery.cancel_scope.cancel()
    plain = io.StringIO()
    spinner = Spinner(Console(file=plain))
    spinner.wait_for("anything")
    await spinner.run()  # there is nothing to show it on
    assert plain.getvalue() == ""
