"""Runs of trioagent 0.1, finished and killed, are read and resumed: see `tests/fixtures/format1/make.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.format1 import script
from trioagent._config import BatchConfig
from trioagent._messages import ChatMessage
from trioagent.batch import CONVERSATIONS, FAILURES, JournalReader, read_rows, run_batch
from trioagent.memory import Memory
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real


NEW = ("finish_reasons", "left_out", "model", "profile", "prompt")


def outcome(where: Path) -> tuple[Any, Any, dict[str, str]]:
    """Rows by job, without what 0.1 did not write yet, failures by job, and all notes."""
    rows = read_rows(where / script.RUN_DIR / CONVERSATIONS)
    done = {row["id"]: {key: row[key] for key in row if key not in NEW} for row in rows}
    failed = {
        row["id"]: {key: row[key] for key in row if key not in NEW}
        for row in read_rows(where / script.RUN_DIR / FAILURES)
    }
    memories = where / script.MEMORIES
    assert not list(memories.rglob(".*"))
    return done, failed, {str(path.relative_to(memories)): path.read_text() for path in memories.rglob("*.md")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, dict[str, str]]:
    where = tmp_path_factory.mktemp("finished")
    script.unpack("batch-finished", where)
    found = outcome(where)
    assert list(found[0]) == [script.GOOD, script.KILLED, script.LATER]
    assert list(found[1]) == [script.BAD]
    return found


def test_a_finished_run_is_read(tmp_path: Path) -> None:
    script.unpack("batch-finished", tmp_path)
    with JournalReader(tmp_path / script.RUN_DIR) as journal:
        assert journal.counts() == {"done": 3, "failed": 1}
        assert [job_id for job_id, _, _ in journal.outcomes("done")] == [script.GOOD, script.KILLED, script.LATER]
        assert journal.spent().total_tokens > 0


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("finished", 0),
        ("killed-after-answer", 4 + 6),
        ("killed-in-commit", 4 + 6),
        ("killed-before-result", 4 + 6),
        ("killed-after-result", 4 + 6),
        ("killed-between-messages", 3 + 6),
        ("killed-before-outcome", 6),
        ("killed-after-outcome", 6),
    ],
)
async def test_resumed(
    name: str, answers: int, finished: tuple[Any, Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same conversations and notes as of the undisturbed run, and no answer of the journal is asked for again."""
    script.unpack(f"batch-{name}", tmp_path)
    monkeypatch.chdir(tmp_path)
    asked: Counter[str] = Counter()

    def answer(messages: Sequence[ChatMessage]) -> str:
        asked[next(message.content for message in reversed(messages) if message.role == "user")] += 1
        return script.answer(messages)

    async with open_runtime(ScriptedModel(answer)) as runtime:
        report = await run_batch(
            script.jobs(), runtime=runtime, run_dir=script.RUN_DIR, config=BatchConfig(max_concurrent=1)
        )
    assert (report.done + report.skipped, report.stopped) == (4, "")
    assert asked.total() == answers
    assert outcome(tmp_path) == finished


async def test_a_memory_killed_in_a_commit_is_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script.unpack("memory-killed-in-commit", tmp_path)
    path = tmp_path / script.MEMORIES / "plain"
    assert (path / "user.md").read_text() == "old"
    async with Memory(path).lease():
        pass
    notes = {str(note.relative_to(path)): note.read_text() for note in path.rglob("*") if note.is_file()}
    assert notes == {"user.md": "new", "entities/ada.md": "new"}
