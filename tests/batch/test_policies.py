"""What the blocks of a batch may touch: the batch's policy or a row's own, pinned, and found out before it costs."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trioagent._config import BatchConfig, VaultPolicy
from trioagent._errors import InvalidInputError, MemoryPathError
from trioagent._runs import RunChangedError
from trioagent.batch import CONVERSATIONS, FAILURES, BatchReport, Job, read_rows, run_batch
from trioagent.batch._jobs import job_from_row
from trioagent.memory import Memory
from trioagent.runtime import open_runtime
from trioagent.testing import ScriptedModel

pytestmark = pytest.mark.real

WRITE = "<think>t</think><python>\ndone = create_file('user.md', 'x'), create_file('agent/user.md', 'x')\n</python>"
REPLY = "<think>t</think><python></python><reply>Done.</reply>"


async def run(where: Path, *rows: dict[str, Any], answers: list[str] | None = None, **config: Any) -> BatchReport:
    jobs = [job_from_row({"id": str(at), "messages": ["m"], **row}) for at, row in enumerate(rows)]
    model = ScriptedModel(answers if answers is not None else [WRITE, REPLY] * len(jobs))
    async with open_runtime(model) as runtime:
        return await run_batch(
            jobs, runtime=runtime, run_dir=where / "run", config=BatchConfig(max_concurrent=1, **config)
        )


def results(where: Path) -> list[str]:
    return [
        message["content"]
        for row in read_rows(where / "run" / CONVERSATIONS)
        for message in row["messages"]
        if message["role"] == "tool"
    ]


async def test_the_batchs_policy_and_a_rows_own(tmp_path: Path) -> None:
    own = {"writable": ["agent/**"]}
    report = await run(
        tmp_path,
        {"memory": str(tmp_path / "a")},
        {"memory": str(tmp_path / "b"), "policy": own},
        policy=VaultPolicy(read_only=True),
    )
    assert report.done == 2
    assert not (tmp_path / "a" / "user.md").exists()
    assert [path.name for path in (tmp_path / "b").rglob("*.md")] == ["user.md"]
    assert (tmp_path / "b" / "agent" / "user.md").is_file()
    first, second = results(tmp_path)
    assert "read-only" in first and "only notes that match agent/** may be written" in second


async def test_blind_overwrites(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name / "agent").mkdir(parents=True)
        (tmp_path / name / "user.md").write_text("the person's")
    report = await run(
        tmp_path, {"memory": str(tmp_path / "a")}, {"memory": str(tmp_path / "b"), "blind_overwrite": "allow"}
    )
    assert report.done == 2
    assert (tmp_path / "a" / "user.md").read_text() == "the person's"
    assert (tmp_path / "b" / "user.md").read_text() == "x"


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"policy": {"writeable": ["x"]}}, "policy"),
        ({"policy": {"writable": "x"}}, "policy.writable"),
        ({"policy": {"readable": ["/x"]}}, "policy.readable"),
        ({"policy": {"suffixes": ["md"]}}, "policy.suffixes"),
        ({"policy": {"read_only": 1}}, "policy.read_only"),
        ({"policy": []}, "policy"),
        ({"blind_overwrite": "sometimes"}, "blind_overwrite"),
    ],
)
def test_rows_that_are_none(row: dict[str, Any], what: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        job_from_row({"id": "a", "memory": "m", "messages": ["m"], **row})
    assert what in caught.value.what


def test_jobs_differ_by_their_policies() -> None:
    plain = Job(id="a", memory="m", messages=("m",))
    jobs = [
        plain,
        Job(id="a", memory="m", messages=("m",), policy=VaultPolicy(read_only=True)),
        Job(id="a", memory="m", messages=("m",), policy=VaultPolicy()),
        Job(id="a", memory="m", messages=("m",), blind_overwrite="allow"),
    ]
    assert len({job.digest for job in jobs}) == len(jobs)
    with pytest.raises(InvalidInputError, match="policy"):
        Job(id="a", memory="m", messages=("m",), policy={"read_only": True})  # type: ignore[arg-type]


async def test_a_run_is_pinned_to_its_policy(tmp_path: Path) -> None:
    await run(tmp_path, {"memory": str(tmp_path / "a")}, policy=VaultPolicy(read_only=True))
    with pytest.raises(RunChangedError, match="policy was .*read_only.* and is None"):
        await run(tmp_path, {"memory": str(tmp_path / "a")})
    with pytest.raises(RunChangedError, match="blind_overwrite was None and is 'allow'"):
        await run(
            tmp_path,
            {"memory": str(tmp_path / "a")},
            policy=VaultPolicy(read_only=True),
            blind_overwrite="allow",
        )
    report = await run(tmp_path, {"memory": str(tmp_path / "a")}, answers=[], policy=VaultPolicy(read_only=True))
    assert report.skipped == 1


async def test_a_memory_that_cannot_be_used_is_found_out_before_it_costs(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    report = await run(tmp_path, {"memory": str(tmp_path / "file" / "m")}, answers=[])  # there is no answer to give
    assert report.failed == 1 and report.tokens == 0
    (row,) = read_rows(tmp_path / "run" / FAILURES)
    assert "MemoryPathError" in json.dumps(row) and "is a file, not a folder" in json.dumps(row)


@contextmanager
def as_plain_user() -> Iterator[Path]:
    """A folder of root's that others may read, and what follows runs as somebody else."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
        if os.geteuid() != 0:
            folder.chmod(0o555)
            try:
                yield folder
            finally:
                folder.chmod(0o755)
            return
        os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(0)


async def test_a_memory_that_may_only_be_read_is_found_out(tmp_path: Path) -> None:
    with as_plain_user() as folder:
        with pytest.raises(MemoryPathError, match=r"is not writable by this user.*\(read_only=True\), --read-only"):
            await Memory(folder).check()
        with pytest.raises(MemoryPathError, match="cannot be made: .* is not writable by this user"):
            await Memory(folder / "a" / "b").check()
        await Memory(folder, policy=VaultPolicy(read_only=True)).check()
        assert not list(folder.iterdir())
    await Memory(tmp_path / "new" / "one").check()
    assert not list(tmp_path.iterdir())
