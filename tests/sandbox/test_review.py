"""Review before commit: what is asked, what becomes of the answers, and what happens to the notes meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._errors import InvalidInputError
from trioagent.agent import Agent
from trioagent.memory import Knowledge, Memory, NoteChange
from trioagent.runtime import open_runtime
from trioagent.sandbox import (
    AcceptChanges,
    EditChanges,
    RejectChanges,
    ReviewPolicy,
    ReviewRequest,
    Sandbox,
    open_sandbox,
)
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real

CODE = """
text = read_file("user.md")
update_file("user.md", "London", "Berlin")
create_file("entities/berlin.md", "a city")
delete_file("old.md")
"""


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with open_sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "user.md").write_text("# Ada\n- city: London\n")
    (tmp_path / "old.md").write_text("old\n")
    return tmp_path


BEFORE = {"user.md": "# Ada\n- city: London\n", "old.md": "old\n"}
AFTER = {"user.md": "# Ada\n- city: Berlin\n", "entities/berlin.md": "a city"}


def notes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.md")}


class Reviewer:
    """Gives one answer, and keeps what it was asked."""

    def __init__(self, answer: Any, folder: Path | None = None, edit: str | None = None) -> None:
        self.answer, self.folder, self.edit = answer, folder, edit
        self.asked: list[ReviewRequest] = []

    async def __call__(self, request: ReviewRequest) -> Any:
        self.asked.append(request)
        if self.folder is not None:
            assert notes(self.folder) == BEFORE
            with trio.fail_after(5):  # the notes are free
                async with Memory(self.folder).lease():
                    pass
            if self.edit is not None:
                (self.folder / self.edit).write_text("somebody else's")
        return self.answer


async def test_what_is_accepted_is_saved(sandbox: Sandbox, folder: Path) -> None:
    review = Reviewer(AcceptChanges(), folder)
    result = await sandbox.run(CODE, memory_path=folder, review=review)
    assert (result.saved, result.error) == (True, "")
    assert notes(folder) == AFTER
    (request,) = review.asked
    assert request.code == CODE
    assert request.changes == (
        NoteChange("entities/berlin.md", None, b"a city"),
        NoteChange("old.md", b"old\n", None),
        NoteChange("user.md", BEFORE["user.md"].encode(), AFTER["user.md"].encode()),
    )
    assert "user.md" in request.reads
    assert "-- city: London\n+- city: Berlin" in request.diff
    assert "--- /dev/null\n+++ entities/berlin.md" in request.diff


async def test_what_is_rejected_is_not_saved_and_the_model_is_told_why(sandbox: Sandbox, folder: Path) -> None:
    result = await sandbox.run(CODE, memory_path=folder, review=Reviewer(RejectChanges("she lives in London"), folder))
    assert not result.saved
    assert "she lives in London" in result.error
    assert result.error.endswith("Nothing was saved.")
    assert notes(folder) == BEFORE


async def test_what_is_edited_is_saved_as_edited(sandbox: Sandbox, folder: Path) -> None:
    edit = EditChanges({"user.md": "# Ada\n- city: Bern\n", "old.md": "kept\n", "entities/berlin.md": None})
    result = await sandbox.run(CODE, memory_path=folder, review=Reviewer(edit))
    assert result.saved
    assert notes(folder) == {"user.md": "# Ada\n- city: Bern\n", "old.md": "kept\n"}


@pytest.mark.parametrize("changed", ["user.md", "old.md", "entities/berlin.md"])
@pytest.mark.parametrize("known", [True, False])
async def test_a_note_that_changes_during_the_review_is_a_conflict(
    known: bool, changed: str, sandbox: Sandbox, folder: Path
) -> None:
    (folder / "entities").mkdir()
    knowledge = Knowledge(blind_overwrite="allow") if known else None
    review = Reviewer(AcceptChanges(), folder, edit=changed)
    result = await sandbox.run(CODE, memory_path=folder, knowledge=knowledge, review=review)
    assert not result.saved
    assert changed in result.error
    assert "Conflict" in result.error
    assert notes(folder) == {**BEFORE, changed: "somebody else's"}


async def test_another_note_may_change_during_the_review(sandbox: Sandbox, folder: Path) -> None:
    result = await sandbox.run(CODE, memory_path=folder, review=Reviewer(AcceptChanges(), folder, edit="other.md"))
    assert result.saved
    assert notes(folder) == {**AFTER, "other.md": "somebody else's"}


@pytest.mark.parametrize(
    "code", ["x = read_file('user.md')", "create_file('a.md', 'x')\nboom", "create_file('old.md', 'old\\n')"]
)
async def test_what_changes_nothing_is_not_asked_about(code: str, sandbox: Sandbox, folder: Path) -> None:
    review = Reviewer(RejectChanges())
    result = await sandbox.run(code, memory_path=folder, review=review)
    assert review.asked == []
    assert result.saved == (code == "create_dir('empty')")
    assert notes(folder) == BEFORE


async def test_what_would_be_refused_anyway_is_not_asked_about(sandbox: Sandbox, folder: Path) -> None:
    review = Reviewer(AcceptChanges())
    knowledge = Knowledge(seen={"user.md": None}, blind_overwrite="refuse")
    result = await sandbox.run("create_file('user.md', 'x')", memory_path=folder, knowledge=knowledge, review=review)
    assert "MemoryConflictError" in result.error
    assert review.asked == []


@pytest.mark.parametrize(
    "answer", [None, True, AcceptChanges, EditChanges({"other.md": "x"}), EditChanges({"user.md": "\ud800"})]
)
async def test_an_answer_that_is_none_saves_nothing(answer: Any, sandbox: Sandbox, folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="review"):
        await sandbox.run(CODE, memory_path=folder, review=Reviewer(answer))
    assert notes(folder) == BEFORE


async def test_cancelling_a_review_saves_nothing(sandbox: Sandbox, folder: Path) -> None:
    async def think(request: ReviewRequest) -> AcceptChanges:
        scope.cancel()
        await trio.sleep_forever()
        raise AssertionError

    with trio.CancelScope() as scope:
        await sandbox.run(CODE, memory_path=folder, review=think)
    assert scope.cancelled_caught
    assert notes(folder) == BEFORE


async def test_an_agents_changes_are_reviewed(folder: Path) -> None:
    answers = [f"<think>t</think><python>{CODE}</python>", "<think>t</think><python></python><reply>Why not?</reply>"]
    review = Reviewer(RejectChanges("not without asking her"), folder)
    async with open_runtime(ScriptedModel(answers)) as runtime:
        agent = Agent(runtime, memory_path=folder, review=review)
        response = await agent.chat("I live in Berlin.")
    assert (response.reply, response.blocks_saved) == ("Why not?", 0)
    assert "not without asking her" in agent.messages[3].content


def test_a_policy_decides_by_the_first_glob_that_matches() -> None:
    policy = ReviewPolicy.parse(
        "entities/private/** reject, entities/** auto, user.md ask, *.tmp.md auto, **/log.md auto"
    )
    paths = [
        "entities/a.md",
        "entities/b/c.md",
        "entities/private/x.md",
        "user.md",
        "a.tmp.md",
        "b/a.tmp.md",
        "log.md",
        "a/b/log.md",
    ]
    assert [policy.action(path) for path in paths] == ["auto", "auto", "reject", "ask", "auto", "ask", "auto", "auto"]
    assert ReviewPolicy((), otherwise="auto").action("x") == "auto"
    assert ReviewPolicy.parse("my notes/[a].md auto").action("my notes/[a].md") == "auto"


@pytest.mark.parametrize("text", ["user.md", "user.md sometimes", "auto", "a.md ask, b.md"])
def test_a_policy_that_is_none(text: str) -> None:
    with pytest.raises(InvalidInputError, match="ReviewPolicy"):
        ReviewPolicy.parse(text)


async def test_only_what_a_policy_leaves_open_is_asked_about(sandbox: Sandbox, folder: Path) -> None:
    for text, asked, saved in [
        ("** auto", 0, True),
        ("entities/** auto, user.md ask, old.md auto", 1, True),
        ("old.md reject, ** auto", 0, False),
    ]:
        for path in folder.rglob("*.md"):
            path.unlink()
        for name, body in BEFORE.items():
            (folder / name).write_text(body)
        review = Reviewer(AcceptChanges())
        result = await sandbox.run(CODE, memory_path=folder, review=ReviewPolicy.parse(text).reviewer(review))
        assert (len(review.asked), result.saved) == (asked, saved), text
    assert "old.md must not be changed" in result.error


async def test_a_diff_is_bounded(sandbox: Sandbox, folder: Path) -> None:
    review = Reviewer(RejectChanges())
    code = "create_file('long.md', 'x\\n' * 100_000)\nopen('picture.png', 'wb').write(b'\\xff\\xfe')"
    await sandbox.run(code, memory_path=folder, review=review)
    assert "long.md changes from 0 to 100,000 lines" in review.asked[0].diff
    assert len(review.asked[0].diff) < 1000
