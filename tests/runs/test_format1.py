"""A journal of trioagent 0.1 is brought up to date under the run lock, and nothing of it is lost."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.format1 import script
from trioagent._parsed_reply import PARSER_VERSION
from trioagent._runs import AnswerEvent, JournalError, JournalReader, ResultEvent, is_running, read_run_status
from trioagent._runs import _format1 as format1
from trioagent._runs._journal import FILE_NAME, open_journal

pytestmark = pytest.mark.real

REPAIRS = '{"missing_think": 1, "outside_text": 1}'


def contents(database: Path, tables: tuple[str, ...] = ("jobs", "spent", "meta")) -> dict[str, Any]:
    with closing(sqlite3.connect(database)) as connection:
        found = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in tables}
        found["jobs"] = [row[:6] for row in found["jobs"]]  # without what format 2 adds
        return {**found, "format": connection.execute("PRAGMA user_version").fetchone()[0]}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    script.unpack("batch-killed-before-outcome", tmp_path)
    return tmp_path / script.RUN_DIR


async def test_everything_is_kept(run_dir: Path) -> None:
    shutil.copytree(run_dir, run_dir.with_name("untouched"))
    before = contents(run_dir.with_name("untouched") / FILE_NAME)
    async with open_journal(run_dir) as journal:
        record = await journal.begin(script.KILLED, "any")
        assert is_running(run_dir)
    after = contents(run_dir / FILE_NAME)
    assert after == {**before, "format": 2}
    assert contents(run_dir / format1.BACKUP) == {**before, "format": 1}
    assert [type(event) for event in record.events] == [
        AnswerEvent, ResultEvent, AnswerEvent, ResultEvent, AnswerEvent,
        AnswerEvent, ResultEvent, AnswerEvent, ResultEvent, AnswerEvent,
    ]  # fmt: skip
    first, result = record.events[:2]
    assert isinstance(first, AnswerEvent)
    assert isinstance(result, ResultEvent)
    assert (first.answer.text, first.parser) == (script.BLOCK.replace("{turn}", "0"), PARSER_VERSION)
    assert first.answer.code.startswith("with open('log.md', 'a')")
    assert first.finish_reason is None
    assert first.usage.completion_tokens > 0
    assert (result.result.saved, result.read, result.written, result.images) == (True, {}, None, None)


async def test_it_is_done_once(run_dir: Path) -> None:
    async with open_journal(run_dir):
        pass
    backup = (run_dir / format1.BACKUP).stat()
    async with open_journal(run_dir):
        pass
    assert (run_dir / format1.BACKUP).stat() == backup


def test_status_reads_it_and_changes_nothing(tmp_path: Path) -> None:
    script.unpack("batch-finished", tmp_path)
    run_dir = tmp_path / script.RUN_DIR
    before = contents(run_dir / FILE_NAME), sorted(run_dir.iterdir())
    status = read_run_status(run_dir)
    assert (status.counts, status.running) == ({"done": 3, "failed": 1}, False)
    assert (contents(run_dir / FILE_NAME), sorted(run_dir.iterdir())) == before


@pytest.mark.parametrize(
    "change",
    [
        {"repairs": {"code_fence": 1}},  # as if 0.1 had found something to repair that today's parser does not
        {"text": "<think>go</think><reply>no code, and a result follows</reply>"},
        {"text": script.BLOCK.replace("{turn}", "0") + "<reply>more than today's parser reads</reply> and more"},
    ],
)
async def test_a_job_whose_answer_would_be_read_otherwise_begins_again_and_is_named(
    change: dict[str, Any], run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(run_dir / FILE_NAME)) as connection:
        select = "SELECT seq, body FROM events WHERE n = 0"
        seq, body = connection.execute(select).fetchone()
        connection.execute("UPDATE events SET body = ? WHERE n = 0", (json.dumps(json.loads(body) | change),))
        connection.commit()
    with caplog.at_level(logging.WARNING, "trioagent"):
        async with open_journal(run_dir) as journal:
            record = await journal.begin(script.KILLED, "any")
    assert (record.seq, record.attempts, record.events) == (seq, 2, ())
    assert f"job '{script.KILLED}' begins again from its start" in caplog.text
    with JournalReader(run_dir) as reader:
        assert reader.counts() == {"done": 1, "failed": 1, "running": 1}


@pytest.mark.parametrize(
    "body", ["{", "[1]", '{"text": 5}', '{"text": "x", "repairs": {"missing_think": 1, "outside_text": 1}}']
)
async def test_a_damaged_event_leaves_the_journal_as_it_was(body: str, run_dir: Path) -> None:
    with closing(sqlite3.connect(run_dir / FILE_NAME)) as connection:
        connection.execute("UPDATE events SET body = ? WHERE n = 3", (body,))
        connection.commit()
    before = contents(run_dir / FILE_NAME, ("jobs", "events"))
    with pytest.raises(JournalError, match="cannot be brought up to date: job 'killed'.events"):
        async with open_journal(run_dir):
            pass
    assert contents(run_dir / FILE_NAME, ("jobs", "events")) == before
    assert not is_running(run_dir)


@pytest.mark.parametrize("outcome", ["5", '{"stop_reasons": 5}', '{"stop_reasons": [null]}'])
async def test_a_damaged_outcome_leaves_the_journal_as_it_was(outcome: str, run_dir: Path) -> None:
    with closing(sqlite3.connect(run_dir / FILE_NAME)) as connection:
        connection.execute("UPDATE jobs SET outcome = ? WHERE state = 'done'", (outcome,))
        connection.commit()
    before = contents(run_dir / FILE_NAME, ("jobs", "events"))
    with pytest.raises(JournalError, match="cannot be brought up to date: job 1"):
        async with open_journal(run_dir):
            pass
    assert contents(run_dir / FILE_NAME, ("jobs", "events")) == before


@contextmanager
def last_event_is(body: str, journal: Path) -> Iterator[None]:
    def put(text: str) -> str:
        """Returns what was there."""
        with closing(sqlite3.connect(journal)) as connection:
            where = "ORDER BY seq DESC, n DESC LIMIT 1"
            seq, n, found = connection.execute(f"SELECT seq, n, body FROM events {where}").fetchone()
            connection.execute("UPDATE events SET body = ? WHERE seq = ? AND n = ?", (text, seq, n))
            connection.commit()
            return str(found)

    before = put(body)
    yield
    put(before)


@contextmanager
def folder_at(path: Path) -> Iterator[None]:
    """A folder that nothing can take the place of."""
    (path / "inside").mkdir(parents=True)
    yield
    shutil.rmtree(path)


@pytest.mark.parametrize("step", ["the copy", "the copy's name", "the last event"])
async def test_interrupted(step: str, run_dir: Path) -> None:
    """Whatever stops it, it is done again from the beginning."""
    database = run_dir / FILE_NAME
    before = contents(database, ("jobs", "events"))
    obstacles = {
        "the copy": folder_at(run_dir / f".{format1.BACKUP}.tmp"),
        "the copy's name": folder_at(run_dir / format1.BACKUP),
        "the last event": last_event_is("{", database),
    }
    with obstacles[step], pytest.raises(JournalError, match="cannot be brought up to date.*; it is as it was"):
        async with open_journal(run_dir):
            pass
    assert contents(database, ("jobs", "events")) == before
    async with open_journal(run_dir) as journal:
        assert len((await journal.begin(script.KILLED, "any")).events) == 10
