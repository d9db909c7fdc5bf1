"""What each block of a job changed is there when the job is done, also if its process was killed on the way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._config import BatchConfig, VaultPolicy
from trioagent._runs import RunBrowser
from trioagent.batch import Job, JournalReader, Shard, merge_shards, run_batch
from trioagent.runtime import open_runtime
from trioagent.server._transcript import ChangeEntry, JobView, ResultEntry, Said, job_view
from trioagent.testing import ModelServer, ScriptedModel, serve_model

from .test_failed_jobs import BUG, REPLY, append, block
from .test_resume import Model, command, run_child

pytestmark = pytest.mark.real


async def run(where: Path, *answers: Any, messages: tuple[str, ...] = ("one",), **config: Any) -> JobView:
    job = Job(id="a", memory=str(where / "m"), messages=messages)
    async with open_runtime(ScriptedModel(answers)) as runtime:
        await run_batch([job], runtime=runtime, run_dir=where / "run", config=BatchConfig(**config))
    return view(where)


def view(where: Path, job: str = "a", run_dir: str = "run") -> JobView:
    with RunBrowser(where / run_dir) as browser:
        return job_view(browser.job(job))


def changes(job: JobView) -> list[list[str]]:
    """Of each result its changes, in short."""
    return [[short(change) for change in entry.changes] for entry in results(job)]


def results(job: JobView) -> Iterator[Said | ResultEntry]:
    for entry in job.entries:
        if isinstance(entry, ResultEntry) or (isinstance(entry, Said) and entry.role == "tool"):
            yield entry


def short(change: ChangeEntry) -> str:
    if change.hunks is None:
        return f"{change.action} {change.path}: ?"
    lines = [f"{sign}{text}" for hunk in change.hunks for sign, text in hunk.lines]
    return f"{change.action} {change.path}: {' '.join(lines)}"


async def test_of_a_conversation_with_several_blocks(tmp_path: Path) -> None:
    answers = [
        block("create_file('log.md', 'first\\n')"),
        block("x = 1"),
        append("second\n"),
        "<think>no code</think>",
        block("raise ValueError('nothing is saved')"),
        REPLY,
        block("delete_file('log.md')", "create_file('new.md', 'new')"),
        REPLY,
    ]
    job = await run(tmp_path, *answers, messages=("one", "two"))
    assert job.state == "done"
    assert changes(job) == [
        ["made log.md: +first"],
        [],
        ["changed log.md:  first +second"],
        [],  # the hint
        [],
        ["deleted log.md: -first -second", "made new.md: +new"],
    ]


async def test_what_others_change_meanwhile_is_not_shown_as_the_jobs(tmp_path: Path) -> None:
    class Editing(ScriptedModel):
        def answer(self, messages: Any) -> Any:
            if len(self.calls) == 1:
                (tmp_path / "m" / "log.md").write_text("of an editor\n")
            if len(self.calls) == 3:
                (tmp_path / "m" / "log.md").unlink()
            return super().answer(messages)

    model = Editing(
        [block("create_file('log.md', 'first\\n')"), block("t = read_file('log.md')"), append("more\n"), REPLY]
    )
    job = Job(id="a", memory=str(tmp_path / "m"), messages=("one",))
    async with open_runtime(model) as runtime:
        await run_batch([job], runtime=runtime, run_dir=tmp_path / "run")
    assert changes(view(tmp_path)) == [["made log.md: +first"], [], ["changed log.md:  of an editor +more"]]


async def test_an_attempt_that_begins_again_shows_both(tmp_path: Path) -> None:
    failed = await run(tmp_path, block("create_file('log.md', 'first\\n')"), append("second\n"), BUG)
    assert changes(failed) == [["made log.md: +first"], ["changed log.md:  first +second"]]
    job = await run(tmp_path, block("create_file('log.md', 'other\\n')"), REPLY, retry_failed=True)
    kinds = " ".join(entry.kind for entry in job.entries)
    assert kinds == "answer result answer result end said said answer said answer"
    assert changes(job) == [*changes(failed), ["made log.md: +other"]]
    assert (tmp_path / "m" / "log.md").read_text() == "other\n"


async def test_a_job_without_a_reply_that_begins_again(tmp_path: Path) -> None:
    """Nothing is rolled back, and both conversations are shown."""
    silent = await run(tmp_path, block("create_file('log.md', 'first\\n')"), block("x = 1"), max_tool_turns=1)
    assert silent.no_reply
    job = await run(tmp_path, append("second\n"), REPLY, retry_failed=True, max_tool_turns=1)
    assert changes(job) == [["made log.md: +first"], [], ["changed log.md:  first +second"]]


async def test_of_notes_that_may_not_be_read_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "m" / "closed").mkdir(parents=True)
    (tmp_path / "m" / "closed" / "secret.md").write_text("hunter2secret")
    policy = VaultPolicy(readable=("open/**",))
    answers = [block("create_file('open/a.md', 'one')"), block("create_file('closed/secret.md', 'two')"), REPLY]
    job = await run(tmp_path, *answers, policy=policy)
    assert changes(job) == [["made open/a.md: +one"], []]
    assert b"hunter2secret" not in (tmp_path / "run" / "journal.db").read_bytes()


async def test_shards_together_show_what_each_showed(tmp_path: Path) -> None:
    jobs = [Job(id=f"j{number}", memory=str(tmp_path / f"m{number}"), messages=("one",)) for number in range(6)]
    for index in (1, 2):
        model = ScriptedModel(lambda messages: REPLY if len(messages) > 2 else block("create_file('a.md', 'x')"))
        async with open_runtime(model) as runtime:
            config = BatchConfig(shard=Shard(index, 2), max_concurrent=1)
            await run_batch(jobs, runtime=runtime, run_dir=tmp_path / f"part-{index}", config=config)
    with JournalReader(tmp_path / "part-2") as part:
        of_second = part.counts()["done"]
    assert 0 < of_second < 6
    await trio.to_thread.run_sync(merge_shards, tmp_path / "all", [tmp_path / "part-1", tmp_path / "part-2"])
    for job in jobs:
        assert changes(view(tmp_path, job.id, "all")) == [["made a.md: +x"]]


@pytest.mark.parametrize(
    ("when", "writes"),
    [
        ("before", range(1, 100, 4)),
        ("after", range(3, 100, 4)),
        pytest.param("before", range(1, 100), marks=pytest.mark.slow),
        pytest.param("after", range(1, 100), marks=pytest.mark.slow),
    ],
    ids=["before each fourth", "after each fourth", "before each", "after each"],
)
async def test_killed_at_every_journal_write(when: str, writes: range, tmp_path: Path) -> None:
    """Each change is shown once. What it was is not known of a block that had committed before anything said so."""
    whole = [
        *("made log.md: +turn 0", "changed log.md:  turn 0 +turn 1"),
        *("changed log.md:  turn 0  turn 1 +turn 3", "changed log.md:  turn 0  turn 1  turn 3 +turn 4"),
    ]
    unknown = set[int]()
    async with trio.open_nursery() as nursery:
        server: ModelServer = await nursery.start(serve_model, Model())
        for write in writes:
            where = tmp_path / f"{when}{write}"
            code = await run_child(command(server, where, count=1, concurrent=1, die=(write, when)))
            if code == 0:
                break
            assert code == -signal.SIGKILL
            assert await run_child(command(server, where, count=1, concurrent=1, die=(0, "-"))) == 0
            shown = [change for block in changes(view(where, "job-0")) for change in block]
            assert len(shown) == 4
            for number, (change, expected) in enumerate(zip(shown, whole, strict=True)):
                if change != expected:
                    assert change == f"{expected.partition(':')[0]}: ?", f"died {when} write {write}"
                    unknown.add(number)
        nursery.cancel_scope.cancel()
    assert write < 96
    assert unknown <= {0, 1, 2, 3}
