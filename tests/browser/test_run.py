"""A run in a real browser: its numbers, its jobs, one job's transcript, failures by cause; also a very large one."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest
import trio

from benchmarks.page import write_run
from tests.runs.support import journal_jobs
from tests.runs.test_control import going
from tests.runs.test_series import at
from trioagent._remote import NodeStatus
from trioagent._runs._lock import take_run_lock
from trioagent._runs._report import StatusFile
from trioagent._runs._waits import JobWait, insert_waits
from trioagent.evals import read_scores

from .chromium import Browser
from .page_server import page_server
from .scenes import serve_scenes

pytestmark = [pytest.mark.real, pytest.mark.browser]
LARGE = 100_000


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    trio.run(journal_jobs, tmp_path / "july")
    status = StatusFile(tmp_path / "july", "a model")
    for second in range(20):
        status.write(at(float(second), done=second // 5, failed=second // 9, tokens_total=second * 1000, running=4))
    status.write(at(20.0, done=3, failed=3, tokens_total=20_000), ended=True)
    return tmp_path / "july"


@pytest.fixture
def run(browser: Browser, run_dir: Path) -> Iterator[Browser]:
    with page_server(None, runs=run_dir) as link:
        browser.open(link)
        browser.one(".run h1", "july")
        yield browser
        browser.leave()


def test_numbers_and_plots(run: Browser) -> None:
    assert run.texts(".figure dt")[:3] == ["Done", "Failed", "To go on with"]
    assert [text.split()[0] for text in run.texts(".figure dd")[:3]] == ["3", "3", "1"]
    run.one(".state-line", "was cancelled, or ended with an error")
    run.wait(lambda: len(run.all(".uplot canvas")) == 5)
    assert run.texts(".plot .value")[0] == "3 done, 3 failed"
    assert run.texts(".plot .value")[3] == "20K"


def test_jobs_by_state_cause_and_id(run: Browser) -> None:
    run.wait(lambda: len(run.all("[role=option]")) == 7)
    run.one(".segments button", "Failed").click()
    run.wait(lambda: run.texts("[role=option] .id") == ["failed-0", "failed-1", "failed-2"])
    run.one(".cause", "ModelStatusError 429").click()
    run.wait(lambda: run.texts("[role=option] .id") == ["failed-0", "failed-1"])
    run.one(".chip", "ModelStatusError 429").click()
    run.press("/")
    run.press("-", "2")
    run.wait(lambda: run.texts("[role=option] .id") == ["failed-2"])
    run.one(".segments button", "No reply").click()
    run.wait(lambda: run.texts("[role=option] .id") == ["done-2"])
    run.press("/")
    run.press("x", "x")
    run.one(".jobs .summary", "No job fits the filters.")


def test_a_transcript_with_every_attempt_and_diff(run: Browser) -> None:
    run.one("[role=option]", "failed-0").click()
    run.one(".job h2", "failed-0")
    run.one(".error-box", "the server said 429 to 0")
    assert run.texts(".job .block code") == ["create_file('a.md', 'one')", "update_file('a.md', 'one', 'two')"]
    assert run.texts(".job .added .text") == ["one"]
    assert run.texts(".job .removed .text") == ["gone"]
    run.press("ESCAPE")
    run.one(".causes h2", "Failures by cause")
    run.one("[role=option]", "running-0").click()
    run.one(".job", "Attempt 2")
    run.one(".job .wait", "It did not end well: DeadlineExceededError: it took too long")
    run.go("#/run/july/jobs/done-0")
    run.one(".job .said", "I moved to Berlin.")
    run.one(".job .reply", "Noted.")
    assert run.texts(".job .change") == []
    run.go("#/run/july/jobs/done-1")
    run.one(".job .change", "Changed user.md")
    assert run.texts(".job .change .label") == ["Changed user.md", "Deleted old.md", "Changed large.md"]
    assert run.texts(".job .added .text") == ["hi"]
    assert run.texts(".job .removed .text") == ["hello", "gone"]
    run.one(".job .change", "What changed in its text is not shown: it is too much, or not known any more.")
    run.go("#/run/july/jobs/none")
    run.one(".job [role=alert]", "there is no job 'none'")
    assert all("404" in complaint for complaint in run.complaints())


def test_the_list_is_used_by_keyboard(run: Browser) -> None:
    run.wait(lambda: len(run.all("[role=option]")) == 7)
    run.driver.execute_script("arguments[0].focus()", run.one("[role=listbox]"))
    run.press("END", "ENTER")
    run.one(".job h2", "running-0")


def test_a_run_that_goes_on_is_followed(browser: Browser, run_dir: Path) -> None:
    status = StatusFile(run_dir, "a model")
    worker = NodeStatus(node="far:7", epoch=1, state="working", tier="kernel", running=3, answers=1, blocks=1)
    lost = attrs.evolve(worker, node="near:8", epoch=2, state="lost", problem="its process is gone")
    status.write(at(1.0, done=1, total=10, eta_seconds=9.0, nodes=(worker, lost)))
    lock = take_run_lock(run_dir)
    assert lock is not None
    try:
        with page_server(None, runs=run_dir) as link:
            browser.open(link)
            browser.one(".state-line", "runs on a model")
            browser.one(".figures", "of 10")
            browser.one(".run-head", "far:7 3 under way · 1 lost or refused, the last: its process is gone")
            with sqlite3.connect(run_dir / "journal.db") as connection:
                connection.execute("UPDATE jobs SET state = 'done' WHERE id = 'running-0'")
            connection.close()
            status.write(at(2.0, done=2, total=10))
            browser.wait(lambda: browser.texts(".figure dd")[0].startswith("4"))
            browser.wait(lambda: len(browser.all(".dot.done")) == 3)
            browser.leave()
    finally:
        lock.release()


@contextmanager
def going_on(folder: Path, released: threading.Event) -> Iterator[Path]:
    """A run that takes commands, in a thread of its own; it ends once it is *released*."""
    ready = threading.Event()

    async def main() -> None:
        async with going(folder, "a", "b", "c"):
            ready.set()
            while not released.is_set():
                await trio.sleep(0.02)

    thread = threading.Thread(target=trio.run, args=(main,), name="a run")
    thread.start()
    try:
        ready.wait(30)
        yield folder / "run"
    finally:
        released.set()
        thread.join()


def test_a_run_is_paused_and_stopped_and_a_job_cancelled(browser: Browser, tmp_path: Path) -> None:
    released = threading.Event()
    with going_on(tmp_path, released) as run_dir, page_server(None, runs=run_dir) as link:
        browser.open(link)
        browser.one(".run-head button", "Pause").click()
        browser.one(".state-line", "paused")
        browser.one("[role=option]", "a").click()
        browser.one(".job button", "Cancel it").click()
        browser.wait(lambda: not browser.all(".job .actions button"))
        browser.one(".run-head button", "Go on").click()
        browser.one(".run-head button", "Pause")
        browser.one(".run-head button", "Stop").click()
        browser.one(".run-head", "It is stopping.")
        released.set()
        browser.one(".state-line", "was interrupted")
        browser.leave()


def test_a_hundred_thousand_jobs(browser: Browser, tmp_path: Path) -> None:
    """How long it takes is measured by the benchmarks; here, that only the rows that are seen are there."""
    write_run(tmp_path / "large", LARGE)
    with page_server(None, runs=tmp_path / "large") as link:
        browser.open(link)
        browser.one(".jobs .summary", "100,000 jobs")
        rows = browser.one("[role=listbox]")
        browser.driver.execute_script("arguments[0].focus()", rows)
        browser.press("END")
        browser.wait(lambda: "job-099999" in browser.texts("[role=option] .id"))
        assert len(browser.all("[role=option]")) < 60
        browser.one(".cause", "DeadlineExceededError").click()
        browser.one(".jobs .summary", "3,333 jobs")
        browser.leave()


def test_what_a_job_has_waited_for(browser: Browser, run_dir: Path) -> None:
    with sqlite3.connect(run_dir / "journal.db") as connection:
        waits = [JobWait(attempt=1, n=0, state="held", began=1.79e9, seconds=119.7, cause="<b>503</b>: busy")]
        for job in ("failed-0", "done-0"):
            insert_waits(connection.cursor(), job, waits, before=0)
    connection.close()
    with page_server(None, runs=run_dir) as link:
        for job in ("failed-0", "done-0"):
            browser.open(link, f"#/run/july/jobs/{job}")
            words = browser.one(".job .wait").text
            assert words == "Waited 2 min 0 s for the server, or for room on the disk: <b>503</b>: busy"
        browser.leave()


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def test_an_evaluation(browser: Browser, tmp_path: Path) -> None:
    """Scores with intervals, what is wrong and why, and the comparison with another one."""
    with serve_scenes(tmp_path) as link:
        browser.open(link, "#/run/eval-rules")
        browser.one(".chart .all")
        found = read_scores(tmp_path / "runs" / "eval-rules")
        expected = [
            [each.category, percent(each.score), f"{percent(each.low)} to {percent(each.high)}", str(each.samples), ""]
            for each in (*found.categories, found.total)
        ]
        rows = [
            [cell.text for cell in row.find_elements("css selector", "th, .number")]
            for row in browser.all(".chart tbody tr")
        ]
        assert rows == expected
        assert len(browser.all(".chart .point")) == 5
        browser.choose("#compared", "eval-search")
        browser.one(".evaluation h3", "eval-search minus eval-rules, in points")
        browser.wait(lambda: len(browser.all(".chart .point")) == 10)
        browser.one(".segments button", "Wrong").click()
        browser.one(".jobs .summary", f"{60 - found.total.correct} jobs")
        browser.one("[role=option]", "the reply does not say 'Porto'").click()
        browser.one(".grade-box.wrong", "Score 0.00")
        browser.one(".grade-box", "I do not know where you live.")
        browser.one(".grade-box .added")
        browser.go("#/run/july")
        browser.one(".run h1", "july")
        assert not browser.all(".evaluation:not([hidden])")
        assert browser.complaints() == []
        browser.leave()
