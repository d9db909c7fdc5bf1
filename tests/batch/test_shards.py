"""A batch in parts: each job in one of them, the same on every machine, and put together again."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio

from trioagent._config import BatchConfig
from trioagent._errors import InvalidInputError, ModelStatusError
from trioagent._files import RENAME_EXCHANGE
from trioagent._messages import ChatMessage
from trioagent._runs import RunDirError
from trioagent._runs._journal import open_journal
from trioagent.batch import (
    BadJobsError,
    BatchReport,
    Job,
    JournalError,
    MergeReport,
    RunChangedError,
    Shard,
    ShardsDifferError,
    merge_shards,
    read_rows,
    read_run_status,
    run_batch,
    survey_jobs,
)
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel

from ..lacking_renames import refuse_renames

REPLY = "<think>t</think><python></python><reply>Yes.</reply>"
SILENT = "<think>t</think>"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memories are relative, so that which shard they belong to is the same at every test."""
    monkeypatch.chdir(tmp_path)


def answer(messages: Sequence[ChatMessage]) -> str:
    match messages[1].content:
        case "fail":
            raise ModelStatusError(400, "no such thing")
        case "silent":
            return SILENT
    return REPLY


def jobs(count: int, *, memories: int, **messages: str) -> list[Job]:
    """Jobs ``j0`` and so on, in turn in each memory; *messages* are those that do not say ``hi``."""
    return [
        Job(id=f"j{n}", memory=f"memories/{n % memories}", messages=(messages.get(f"j{n}", "hi"),))
        for n in range(count)
    ]


async def run(where: Path, run_dir: str, shard: str | None, given: list[Job], **config: Any) -> BatchReport:
    async with open_runtime(ScriptedModel(answer, name=config.pop("name", "A"))) as runtime:
        return await run_batch(
            given,
            runtime=runtime,
            run_dir=where / run_dir,
            config=BatchConfig(
                shard=None if shard is None else Shard.parse(shard), max_tool_turns=1, outage_patience=0, **config
            ),
        )


def ids(folder: Path, file: str = "conversations.jsonl") -> list[str]:
    return [row["id"] for row in read_rows(folder / file)]


def merge(where: Path, *run_dirs: str, **options: Any) -> MergeReport:
    return merge_shards(where / "out", [where / name for name in run_dirs], **options)


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_each_memory_is_in_one_shard(count: int) -> None:
    shards = [Shard(index, count) for index in range(1, count + 1)]
    held = [[shard.index for shard in shards if shard.holds(f"memories/user-{n}")] for n in range(2000)]
    assert {len(indexes) for indexes in held} == {1}
    sizes = Counter(indexes[0] for indexes in held)
    assert len(sizes) == count
    assert max(sizes.values()) < 2000 / count * 2 + 10


def test_the_split_is_the_same_in_every_version_and_on_every_machine() -> None:
    """A shard that was begun must remain resumable; these values were computed once."""
    assert [next(i for i in range(1, 8) if Shard(i, 7).holds(name)) for name in ("memories/ada", "é", "/m/\udcff")] == [
        6,
        3,
        5,
    ]


@pytest.mark.parametrize("name", ["memories/a", "./memories/a", "memories//a", "memories/a/", "memories/./a"])
def test_spellings_of_a_memory_are_in_the_same_shard(name: str) -> None:
    assert [Shard(index, 50).holds(name) for index in range(1, 51)] == [
        Shard(index, 50).holds("memories/a") for index in range(1, 51)
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must be written as 2/8"),
        ("2", "must be written as 2/8"),
        ("0/4", "must be written as 2/8"),
        ("-1/4", "must be written as 2/8"),
        ("1/0", "must be written as 2/8"),
        ("1/4/2", "must be written as 2/8"),
        ("½/4", "must be written as 2/8"),
        ("٢/٤", "must be written as 2/8"),
        ("5/4", "5/4 does not exist: there are 4, counted from 1"),
        ("1/20000", "there can be 10,000 at most"),
    ],
)
def test_bad_shards(text: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(words)):
        Shard.parse(text)


def test_a_survey_counts_the_jobs_of_a_shard_and_checks_all(tmp_path: Path) -> None:
    path = tmp_path / "jobs.jsonl"
    rows = [{"id": job.id, "memory": job.memory, "messages": list(job.messages)} for job in jobs(30, memories=10)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert sum(survey_jobs(path, shard=Shard(index, 3)).jobs for index in (1, 2, 3)) == 30
    path.write_text("\n".join(map(json.dumps, [*rows, {**rows[0], "memory": "other"}])))
    for index in (1, 2, 3):
        with pytest.raises(BadJobsError, match="line 31: has the id 'j0' of line 1 again"):
            survey_jobs(path, shard=Shard(index, 3))


@pytest.mark.parametrize("other", ["{here}/memories/a", "link"])
def test_a_memory_with_two_names_is_refused(other: str, tmp_path: Path) -> None:
    """Its jobs would be in two shards; without shards both names are good."""
    (tmp_path / "memories" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to("memories/a")
    name = other.format(here=tmp_path)
    rows = [{"id": str(n), "memory": m, "messages": ["hi"]} for n, m in enumerate(["memories/a", name, name])]
    path = tmp_path / "jobs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(BadJobsError, match=f"line 2: memory: '{name}' is the folder of 'memories/a' in line 1") as bad:
        survey_jobs(path, shard=Shard(1, 2))
    assert len(bad.value.rows) == 1
    assert survey_jobs(path).jobs == 3


@pytest.mark.real
async def test_shards_add_up_to_the_whole(tmp_path: Path) -> None:
    given = jobs(12, memories=6, j3="fail", j4="silent")
    for index in (3, 1, 2):
        await run(tmp_path, f"s{index}", f"{index}/3", given)
    found = [set(ids(tmp_path / name) + ids(tmp_path / name, "failures.jsonl")) for name in ("s1", "s2", "s3")]
    assert sum(map(len, found)) == 12
    for n in range(6):
        assert sum({f"j{n}", f"j{n + 6}"} <= one for one in found) == 1
    before = {name: everything_in(tmp_path / name) for name in ("s1", "s2", "s3")}

    report = merge(tmp_path, "s3", "s1", "s2")
    assert (report.done, report.failed, report.no_reply, report.left, report.not_begun) == (11, 1, 1, 0, 0)
    assert report.complete
    assert sorted(ids(tmp_path / "out")) == sorted(f"j{n}" for n in range(12) if n != 3)
    (failed,) = read_rows(tmp_path / "out" / "failures.jsonl")
    assert (failed["id"], failed["error"]["fields"]["status"]) == ("j3", 400)
    assert [(one.cause, one.count, one.example) for one in report.causes] == [("ModelStatusError 400", 1, "j3")]
    statuses = [read_run_status(tmp_path / name) for name in ("s1", "s2", "s3")]
    merged = read_run_status(tmp_path / "out")
    assert merged.merged and not statuses[0].merged
    assert merged.counts == sum((Counter(status.counts) for status in statuses), Counter())
    assert report.tokens == sum(status.spent.total_tokens for status in statuses) > 0
    assert merged.spent.total_tokens == report.tokens
    written = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (written["done"], written["complete"]) == (11, True)
    assert [shard["shard"] for shard in written["shards"]] == ["1/3", "2/3", "3/3"]
    assert {name: everything_in(tmp_path / name) for name in before} == before
    rows = {name: (tmp_path / "out" / name).read_bytes() for name in ("conversations.jsonl", "failures.jsonl")}
    merge(tmp_path, "s1", "s2", "s3")
    assert rows == {name: (tmp_path / "out" / name).read_bytes() for name in rows}
    assert sorted(os.listdir(tmp_path)) == ["out", "s1", "s2", "s3"]


@pytest.mark.real
async def test_another_split_is_refused_by_name(tmp_path: Path) -> None:
    given = jobs(4, memories=4)
    await run(tmp_path, "s1", "1/2", given)
    for other, words in (("2/2", "shard was '1/2' and is '2/2'"), (None, "shard was '1/2' and is None")):
        with pytest.raises(RunChangedError, match=re.escape(words)):
            await run(tmp_path, "s1", other, given)
    assert (await run(tmp_path, "s1", "1/2", given)).stopped == ""


@pytest.mark.real
async def test_a_shard_without_jobs_is_finished(tmp_path: Path) -> None:
    given = jobs(1, memories=1)
    reports = [await run(tmp_path, f"s{index}", f"{index}/2", given) for index in (1, 2)]
    assert sorted(report.done for report in reports) == [0, 1]
    report = merge(tmp_path, "s1", "s2")
    assert (report.done, report.complete) == (1, True)


@pytest.mark.real
async def test_unfinished_and_missing_shards_are_named_and_merged_again_later(tmp_path: Path) -> None:
    given = jobs(20, memories=20)
    await run(tmp_path, "s1", "1/3", given)
    stopped = await run(tmp_path, "s2", "2/3", given, limit=1)
    report = merge(tmp_path, "s2", "s1")
    assert not report.complete
    assert report.missing == ("3/3",)
    assert [one.unfinished for one in report.shards] == ["", "it had run as many jobs as its limit allowed"]
    assert report.done == len(ids(tmp_path / "out")) == len(ids(tmp_path / "s1")) + stopped.done
    await run(tmp_path, "s2", "2/3", given)
    await run(tmp_path, "s3", "3/3", given)
    report = merge(tmp_path, "s1", "s2", "s3")
    assert report.complete
    assert sorted(ids(tmp_path / "out")) == sorted(job.id for job in given)


@pytest.mark.real
async def test_a_killed_and_a_running_shard_are_unfinished(tmp_path: Path) -> None:
    given = jobs(4, memories=4)
    await run(tmp_path, "s1", "1/1", given)
    with closing(sqlite3.connect(tmp_path / "s1" / "journal.db")) as journal:
        (text,) = journal.execute("SELECT value FROM meta WHERE key = 'starts'").fetchone()
        starts = {name: value for name, value in json.loads(text).items() if name != "end"}
        journal.execute("UPDATE meta SET value = ? WHERE key = 'starts'", (json.dumps(starts),))
        journal.commit()
    assert [one.unfinished for one in merge(tmp_path, "s1").shards] == ["it was killed"]
    async with open_journal(tmp_path / "s1"):
        report = await trio.to_thread.run_sync(merge, tmp_path, "s1")
    assert [one.unfinished for one in report.shards] == ["it is running"]
    assert (report.done, report.not_begun) == (4, None)


@pytest.mark.real
async def test_ids_in_two_shards_are_refused_by_name(tmp_path: Path) -> None:
    """As when a job was given another memory, and so another shard, after the first one had run."""
    given = jobs(8, memories=8)
    await run(tmp_path, "s1", "1/3", given)
    await run(tmp_path, "s2", "2/3", given)
    moved = next(job for job in given if Shard(2, 3).holds(job.memory))
    memory = next(f"moved/{n}" for n in range(100) if Shard(3, 3).holds(f"moved/{n}"))
    await run(tmp_path, "s3", "3/3", [Job(id=moved.id, memory=memory, messages=("hi",))])
    merge(tmp_path, "s1")
    before = everything_in(tmp_path / "out")
    words = f"have ids twice: '.*s3' has, as others have, '{moved.id}' \\('.*s2'\\); nothing was merged"
    with pytest.raises(InvalidInputError, match=words):
        merge(tmp_path, "s1", "s2", "s3", accept_changes=True)
    assert everything_in(tmp_path / "out") == before
    assert not (tmp_path / ".out.merging").exists()


@pytest.mark.real
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "B"}, "model is 'A' in '.*s1' and 'B' in '.*s2'"),
        ({"system_prompt_append": "Be brief."}, "prompt is '.*' in '.*s1' and '.*' in '.*s2'"),
        ({"given": jobs(9, memories=9)}, "jobs file is '.*' in '.*s1' and '.*' in '.*s2'"),
    ],
)
async def test_shards_of_other_runs_are_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    given = jobs(8, memories=8)
    await run(tmp_path, "s1", "1/2", given)
    await run(tmp_path, "s2", "2/2", change.pop("given", given), **change)
    with pytest.raises(ShardsDifferError, match=words) as caught:
        merge(tmp_path, "s1", "s2")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert not (tmp_path / "out").exists()
    report = merge(tmp_path, "s1", "s2", accept_changes=True)
    assert [difference[0] for difference in report.accepted] == [words.partition(" is")[0]]
    assert report.done >= 8


@pytest.mark.real
async def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    given = jobs(2, memories=2)
    await run(tmp_path, "s1", "1/2", given)
    await run(tmp_path, "twin", "1/2", given)
    await run(tmp_path, "t1", "1/3", given)
    await run(tmp_path, "whole", None, given)
    for run_dirs, words in [
        ([], "none are given"),
        (["none"], "holds no journal.db"),
        (["s1", "whole"], "whole' is not the run of a shard"),
        (["s1", "twin"], "have one twice: .*s1' (1/2) and .*twin' (1/2)".replace("(", r"\(").replace(")", r"\)")),
        (["s1", "t1"], "are of different splits"),
    ]:
        with pytest.raises(InvalidInputError, match=words):
            merge(tmp_path, *run_dirs, accept_changes=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.real
async def test_only_merged_shards_are_replaced(tmp_path: Path) -> None:
    given = jobs(2, memories=2)
    await run(tmp_path, "s1", "1/1", given)
    await run(tmp_path, "whole", None, given)
    (tmp_path / "file").write_text("x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.md").write_text("x")
    (tmp_path / "link").symlink_to("elsewhere")
    (tmp_path / "empty").mkdir()
    before = everything_in(tmp_path)
    for out, words in [
        ("file", "is not a folder"),
        ("link", "is not a folder"),
        ("mine", "contains something other than merged shards"),
        ("whole", "contains something other than merged shards"),
        ("s1", "must not lie in each other"),
        ("s1/out", "must not lie in each other"),
        (".", "must not lie in each other"),
    ]:
        with pytest.raises(InvalidInputError, match=words):
            merge_shards(tmp_path / out, [tmp_path / "s1"])
    assert everything_in(tmp_path) == before
    assert merge_shards(tmp_path / "empty", [tmp_path / "s1"]).complete
    assert merge_shards(tmp_path / "new" / "deep", [tmp_path / "s1"]).complete


@pytest.mark.real
async def test_merged_shards_cannot_be_gone_on_with(tmp_path: Path) -> None:
    """Their jobs' receipts are in notes elsewhere; a run would begin all of them again."""
    given = jobs(2, memories=2)
    await run(tmp_path, "s1", "1/1", given)
    merge(tmp_path, "s1")
    before = everything_in(tmp_path / "out")
    with pytest.raises(JournalError, match="holds merged shards, not batch jobs"):
        await run(tmp_path, "out", None, given)
    assert everything_in(tmp_path / "out") == before


@pytest.mark.real
async def test_a_merge_that_was_killed_leaves_the_old_one_and_is_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = jobs(6, memories=6)
    await run(tmp_path, "s1", "1/1", given, limit=2)
    merge(tmp_path, "s1")
    before = everything_in(tmp_path / "out")
    await run(tmp_path, "s1", "1/1", given)
    (tmp_path / ".out.merging").mkdir()
    (tmp_path / ".out.merging" / "journal.db").write_bytes(b"half a")
    with monkeypatch.context() as patch:
        refuse_renames(patch, errno.ENOSPC, RENAME_EXCHANGE)
        with pytest.raises(RunDirError, match="No space left"):
            merge(tmp_path, "s1")
    assert everything_in(tmp_path / "out") == before
    assert merge(tmp_path, "s1").done == 6
    assert len(ids(tmp_path / "out")) == 6
    assert not (tmp_path / ".out.merging").exists()
