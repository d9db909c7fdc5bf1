"""The samples of a suite as tasks, graded by the suite's own graders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import verifiers.v1 as vf

from trioagent.evals import Grader, Sample, SampleAnswer, find_suite, load_samples

from .harness import RESULT


class MemoryTasksetConfig(vf.TasksetConfig):
    """Under ``--env.taskset.*``."""

    suite: str = "md-memory"
    """A suite of trioagent, see ``trioagent eval list``."""
    data: Path | None = None
    """The suite's data, if it does not bring them along."""
    limit: int | None = None
    """So many samples, of all categories."""


class MemoryTaskData(vf.TaskData):
    """What a harness needs to play a sample."""

    notes: dict[str, str]
    told: list[str]
    """Said first, in a conversation of its own: the notes that it leads to are those that the task starts from."""
    messages: list[str]
    expected: str
    category: str


class MemoryTask(vf.Task[MemoryTaskData]):
    """A sample, with its grader."""

    def __init__(self, data: MemoryTaskData, config: vf.TaskConfig | None, grader: Grader) -> None:
        super().__init__(data, config)
        self._grader = grader

    @property
    def key(self) -> str:
        """The sample's id, which no change of its texts changes."""
        assert self.data.id is not None
        return self.data.id

    @vf.reward
    async def grade(self, trace: vf.Trace, runtime: vf.Runtime) -> float:
        """What the suite's grader gives."""
        played = await _played(runtime)
        answer = SampleAnswer(
            replies=tuple(played["replies"]), before=played["notes_before"], after=played["notes_after"]
        )
        grade = self._grader(answer)
        trace.info["grade"] = grade.reason
        return grade.score

    @vf.metric
    async def conduct(self, trace: vf.Trace, runtime: vf.Runtime) -> dict[str, float]:
        """How the agent got there: its answers, the repairs that they needed, blocks that changed notes, replies."""
        played = await _played(runtime)
        return {
            "answers": float(played["turns"]),
            "repairs": float(sum(played["repairs"].values())),
            "blocks_saved": float(played["blocks_saved"]),
            "replied": float(all(reason == "reply" for reason in played["stop_reasons"])),
        }


class MemoryTaskset(vf.Taskset[MemoryTask, MemoryTasksetConfig]):
    """All samples of a suite."""

    def load(self) -> Iterator[MemoryTask]:
        """See `verifiers.v1.Taskset.load`."""
        config = self.config
        for sample in load_samples(find_suite(config.suite), config.data, limit=config.limit):
            yield MemoryTask(_data_of(sample), config.task, sample.grader)


def _data_of(sample: Sample) -> MemoryTaskData:
    return MemoryTaskData(
        id=sample.id,
        name=sample.id,
        prompt=sample.messages[0],
        notes=dict(sample.set_up.notes),
        told=list(sample.set_up.messages),
        messages=list(sample.messages),
        expected=sample.expected,
        category=sample.category,
    )


async def _played(runtime: vf.Runtime) -> Any:
    """What `play` has left."""
    try:
        return json.loads(await runtime.read(RESULT))
    except FileNotFoundError as error:
        raise vf.TaskError(
            f"there is no {RESULT}: tasks of trioagent-memory are played by the harness trioagent-memory"
        ) from error
