"""The history of notes that jobs have changed: whose change it was, and undoing a job or a whole batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trioagent._config import BatchConfig
from trioagent.batch import Job, run_batch
from trioagent.memory import Memory
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real

REPLY = "<think>t</think><python></python><reply>Yes.</reply>"


def write(path: str, text: str) -> str:
    return f"<think>t</think><python>\ncreate_file({path!r}, {text!r})\n</python>"


async def run(where: Path, answers: list[Any], *, history: bool, ids: str = "ab", **config: Any) -> None:
    jobs = [Job(id=name, memory=str(where / "m"), messages=(f"message of {name}",)) for name in ids]
    async with open_runtime(ScriptedModel(answers), history=history) as runtime:
        settings = BatchConfig(max_concurrent=1, **config)
        await run_batch(jobs, runtime=runtime, run_dir=where / "run", config=settings)


async def test_a_job_and_a_batch_are_taken_back(tmp_path: Path) -> None:
    await run(tmp_path, [write("a.md", "1"), REPLY, write("b.md", "1"), REPLY], history=True)
    memory = Memory(tmp_path / "m")
    revisions = await memory.log()
    assert [(each.job, each.turn, each.said) for each in revisions] == [
        ("b", 1, "message of b"),
        ("a", 1, "message of a"),
    ]
    (batch,) = {each.batch for each in revisions}
    assert batch
    assert (await memory.undo(job="a")).paths == ("a.md",)
    assert (await memory.undo(batch=batch)).changed
    assert [path.name for path in (tmp_path / "m").iterdir()] == [".trioagent"]


async def test_a_job_that_failed_and_began_again_is_taken_back_as_a_whole(tmp_path: Path) -> None:
    bug = ZeroDivisionError("a bug")
    await run(tmp_path, [write("a.md", "1"), bug], history=True, ids="a")
    await run(tmp_path, [write("a.md", "2"), REPLY], history=True, ids="a", retry_failed=True)
    memory = Memory(tmp_path / "m")
    assert [(each.kind, each.job) for each in await memory.log()] == [("agent", "a"), ("undo", "a"), ("agent", "a")]
    assert (await memory.undo(job="a")).paths == ("a.md",)
    assert not (tmp_path / "m" / "a.md").exists()


async def test_none_is_kept_by_default(tmp_path: Path) -> None:
    await run(tmp_path, [write("a.md", "1"), REPLY], history=False, ids="a")
    assert [path.name for path in (tmp_path / "m").iterdir()] == ["a.md"]
