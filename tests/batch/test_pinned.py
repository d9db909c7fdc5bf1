"""A run is pinned to what decides its conversations, and to the folder of its memories."""

from __future__ import annotations

import logging
import pickle
import re
import shutil
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._config import BatchConfig, ModelConfig
from trioagent._errors import ReplayMismatchError
from trioagent._messages import ChatMessage
from trioagent._runs import RunChangedError, check_memory_folder, prompt_hash
from trioagent.batch import CONVERSATIONS, FAILURES, BatchReport, Job, JournalReader, read_rows, run_batch
from trioagent.models import AnswerPart
from trioagent.runtime import open_runtime
from trioagent.testing import ModelServer, ScriptedModel, serve_model

pytestmark = pytest.mark.real

BLOCK = "<think>t</think><python>\nwith open('log.md', 'a') as file:\n    file.write('block\\n')\n</python>"
REPLY = "<think>t</think><python></python><reply>Done.</reply>"


class Stopping(ScriptedModel):
    """Gives so many answers, and then hangs forever."""

    def __init__(self, *answers: str, name: str = "A") -> None:
        super().__init__(answers, name=name)
        self.left = len(answers)

    @asynccontextmanager
    async def answer(self, messages: Sequence[ChatMessage]) -> AsyncIterator[AsyncIterator[AnswerPart]]:
        if not self.left:
            await trio.sleep_forever()
        self.left -= 1
        async with super().answer(messages) as parts:
            yield parts


def job(memory: object) -> Job:
    return Job(id="a", memory=str(memory), messages=("one", "two"))


async def run(where: Path, *answers: str, name: str = "A", memory: object = None, **config: Any) -> BatchReport | None:
    """None if the model fell silent, and the run was cancelled."""
    async with open_runtime(Stopping(*answers, name=name)) as runtime:
        with trio.move_on_after(1):
            return await run_batch(
                [job(memory or where / "memory")],
                runtime=runtime,
                run_dir=where / "run",
                config=BatchConfig(grace_seconds=0, **config),
            )
    return None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "B"}, "model was 'A' and is 'B'"),
        ({"max_tool_turns": 1}, "max_tool_turns was 8 and is 1"),
        ({"system_prompt": "Be brief."}, "prompt was '"),
        ({"system_prompt_append": "Be brief."}, "prompt was '"),
        ({"model_profile": "mem-agent"}, "profile was None and is 'mem-agent'"),
        ({"name": "B", "max_tool_turns": 2}, "model was 'A' and is 'B'; max_tool_turns was 8 and is 2"),
    ],
)
async def test_a_difference_is_refused_by_name(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    assert await run(tmp_path, BLOCK, REPLY) is None
    with JournalReader(tmp_path / "run") as reader:
        before = reader.counts(), reader.spent()
    with pytest.raises(RunChangedError, match=re.escape(words)) as caught:
        await run(tmp_path, REPLY, **change)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert "--accept-changes" in str(caught.value)
    with JournalReader(tmp_path / "run") as reader:
        assert (reader.counts(), reader.spent()) == before
    report = await run(tmp_path, REPLY)
    assert report is not None and report.done == 1
    (row,) = read_rows(tmp_path / "run" / CONVERSATIONS)
    assert row["model"] == "A"
    undated, date = row["messages"][0]["content"].split("\nToday is ")
    assert row["prompt"] == prompt_hash(undated) and date.endswith(").\n")


async def test_accepted_changes_are_what_it_is_pinned_to_from_then_on(tmp_path: Path) -> None:
    assert await run(tmp_path, BLOCK, REPLY) is None
    assert await run(tmp_path, name="B", accept_changes=True) is None
    with pytest.raises(RunChangedError, match="model was 'B' and is 'A'"):
        await run(tmp_path, REPLY)
    report = await run(tmp_path, REPLY, name="B")
    assert report is not None and report.done == 1


async def test_until_anything_came_of_it_a_run_is_not_pinned(tmp_path: Path) -> None:
    """A misspelled model may be put right."""
    assert await run(tmp_path, name="misspelled") is None
    report = await run(tmp_path, REPLY, REPLY, name="right")
    assert report is not None and report.done == 1


async def test_a_journal_that_does_not_fit_fails_the_job(tmp_path: Path) -> None:
    """With fewer tool turns the conversation would ask for other things than were journaled; nothing runs twice."""
    assert await run(tmp_path, BLOCK, BLOCK, BLOCK, REPLY, BLOCK) is None
    report = await run(tmp_path, REPLY, max_tool_turns=1, accept_changes=True)
    assert report is not None and report.failed == 1
    (row,) = read_rows(tmp_path / "run" / FAILURES)
    assert row["error"]["type"] == ReplayMismatchError.__name__
    assert (row["model"], row["profile"], len(row["prompt"])) == ("A", "default", 16)
    assert (tmp_path / "memory" / "log.md").read_text() == "block\n" * 4


async def test_sampling_is_pinned_and_the_address_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def start(server: ModelServer, *, accept: bool = False, **options: Any) -> None:
        config = ModelConfig(base_url=f"{server.base_url}?key=secret", model="m", **options)
        async with open_runtime(config) as runtime:
            await run_batch(
                [job(tmp_path / "memory")],
                runtime=runtime,
                run_dir=tmp_path / "run",
                config=BatchConfig(accept_changes=accept),
            )

    async with trio.open_nursery() as nursery:
        first: ModelServer = await nursery.start(serve_model, lambda request: REPLY)
        second: ModelServer = await nursery.start(serve_model, lambda request: REPLY)
        await start(first, temperature=0.5, extra_body={"top_k": 20})
        with pytest.raises(RunChangedError, match=r"temperature was 0.5 and is 1.0; extra_body was '\w+' and is None"):
            await start(first, temperature=1.0)
        with caplog.at_level(logging.WARNING, "trioagent"):
            await start(second, temperature=0.5, extra_body={"top_k": 20})
        assert f"address was '{first.base_url}' and is '{second.base_url}'" in caplog.text
        assert "secret" not in caplog.text
        nursery.cancel_scope.cancel()
    assert b"secret" not in (tmp_path / "run" / "journal.db").read_bytes()


async def test_relative_memories_belong_to_the_folder_of_the_first_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed between a block's commit and its journal entry, and resumed from another folder."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    monkeypatch.chdir(one)
    assert await run(tmp_path, BLOCK, memory="memory") is None
    with closing(sqlite3.connect(tmp_path / "run" / "journal.db")) as connection:
        connection.execute("DELETE FROM events WHERE kind = 'result'")
        connection.commit()
    monkeypatch.chdir(two)
    with caplog.at_level(logging.WARNING, "trioagent"):
        report = await run(tmp_path, REPLY, REPLY, memory="memory")
    assert report is not None and report.done == 1
    assert f"memories are relative to {one}" in caplog.text
    assert (one / "memory" / "log.md").read_text() == "block\n"
    assert list(two.iterdir()) == []


async def test_a_folder_that_is_gone_is_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    monkeypatch.chdir(one)
    assert await run(tmp_path, BLOCK, REPLY, memory="memory") is None
    monkeypatch.chdir(tmp_path)
    shutil.move(one, two)
    monkeypatch.chdir(two)
    gone = pytest.raises(RunChangedError, match="the folder of relative memories was .*which no longer exists")
    with gone:
        await run(tmp_path, REPLY, memory="memory")
    with gone, JournalReader(tmp_path / "run") as journal:  # what a dry run asks
        check_memory_folder(tmp_path / "run", journal)
    report = await run(tmp_path, REPLY, memory="memory", accept_changes=True)
    assert report is not None and report.done == 1
    assert (two / "memory" / "log.md").read_text() == "block\n"
