"""What a job's transcript says of its blocks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.runs.support import DONE, answer, failed_outcome, journal_jobs, result
from trioagent._runs import ChangeLog, RunBrowser, WorkEvent
from trioagent._runs._journal import open_journal
from trioagent._runs._kept import MOST_NOTES
from trioagent.server._diff import MOST_LINES, DiffHunk, DiffWork, diff_notes
from trioagent.server._transcript import (
    AnswerEntry,
    ChangeEntry,
    EndEntry,
    JobView,
    ResultEntry,
    Said,
    WorkEntry,
    job_view,
)


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
    assert running.entries == [
        EndEntry(attempt=1, reason="DeadlineExceededError: it took too long"),
        WorkEntry(attempt=2, body={"step": "persona"}),
    ]


@pytest.mark.real
async def test_of_a_job_that_is_done_the_messages_are_shown(tmp_path: Path) -> None:
    await journal_jobs(tmp_path)
    with RunBrowser(tmp_path) as browser:
        job = job_view(browser.job("done-0"))
    assert [entry.role for entry in job.entries if isinstance(entry, Said)] == ["user", "tool"]
    assert job.usage is not None
    assert job.usage["cost"] == 0.01
    assert job.outcome == {"turns": 2, "stop_reasons": ["reply"]}


def view(run_dir: Path, job: str = "a") -> JobView:
    with RunBrowser(run_dir) as browser:
        return job_view(browser.job(job))


def of_blocks(*blocks: Mapping[str, tuple[bytes | None, bytes | None]]) -> ChangeLog:
    log = ChangeLog()
    for number, block in enumerate(blocks):
        log.add(number, result(block), {path: after for path, (_, after) in block.items() if after is not None})
    return log


@pytest.mark.real
async def test_of_a_job_that_is_done_each_block_has_its_changes(tmp_path: Path) -> None:
    """With a hint in between, which is told as a result is."""
    block, hint = "<think>t</think><python>\ncode()\n</python>", "<think>t</think>"
    said = [
        ("system", "You keep notes."),
        ("user", "one"),
        ("assistant", hint),
        ("tool", "Your answer has no code."),
        ("assistant", block),
        ("tool", "<result>\n({}, '')\n</result>"),
        ("assistant", block),
        ("tool", "<result>\n({}, '')\n</result>"),
        ("assistant", "<think>t</think><python></python><reply>Yes.</reply>"),
        ("user", "two"),
        ("assistant", block),
        ("tool", "<result>\n({}, '')\n</result>"),
    ]
    outcome = {**DONE, "messages": [{"role": role, "content": content} for role, content in said]}
    changes = of_blocks({}, {"a.md": (None, b"one")}, {}, {}, {"a.md": (b"one", b"two"), "b.md": (b"gone", None)})
    async with open_journal(tmp_path) as journal:
        await journal.begin("a", "digest")
        await journal.finish("a", "done", outcome, changes=changes)
    entries = view(tmp_path).entries
    assert [len(entry.changes) for entry in entries if isinstance(entry, Said) and entry.role == "tool"] == [0, 1, 0, 2]
    first, last = entries[5], entries[-1]
    assert isinstance(first, Said)
    assert first.changes == [ChangeEntry(path="a.md", action="made", hunks=[DiffHunk(1, 1, [("+", "one")])])]
    assert isinstance(last, Said)
    assert last.changes == [
        ChangeEntry(path="a.md", action="changed", hunks=[DiffHunk(1, 1, [("-", "one"), ("+", "two")])]),
        ChangeEntry(path="b.md", action="deleted", hunks=[DiffHunk(1, 1, [("-", "gone")])]),
    ]


@pytest.mark.real
async def test_every_attempt_is_shown_once_with_its_changes_and_why_it_ended(tmp_path: Path) -> None:
    """Whether the changes of the previous one have been rolled back by then or not."""
    async with open_journal(tmp_path) as journal:
        record = await journal.begin("a", "digest")
        await journal.add_event(record, 0, answer("create_file('a.md', 'one')"))
        await journal.add_event(record, 1, result({"a.md": (None, b"one")}))
        await journal.finish("a", "failed", failed_outcome(0))
        record = await journal.begin("a", "digest")
        while_running = view(tmp_path).entries
        await journal.forget_former(record)
        assert view(tmp_path).entries == while_running
        await journal.finish("a", "done", DONE, changes=of_blocks({"b.md": (None, b"two")}), no_reply=True)
        await journal.begin("a", "digest")
        await journal.finish("a", "done", DONE)
    job = view(tmp_path)
    assert [(entry.attempt, entry.kind) for entry in job.entries] == [
        *((1, kind) for kind in ("answer", "result", "end")),
        *((2, kind) for kind in ("said", "answer", "said", "answer", "end")),
        *((3, kind) for kind in ("said", "answer", "said", "answer")),
    ]
    assert list(job.entries[:3]) == while_running
    result_of_first, end_of_first, result_of_second = job.entries[1], job.entries[2], job.entries[5]
    assert isinstance(result_of_first, ResultEntry)
    assert [(change.path, change.action, change.hunks) for change in result_of_first.changes] == [
        ("a.md", "made", None)
    ]
    assert end_of_first == EndEntry(attempt=1, reason="ModelStatusError: the server said 429 to 0")
    assert isinstance(result_of_second, Said)
    assert [change.path for change in result_of_second.changes] == ["b.md"]
    assert job.entries[7] == EndEntry(attempt=2, reason="")


@pytest.mark.real
@pytest.mark.parametrize("state", ["done", "failed"])
async def test_conversations_that_were_not_accepted_come_before_the_one_that_counts(
    state: Literal["done", "failed"], tmp_path: Path
) -> None:
    def rejected(said: str) -> dict[str, Any]:
        verdicts = [{"check": "facts", "passed": False, "reason": f"not {said}"}, {"check": "x", "passed": True}]
        return {"verdicts": verdicts, "messages": [{"role": "user", "content": said}]}

    tries = [rejected("first"), rejected("second")]
    log = of_blocks({"a.md": (None, b"one")})
    async with open_journal(tmp_path, "conversations") as journal:
        record = await journal.begin("a", "digest")
        for n, body in enumerate([*tries, *([] if state == "done" else [{}, rejected("I moved to Berlin.")])]):
            await journal.add_event(record, n, WorkEvent(body))
        earlier = [WorkEvent(body) for body in tries] if state == "done" else ()
        await journal.finish("a", state, DONE, changes=log, earlier=earlier)
    job = view(tmp_path)
    words = [entry.text if isinstance(entry, Said) else entry.reason for entry in job.entries[:4]]  # type: ignore[union-attr]
    assert words == ["first", "facts: not first", "second", "facts: not second"]
    assert [entry.kind for entry in job.entries[4:]] == ["said", "answer", "said", "answer"]
    block = job.entries[6]
    assert isinstance(block, Said)
    assert [change.path for change in block.changes] == ["a.md"]


@pytest.mark.real
async def test_what_was_not_kept_is_said_so(tmp_path: Path) -> None:
    large, many = b"x" * 300_000, {f"{number}.md": (None, b"one") for number in range(MOST_NOTES + 7)}
    async with open_journal(tmp_path) as journal:
        await journal.begin("a", "digest")
        await journal.finish("a", "done", DONE, changes=of_blocks({"a.md": (large, b"two"), **many}))
    (block,) = (entry for entry in view(tmp_path).entries if isinstance(entry, Said) and entry.role == "tool")
    assert block.changes[0] == ChangeEntry(path="a.md", action="changed", hunks=None)
    assert (len(block.changes), block.more_changes) == (MOST_NOTES, 8)


def test_comparisons_together_cost_no_more_than_they_may() -> None:
    work, old, new = DiffWork(100), b"a\nb\n" * 4, b"b\na\n" * 4
    assert [len(hunk.lines) for hunk in diff_notes(old, new, work)] == [4, 4]
    (hunk,) = diff_notes(old, new, work)
    assert [sign for sign, _ in hunk.lines] == ["-"] * 8 + ["+"] * 8
    assert diff_notes(old, old, work) == []
    assert work.pairs == 36


@pytest.mark.real
async def test_a_large_content_that_many_notes_have_is_not_shown_for_each(tmp_path: Path) -> None:
    large = b"x" * 200_000
    many = {f"{number}.md": (None, large) for number in range(MOST_NOTES)}
    async with open_journal(tmp_path) as journal:
        await journal.begin("a", "digest")
        await journal.finish("a", "done", DONE, changes=of_blocks(many))
    (block,) = (entry for entry in view(tmp_path).entries if isinstance(entry, Said) and entry.role == "tool")
    assert len(block.changes) == MOST_NOTES
    assert sum(change.hunks is not None for change in block.changes) == 20


@pytest.mark.real
async def test_no_more_lines_are_shown_than_a_browser_can_bear(tmp_path: Path) -> None:
    many = {f"{number}.md": (None, b"x\n" * MOST_LINES) for number in range(MOST_NOTES)}
    async with open_journal(tmp_path) as journal:
        await journal.begin("a", "digest")
        await journal.finish("a", "done", DONE, changes=of_blocks(many))
    entries = [entry for entry in view(tmp_path).entries if isinstance(entry, Said)]
    lines = [len(hunk.lines) for entry in entries for change in entry.changes for hunk in change.hunks or ()]
    assert lines == [MOST_LINES] * 6


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
