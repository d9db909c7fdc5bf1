"""A run's jobs by page: the same rows whatever is asked for first, also of damaged and of old journals."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio

from tests.fixtures.format1 import script
from trioagent._errors import InvalidInputError
from trioagent._runs import ResultEvent, RunBrowser, WorkEvent
from trioagent._runs._browse import Filter

from .support import journal_jobs

pytestmark = pytest.mark.real


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    trio.run(journal_jobs, tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("state", "cause", "contains", "expected"),
    [
        ("", "", "", "done-0 done-1 done-2 failed-0 failed-1 failed-2 running-0"),
        ("done", "", "", "done-0 done-1 done-2"),
        ("no_reply", "", "", "done-2"),
        ("failed", "", "", "failed-0 failed-1 failed-2"),
        ("running", "", "", "running-0"),
        ("", "ModelStatusError 429", "", "failed-0 failed-1"),
        ("done", "ModelStatusError 429", "", ""),
        ("", "", "-1", "done-1 failed-1"),
        ("", "", "%", ""),
        ("failed", "DeadlineExceededError", "2", "failed-2"),
    ],
)
def test_pages_of_a_filter(run_dir: Path, state: Filter, cause: str, contains: str, expected: str) -> None:
    with RunBrowser(run_dir) as browser:
        whole = browser.page(state, cause, contains)
        assert [row.id for row in whole.rows] == expected.split()
        by_one = [browser.page(state, cause, contains, offset, 1) for offset in range(whole.total)]
    assert [row for page in by_one for row in page.rows] == whole.rows
    assert {page.total for page in [whole, *by_one]} == {len(expected.split())}


def test_a_row_says_what_became_of_its_job(run_dir: Path) -> None:
    with RunBrowser(run_dir) as browser:
        rows = {row.id: row for row in browser.page().rows}
    assert (rows["done-0"].tokens, rows["done-0"].turns, rows["done-0"].cause) == (120, 2, "")
    assert (rows["failed-0"].cause, rows["failed-0"].message) == ("ModelStatusError 429", "the server said 429 to 0")
    assert (rows["running-0"].attempts, rows["running-0"].tokens) == (2, None)


def test_causes_are_counted_with_an_example(run_dir: Path) -> None:
    with RunBrowser(run_dir) as browser:
        causes = browser.causes()
    assert [(cause.cause, cause.count, cause.example) for cause in causes] == [
        ("ModelStatusError 429", 2, "failed-0"),
        ("DeadlineExceededError", 1, "failed-2"),
    ]


def test_a_job_has_its_events_of_all_attempts(run_dir: Path) -> None:
    with RunBrowser(run_dir) as browser:
        failed, running = browser.job("failed-0"), browser.job("running-0")
        assert [entry.attempt for entry in failed.events] == [1, 1, 1, 1]
        assert isinstance(failed.events[3].event, ResultEvent)
        assert [entry.event for entry in running.events] == [WorkEvent({"step": "persona"})]
        assert (running.attempts, running.outcome) == (2, None)
        with pytest.raises(InvalidInputError, match="there is no job 'none'"):
            browser.job("none")


def test_damaged_outcomes_do_not_hide_the_others(run_dir: Path) -> None:
    """A list has to show that there is a job even if nothing can be said of it."""
    with sqlite3.connect(run_dir / "journal.db") as connection:
        connection.execute("UPDATE jobs SET outcome = '{torn' WHERE id IN ('done-0', 'failed-0')")
        connection.execute("""UPDATE jobs SET outcome = '{"error": "\\ud83d", "usage": 3}' WHERE id = 'failed-1'""")
    connection.close()
    with RunBrowser(run_dir) as browser:
        rows = {row.id: row for row in browser.page().rows}
        assert len(rows) == 7
        assert (rows["done-0"].tokens, rows["failed-0"].cause, rows["failed-1"].cause) == (None, "", "")
        assert sum(cause.count for cause in browser.causes()) == 3


def test_a_run_of_the_former_format_can_be_looked_at(tmp_path: Path) -> None:
    script.unpack("batch-killed-before-outcome", tmp_path)
    with RunBrowser(tmp_path / script.RUN_DIR) as browser:
        page = browser.page()
        assert page.total == len(page.rows) > 0
        assert browser.page("no_reply").total == 0
        assert browser.job(page.rows[0].id).events == []
