"""`run_batch`: many jobs in one run directory, which survives any kill.

A job is run as an episode that journals every answer and every result; see `_engine` for the run around it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import trio

from .._config import BatchConfig, ModelConfig
from .._errors import InvalidInputError
from .._files import user_path
from .._messages import AgentResponse, LeftOut, Usage
from .._runs import (
    SHARD,
    BatchReport,
    JobEnd,
    JobRecord,
    JournalReader,
    Progress,
    ResultEvent,
    Run,
    check_memory_folder,
    check_pins,
    drop_receipt,
    failure,
    memory_folder,
    pins_of,
    prompt_hash,
    run_episode,
    run_journaled,
    take_back,
)
from ..agent import Agent
from ..memory import CommitOrigin, Memory
from ..models import EndpointHealth
from ..runtime import Cluster, Runtime
from ._jobs import Job

_log = logging.getLogger("trioagent")


async def run_batch(
    jobs: Iterable[Job] | AsyncIterable[Job],
    *,
    runtime: Runtime,
    run_dir: str | Path,
    config: BatchConfig = BatchConfig(),
    stop: trio.Event | None = None,
    total: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cluster: Cluster | None = None,
) -> BatchReport:
    """Run *jobs*, or resume them: the same call on the same *run_dir* resumes where the last one ended.

    Args:
        jobs: taken one by one as slots become free, never held together.
        runtime: the default model, and the sandbox.
        run_dir: the journal, ``conversations.jsonl``, ``failures.jsonl`` and ``report.json``.
        stop: set it to end early: no new job starts, running ones end at their next checkpoint within
            ``config.grace_seconds`` and are then cancelled.
        total: how many jobs there are, if known, or in the shard if ``config.shard`` names one; for the progress only.
        on_progress: called at once, every second, and at the end.
        cluster: other machines that send the requests and run the blocks, such as a `trioagent.cluster.RayCluster`.

    Raises:
        JournalError: the run directory cannot be used, or another process runs this batch.
        RunChangedError: the run was begun with another model, prompt, policy, sampling, number of tool turns or
            shard, or its memories' folder is gone, and ``config.accept_changes`` is not set; nothing was spent.
        ExceptionGroup: of errors that stop a whole run: the input itself raised, a duplicate id
            (`InvalidInputError`), a job has changed since the run began (`JobChangedError`), the journal cannot
            be written (`JournalError`), a money budget cannot be enforced (`PriceUnknownError`).

    The run waits for an unavailable model server, and for a full disk, for ``config.outage_patience`` seconds. After
    that, or if a server refuses everything, the jobs concerned are left to be resumed, while those of other
    endpoints run. An exhausted budget ends the run like *stop*, but lets running jobs take their time. In all these
    cases the batch is resumed when it is run again. If a disk is full from the start, nothing is run. A job
    whose server fails for its request alone, in one start after the other, finally fails.

    Cancellation, like ``kill -9``, loses only work in progress: every finished answer and block is in the journal.
    """
    return await run_journaled(
        jobs,
        _make_work,
        runtime=runtime,
        run_dir=user_path(run_dir, "run_dir"),
        config=config,
        pins=_pins(runtime.model.name, runtime.config, config),
        stop=stop,
        total=total,
        on_progress=on_progress,
        takes=lambda job: config.shard is None or config.shard.holds(job.memory),
        cluster=cluster,
    )


def check_batch_pins(run_dir: Path, journal: JournalReader, model: str | ModelConfig, config: BatchConfig) -> None:
    """Raise the error of `run_batch` for a run that was begun under other settings.

    Args:
        model: the runtime's model: its settings, or the name of one that has none.

    Raises:
        RunChangedError: the settings differ, or the folder of relative memories is gone, and
            ``config.accept_changes`` is not set.
        JournalError: the journal cannot be read.
    """
    if not config.accept_changes:
        pins = _pins(model, None, config) if isinstance(model, str) else _pins(model.model, model, config)
        check_pins(run_dir, journal, pins)
        check_memory_folder(run_dir, journal)


def _pins(model: str, settings: ModelConfig | None, config: BatchConfig) -> dict[str, Any]:
    return pins_of(
        model,
        settings,
        prompt=config.system_prompt,
        append=config.system_prompt_append,
        profile=config.model_profile,
        policy=config.policy,
        date=config.date,
        max_tool_turns=config.max_tool_turns,
        blind_overwrite=None if config.blind_overwrite == "refuse" else config.blind_overwrite,
        **({} if config.shard is None else {SHARD: str(config.shard)}),
    )


async def _make_work(run: Run[Job]) -> _Episodes:
    return _Episodes(run, await memory_folder(run.journal, accept=run.config.accept_changes))


class _Episodes:
    """The work of a batch on its jobs."""

    can_cut_waits = True  # everything before the wait is journaled

    def __init__(self, run: Run[Job], folder: Path) -> None:
        self._run, self._folder = run, folder
        self._agents: dict[str, Agent] = {}  # of running jobs, and of failed ones that are not settled yet

    async def run(self, job: Job, record: JobRecord) -> JobEnd | None:
        run = self._run
        if record.former:
            await self._take_back(job, record)
        policy = run.config.policy if job.policy is None else job.policy
        prompt = run.config.system_prompt if job.system_prompt is None else job.system_prompt
        agent = self._agents[job.id] = Agent(
            run.runtime,
            memory_path=memory_path(self._folder, job),
            policy=policy,
            blind_overwrite=run.config.blind_overwrite if job.blind_overwrite is None else job.blind_overwrite,
            system_prompt=prompt,
            date=run.date_for(prompt),
            system_prompt_append=(
                run.config.system_prompt_append if job.system_prompt_append is None else job.system_prompt_append
            ),
            max_tool_turns=run.config.max_tool_turns,
            model_profile=run.config.model_profile,
            model=await run.model(job.model, job.options),
            origin=self._origin(job),
        )
        await agent.memory.check()  # before the model is asked, which costs
        responses = await run_episode(
            job.id, job.messages, record, agent, journal=run.journal, budget=run.budget, is_stopping=run.is_stopping
        )
        del self._agents[job.id]
        if responses is None:
            return None
        silent = any(response.stop_reason != "reply" for response in responses)
        return JobEnd("done", {**_outcome(job, agent, responses), **_provenance(run, job, agent)}, no_reply=silent)

    def endpoints(self, job: Job) -> Iterable[EndpointHealth]:
        return self._run.endpoints_of(job.model, job.options)

    def chose_model(self, job: Job) -> bool:
        return job.model is not None

    def forget(self, job: Job) -> None:
        self._agents.pop(job.id, None)

    async def failure(self, job: Job, record: JobRecord, error: Exception) -> Mapping[str, Any]:
        with suppress(InvalidInputError):  # its memory's path is invalid, which is why it failed
            await drop_receipt(Memory(memory_path(self._folder, job)), job.id, record, self._run.journal)
        # None: its model could not be opened, its memory's path is invalid, or it timed out before it was resumed
        agent = self._agents.pop(job.id, None)
        if agent is None:
            return {**failure(error, job.metadata, ""), **_provenance(self._run, job, agent)}
        words = (message.content for message in reversed(agent.messages) if message.role == "assistant")
        return {**failure(error, job.metadata, next(words, "")), **_provenance(self._run, job, agent)}

    def _origin(self, job: Job) -> CommitOrigin:
        return CommitOrigin(job=job.id, batch=self._run.journal.run_id)

    async def _take_back(self, job: Job, record: JobRecord) -> None:
        """Roll back the changes of the failed attempt, as far as nobody else has changed the notes since."""
        results = [event for event in record.former if isinstance(event, ResultEvent)]
        runtime = self._run.runtime
        memory = Memory(memory_path(self._folder, job), limits=runtime.memory_limits, history=runtime.history or False)
        left = await take_back(memory, results, self._origin(job))
        if left:
            _log.warning(
                "job %r begins again; its changes to these notes are left, since they were changed after it, or "
                "their former contents were not kept: %s",
                job.id,
                ", ".join(left),
            )
        await self._run.journal.forget_former(record)


def memory_path(folder: Path, job: Job) -> Path:
    """The folder of the job's notes: relative to *folder*, if not absolute.

    Raises:
        InvalidInputError: it begins with a ``~`` that cannot be expanded.
    """
    return folder / user_path(job.memory, "memory")


def _outcome(job: Job, agent: Agent, responses: Sequence[AgentResponse]) -> dict[str, Any]:
    usage = sum((response.usage for response in responses), Usage())
    return {
        "messages": [attrs.asdict(message) for message in agent.messages],
        "usage": attrs.asdict(usage),
        "turns": sum(response.turns for response in responses),
        "stop_reasons": [response.stop_reason for response in responses],
        "left_out": attrs.asdict(responses[-1].left_out if responses else LeftOut()),
        "finish_reasons": [reason for response in responses for reason in response.finish_reasons],
        "tier": next((response.tier for response in responses if response.tier), ""),
        "metadata": dict(job.metadata),
    }


def _provenance(run: Run[Job], job: Job, agent: Agent | None) -> dict[str, Any]:
    """The origin of a row: the model, its profile and the hash of the system prompt ("" if none is known)."""
    return {
        "model": run.runtime.model.name if job.model is None else job.model,
        "profile": "" if agent is None else agent.profile.name,
        "prompt": "" if agent is None else prompt_hash(agent.undated_prompt),
    }
