"""`generate_conversations`: personas and their facts in, validated training conversations out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio

from .._config import BatchConfig, SftConfig
from .._errors import InvalidInputError
from .._files import remove_tree, user_path
from .._runs import (
    CONVERSATIONS,
    JobChangedError,
    KnownJob,
    OutputFiles,
    Progress,
    Run,
    look_up_jobs,
    pins_of,
    run_journaled,
)
from .._wire import short
from ..models import Model, sampling_of
from ..runtime import Cluster, Runtime
from ._flows import check_facts
from ._memories import FOLDER
from ._persona import digest, read_facts, read_persona
from ._persona_models import Factory, PersonaFactory
from ._report import SftReport, make_report
from ._work import Conversations, PersonaJob, mark

REJECTED = "rejected.jsonl"
_DEFAULTS = SftConfig()
_FILES = OutputFiles(holds="training conversations", done=CONVERSATIONS, failed=REJECTED, mark=mark)


class PersonaChangedError(JobChangedError):
    """A persona has changed since the run began, so its outcome would be another one's."""

    def __str__(self) -> str:
        return (
            f"{self.job_id!r} has changed since the run in {self.run_dir!r} began (its position, its fields and "
            "facts, the flow, the turns and tool turns count); restore it, or use another run directory"
        )


async def generate_conversations(
    personas: Sequence[object],
    facts_per_persona: Sequence[object],
    persona_factory: PersonaFactory,
    *,
    runtime: Runtime,
    run_dir: str | Path,
    config: SftConfig = _DEFAULTS,
    judge: Model | None = None,
    stop: trio.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cluster: Cluster | None = None,
) -> SftReport:
    """Let every persona talk with an agent until a conversation is accepted, or all its attempts are used up.

    The same call on the same *run_dir* resumes where the last one ended, however it ended: personas that ended are
    skipped, attempts that ended count, and every accepted conversation is in ``conversations.jsonl`` exactly once.

    Args:
        personas: `Persona` objects, or any attrs, dataclass or pydantic objects or mappings with the same fields.
        facts_per_persona: for each persona a list of `Fact` objects, objects with the same fields, or texts.
        persona_factory: ``persona_factory(persona)`` or ``persona_factory(persona, facts)``, called with the objects of
            the lists themselves; makes a `PersonaModel` for each attempt. If it does not get the facts, a model's first
            call gets an instruction with them instead of None. All personas' first models are made first.
        runtime: the agents' model and sandbox.
        run_dir: the journal, ``conversations.jsonl``, ``rejected.jsonl`` and ``report.json``.
        judge: a model that makes the final decision on conversations that pass all checks, such as one of
            ``runtime.open_model(name, {"temperature": 0})``. The run is pinned to its name and request parameters.
        stop: set it to end early: no attempt begins, and running ones may end within ``config.grace_seconds``.
        on_progress: called at once, every second, and at the end.
        cluster: other machines that send the requests and run the blocks, such as a `trioagent.cluster.RayCluster`.

    Raises:
        InvalidInputError: personas or facts cannot be used, or *persona_factory* raised; nothing was spent.
        PersonaChangedError: a persona has changed since the run began; nothing was spent.
        JournalError: the run directory cannot be used, or another process runs in it.
        ExceptionGroup: of errors that stop a whole run: the journal cannot be written (`JournalError`), a money budget
            cannot be enforced (`PriceUnknownError`).

    A persona's failure, of whatever kind, stops no other. Cancelling stops all of them; what ended is in the journal.
    No memory remains; what a killed run left is removed by the next one.
    """
    run_dir = user_path(run_dir, "run_dir")
    factory = Factory(persona_factory)
    jobs = _read(personas, facts_per_persona, config)
    known = await trio.to_thread.run_sync(look_up_jobs, run_dir, [job.key for job in jobs])
    models = await _first_models(jobs, known, factory, config, run_dir)

    async def make_work(run: Run[PersonaJob]) -> Conversations:
        # Left by a killed run; the journal's lock is ours now.
        await trio.to_thread.run_sync(remove_tree, run_dir / FOLDER)
        return Conversations(run, config, factory, models, judge)

    try:
        report = await run_journaled(
            jobs,
            make_work,
            kind="sft",
            runtime=runtime,
            run_dir=run_dir,
            pins=pins_of(
                runtime.model.name,
                runtime.config,
                prompt=config.system_prompt,
                append=config.system_prompt_append,
                profile=config.model_profile,
                judge=None if judge is None else judge.name,
                **{f"judge's {name}": value for name, value in sampling_of(judge).items() if value not in (None, [])},
                max_tool_turns=config.max_tool_turns,
                date=config.date,
            ),
            config=BatchConfig(
                max_concurrent=config.max_concurrent,
                deadline=config.deadline,
                max_tool_turns=config.max_tool_turns,
                date=config.date,
                max_tokens_total=config.max_tokens_total,
                max_cost=config.max_cost,
                retry_failed=config.retry_rejected,
                accept_changes=config.accept_changes,
                outage_patience=config.outage_patience,
                grace_seconds=config.grace_seconds,
            ),
            stop=stop,
            total=len(jobs),
            on_progress=on_progress,
            files=_FILES,
            cluster=cluster,
        )
    finally:
        with trio.CancelScope(shield=True):  # bounded: the folder is empty, each attempt has removed its own
            await trio.to_thread.run_sync(partial(_remove_if_empty, run_dir / FOLDER))
    ids = [job.key for job in jobs]
    return await trio.to_thread.run_sync(make_report, ids, report, run_dir / CONVERSATIONS, run_dir / REJECTED)


def _read(personas: Sequence[object], facts_per_persona: Sequence[object], config: SftConfig) -> list[PersonaJob]:
    """All personas with their facts, checked."""
    for what, values in (("personas", personas), ("facts_per_persona", facts_per_persona)):
        if isinstance(values, str | bytes) or not isinstance(values, Sequence):
            raise InvalidInputError(what, f"must be a list, not {short(values)}")
    if len(personas) != len(facts_per_persona):
        problem = f"{len(personas)} personas need as many lists of facts, not {len(facts_per_persona)}"
        raise InvalidInputError("facts_per_persona", problem)
    if not personas:
        raise InvalidInputError("personas", "is empty; give at least one persona")
    jobs = []
    for index, (given, given_facts) in enumerate(zip(personas, facts_per_persona, strict=True)):
        persona = read_persona(given, f"personas[{index}]")
        facts = read_facts(given_facts, f"facts_per_persona[{index}]")
        check_facts(config.flow, facts, f"facts_per_persona[{index}]", persona)
        jobs.append(
            PersonaJob(
                key=f"persona-{index}",
                persona=persona,
                facts=facts,
                given=given,
                given_facts=given_facts,
                digest=digest(persona, *facts, [config.flow, config.num_turns, config.max_tool_turns]),
            )
        )
    return jobs


async def _first_models(
    jobs: Sequence[PersonaJob], known: Sequence[KnownJob | None], factory: Factory, config: SftConfig, run_dir: Path
) -> dict[str, Any]:
    """A persona model for every persona that will run: a factory that fails does so before anything is spent."""
    models = {}
    for job, seen in zip(jobs, known, strict=True):
        if seen is not None and seen.digest != job.digest:
            raise PersonaChangedError(job.key, str(run_dir))
        if seen is not None and (seen.state == "done" or (seen.state == "failed" and not config.retry_rejected)):
            continue
        try:
            models[job.key] = await factory.make(job.given, job.given_facts)
        except InvalidInputError as error:
            problem = error.problem if error.what == "persona_factory" else str(error)
            raise InvalidInputError("persona_factory", f"for {job.key}: {problem}; nothing was spent") from error
        except Exception as error:
            problem = f"raised for {job.key}: {type(error).__name__}: {error}; nothing was spent"
            raise InvalidInputError("persona_factory", problem) from error
    return models


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # never made; or a memory could not be removed, which is reported elsewhere
        pass
