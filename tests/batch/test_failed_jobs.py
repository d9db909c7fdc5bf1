"""What a failed job has changed is kept in the run directory, and rolled back when the job is retried."""

from __future__ import annotations

import json
import logging
import sqlite3
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._config import BatchConfig
from trioagent._errors import InvalidInputError, ModelProtocolError
from trioagent._messages import ChatMessage
from trioagent._runs._images import MOST_BYTES
from trioagent.batch import BatchReport, Dropped, Job, drop_failed, read_rows, run_batch
from trioagent.models import AnswerPart, Model
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel
from trioagent.tools import version_of

pytestmark = pytest.mark.real

REPLY = "<think>t</think><python></python><reply>Yes.</reply>"
BUG = ZeroDivisionError("a bug")


def block(*lines: str) -> str:
    return "<think>t</think><python>\n" + "\n".join(lines) + "\n</python>"


def append(text: str) -> str:
    return block("t = read_file('log.md')", "with open('log.md', 'a') as file:", f"    file.write({text!r})")


async def run(where: Path, *answers: Any, model: Model | None = None, **config: Any) -> BatchReport:
    batch = [Job(id="a", memory=str(where / "m"), messages=("one", "two"))]
    async with open_runtime(model or ScriptedModel(answers)) as runtime:
        return await run_batch(batch, runtime=runtime, run_dir=where / "run", config=BatchConfig(**config))


def notes(where: Path) -> dict[str, bytes]:
    memory = where / "m"
    return {str(path.relative_to(memory)): path.read_bytes() if path.is_file() else b"" for path in memory.rglob("*")}


def events(where: Path) -> list[tuple[str, dict[str, Any] | None]]:
    """Kind and images of what is journaled."""
    with closing(sqlite3.connect(where / "run" / "journal.db")) as connection:
        rows = connection.execute("SELECT kind, images FROM events ORDER BY seq, attempt, n").fetchall()
    return [(kind, None if images is None else json.loads(images)) for kind, images in rows]


class Watching(ScriptedModel):
    """Notes what the memory holds when it is asked."""

    def __init__(self, where: Path, *answers: str) -> None:
        super().__init__(answers)
        self.where, self.seen = where, list[dict[str, bytes]]()

    def answer(self, messages: Any) -> Any:
        self.seen.append(notes(self.where))
        return super().answer(messages)


@pytest.fixture
def where(tmp_path: Path) -> Path:
    (tmp_path / "m" / "old").mkdir(parents=True)
    (tmp_path / "m" / "log.md").write_text("before\n")
    (tmp_path / "m" / "old" / "private.md").write_bytes(b"\xff secret")
    (tmp_path / "m" / "old" / "private.md").chmod(0o600)
    return tmp_path


async def test_a_job_that_begins_again_finds_the_notes_as_they_were(where: Path) -> None:
    before = notes(where)
    changes = [
        append("first\n"),
        block("create_file('people/ada.md', 'Ada')"),
        append("second\n"),
        block("t = read_file('old/private.md')", "import shutil", "shutil.rmtree('old')"),
    ]
    assert (await run(where, *changes, REPLY, BUG)).failed == 1
    assert notes(where) == {"log.md": b"before\nfirst\nsecond\n", "people": b"", "people/ada.md": b"Ada"}
    assert {kind for kind, _ in events(where)} == {"answer", "result"}
    first, *_, last = [images for kind, images in events(where) if kind == "result"]
    assert first is not None and first["log.md"]["text"] == "before\n"
    assert last is not None and last["old/private.md"] == {"base64": "/yBzZWNyZXQ=", "mode": 0o600}
    again = Watching(where, REPLY, REPLY)
    assert (await run(where, model=again, retry_failed=True)).done == 1
    assert again.seen[0] == notes(where) == before
    assert stat.S_IMODE((where / "m" / "old" / "private.md").stat().st_mode) == 0o600
    assert events(where) == []


async def test_what_somebody_has_changed_since_is_left_and_named(where: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After the job, or between two changes of its own."""
    between = block("t = read_file('both.md')", "with open('both.md', 'a') as file:", "    file.write('job')")

    class Editing(ScriptedModel):
        def answer(self, messages: Any) -> Any:
            if len(self.calls) == 2:
                (where / "m" / "both.md").write_text("editor")
            return super().answer(messages)

    model = Editing([append("first\n"), block("create_file('both.md', 'job')"), between, REPLY, BUG])
    assert (await run(where, model=model)).failed == 1
    assert notes(where)["both.md"] == b"editorjob"
    (where / "m" / "new.md").write_text("new")
    (where / "m" / "log.md").write_text("edited\n")
    with caplog.at_level(logging.WARNING, "trioagent"):
        assert (await run(where, REPLY, REPLY, retry_failed=True)).done == 1
    assert "job 'a' begins again" in caplog.text
    assert caplog.text.rstrip().endswith("not kept: both.md, log.md")
    assert (notes(where)["log.md"], notes(where)["both.md"], notes(where)["new.md"]) == (
        b"edited\n",
        b"editorjob",
        b"new",
    )


async def test_what_was_too_large_to_keep_is_named(where: Path, caplog: pytest.LogCaptureFixture) -> None:
    (where / "m" / "log.md").write_text("x" * MOST_BYTES + "\n")
    both = block("delete_file('log.md')", "create_file('small.md', 'small')")
    assert (await run(where, both, REPLY, BUG)).failed == 1
    (images,) = [images for kind, images in events(where) if kind == "result"]
    assert images is not None and images["log.md"] == {"mode": 0o644, "lost": True}
    with caplog.at_level(logging.WARNING, "trioagent"):
        assert (await run(where, REPLY, REPLY, retry_failed=True)).done == 1
    assert caplog.text.rstrip().endswith("not kept: log.md")
    assert set(notes(where)) == {"old", "old/private.md"}


async def test_a_block_whose_result_was_not_journaled(where: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Killed between a commit and its journal entry: what the notes were before is not known."""
    assert (await run(where, append("first\n"), RuntimeError("as if killed"))).failed == 1
    with closing(sqlite3.connect(where / "run" / "journal.db")) as connection:
        connection.execute("UPDATE events SET images = NULL")
        connection.commit()
    with caplog.at_level(logging.WARNING, "trioagent"):
        assert (await run(where, REPLY, REPLY, retry_failed=True)).done == 1
    assert caplog.text.rstrip().endswith("not kept: log.md")
    assert notes(where)["log.md"] == b"before\nfirst\n"


async def test_what_a_receipt_told_is_journaled(where: Path) -> None:
    """Killed before a result was journaled, and once more after it was taken from the receipt in the notes' folder."""

    class Cancelled(ScriptedModel):
        """Gives its answers, and then has its run cancelled."""

        @asynccontextmanager
        async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
            if len(self.calls) == self.answers:
                self.scope.cancel()
                await trio.sleep_forever()
            async with super().answer(messages) as parts:
                yield parts

        def __init__(self, *answers: str) -> None:
            super().__init__(answers)
            self.answers, self.scope = len(answers), trio.CancelScope()

    for answers in ((append("first\n"),), ()):
        with (model := Cancelled(*answers)).scope:
            await run(where, model=model)
        assert model.scope.cancelled_caught
        with closing(sqlite3.connect(where / "run" / "journal.db")) as connection:
            told = connection.execute("SELECT read, written FROM events WHERE kind = 'result'").fetchall()
            if answers:
                connection.execute("DELETE FROM events WHERE kind = 'result'")
                connection.commit()
        ((read, written),) = told
        assert json.loads(written) == {"log.md": version_of(b"before\nfirst\n")}
        assert set(json.loads(read)) <= {"log.md"}
    assert notes(where)["log.md"] == b"before\nfirst\n"


async def test_taken_back_twice(where: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Killed after the notes were brought back and before that was journaled."""
    assert (await run(where, append("first\n"), REPLY, BUG)).failed == 1
    (where / "m" / "log.md").write_text("before\n")
    with caplog.at_level(logging.WARNING, "trioagent"):
        assert (await run(where, append("again\n"), REPLY, BUG, retry_failed=True)).failed == 1
        assert (await run(where, REPLY, REPLY, retry_failed=True)).done == 1
    assert caplog.text == ""
    assert notes(where)["log.md"] == b"before\n"


async def test_dropped(where: Path) -> None:
    """Nothing of it can be read from the run directory; the job begins again, and its notes stay as they are."""
    answers = [append("SECRET CHANGE\n"), append("more\n"), REPLY, ModelProtocolError("the stream ended")]
    assert (await run(where, *answers)).failed == 1
    with pytest.raises(InvalidInputError, match="have not failed in this run: 'b'"):
        drop_failed(where / "run", ["a", "b"])
    assert len(events(where)) == 5
    assert drop_failed(where / "run", ["a"]) == Dropped(1, 5)
    assert drop_failed(where / "run") == Dropped(0, 0)
    assert all(b"CHANGE" not in path.read_bytes() for path in (where / "run").glob("journal.db*"))
    (row,) = read_rows(where / "run" / "failures.jsonl")
    assert "resumable" not in row
    again = Watching(where, REPLY, REPLY)
    assert (await run(where, model=again, retry_failed=True)).done == 1
    assert again.seen[0]["log.md"] == b"before\nSECRET CHANGE\nmore\n"


async def test_totals_of_all_starts(where: Path) -> None:
    first = await run(where, append("x"), REPLY, ModelProtocolError("the stream ended"))
    status = json.loads((where / "run" / "status.json").read_text())
    status["ended"] = False  # as a start that was killed leaves it
    status["progress"]["seconds"] = 100.0
    (where / "run" / "status.json").write_text(json.dumps(status))
    last = await run(where, REPLY, retry_failed=True)
    for report, starts, done, failed in ((first, 1, 0, 1), (last, 2, 1, 0)):
        totals = report.all_starts
        assert totals is not None
        assert (totals.starts, totals.done, totals.failed, totals.no_reply, totals.left) == (starts, done, failed, 0, 0)
        assert (totals.tokens, totals.cost) == (report.tokens_total, report.cost_total)
    assert first.all_starts is not None and last.all_starts is not None
    assert last.all_starts.seconds == pytest.approx(first.seconds + 100.0 + last.seconds)
    states = first.all_starts.seconds_by_state, last.seconds_by_state
    assert last.all_starts.seconds_by_state["model"] == pytest.approx(sum(each["model"] for each in states))
    assert json.loads((where / "run" / "report.json").read_text())["all_starts"]["starts"] == 2
