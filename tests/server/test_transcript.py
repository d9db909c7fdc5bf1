"""What a job's transcript says of its blocks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runs.support import journal_jobs
from trioagent._runs import RunBrowser
from trioagent.server._diff import MOST_LINES, DiffHunk, diff_notes
from trioagent.server._transcript import AnswerEntry, ChangeEntry, ResultEntry, Said, WorkEntry, job_view


@pytest.mark.real
async def test_of_a_failed_job_each_block_has_its_changes(tmp_path: Path) -> None:
    """What a note was after a block is what the next one found; after the last one the journal does not say."""
    await journal_jobs(tmp_path)
    with RunBrowser(tmp_path) as browser:
        job, running = job_view(browser.job("failed-0")), job_view(browser.job("running-0"))
    answers = [entry for entry in job.entries if isinstance(entry, AnswerEntry)]
    results = [entry for entry in job.entries if isinstance(entry, ResultEntry)]
    assert [answer.code for answer in answers] == ["create_file('a.md', 'one')", "update_file('a.md', 'one', 'two')"]
    assert [answer.tokens for answer in answers] == [15, 15]
    assert results[0].changes == [
        ChangeEntry(path="a.md", action="made", hunks=[DiffHunk(1, 1, [("+", "one")])]),
    ]
    assert results[1].changes == [
        ChangeEntry(path="a.md", action="changed", hunks=None),
        ChangeEntry(path="b.md", action="deleted", hunks=[DiffHunk(1, 1, [("-", "gone")])]),
    ]
    assert job.error is not None
    assert job.error["fields"] == {"status": 429}
    assert running.entries == [WorkEntry(attempt=2, body={"step": "persona"})]


@pytest.mark.real
async def test_of_a_job_that_is_done_the_messages_are_shown(tmp_path: Path) -> None:
    await journal_jobs(tmp_path)
    with RunBrowser(tmp_path) as browser:
        job = job_view(browser.job("done-0"))
    assert [entry.role for entry in job.entries if isinstance(entry, Said)] == ["user", "tool"]
    assert job.usage is not None
    assert job.usage["cost"] == 0.01
    assert job.outcome == {"turns": 2, "stop_reasons": ["reply"]}


def test_a_diff_shows_what_changed_with_some_lines_around_it() -> None:
    before = "\n".join(f"line {number}" for number in range(20))
    after = before.replace("line 10", "line ten")
    assert diff_notes(before.encode(), after.encode()) == [
        DiffHunk(
            8,
            8,
            [
                *((" ", f"line {number}") for number in (7, 8, 9)),
                ("-", "line 10"),
                ("+", "line ten"),
                *((" ", f"line {number}") for number in (11, 12, 13)),
            ],
        )
    ]
    assert diff_notes(None, b"a\nb\n") == [DiffHunk(1, 1, [("+", "a"), ("+", "b")])]
    assert diff_notes(b"same", b"same") == []
    assert diff_notes(None, None) == []


def test_texts_too_large_to_be_compared_are_shown_one_after_the_other() -> None:
    lines = "x\n" * (MOST_LINES + 1)
    (hunk,) = diff_notes(lines.encode(), b"y\n")
    assert [sign for sign, _ in hunk.lines] == ["-"] * MOST_LINES + ["+"]
