"""`run_eval`: a suite's samples as a journaled run, each with an agent and a memory of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from .._activity import doing
from .._config import BatchConfig, ModelConfig
from .._errors import FatalError, InvalidInputError, TrioAgentError
from .._files import remove_tree, user_path
from .._messages import AgentResponse, ChatMessage, LeftOut, Usage
from .._prompt import with_date
from .._runs import (
    JobEnd,
    JobRecord,
    KnownJob,
    OutputFiles,
    Progress,
    Run,
    WorkEvent,
    failure,
    look_up_jobs,
    pins_of,
    prompt_hash,
    run_episode,
    run_journaled,
)
from ..agent import Agent
from ..models import OFFLINE_RULES, EndpointHealth, Model, complete
from ..runtime import Cluster, Runtime
from ._baselines import BASELINES, Baseline, best_lines, full_context_prompt
from ._graders import changed_notes
from ._judge import judge_answer
from ._memories import COPIES, SET_UPS, copy_notes, folder_of, read_notes, write_notes
from ._noise import with_noise
from ._report import SAMPLES, EvalReport, make_report
from ._suite import Grade, Sample, SampleAnswer, SetUp, digest_of

_FILES = OutputFiles(holds="evaluation samples", done=SAMPLES)
_CUT = ("length", "content_filter")
_KEPT_CHARS = 200_000  # of notes in the row of a wrong answer; the set-up's folder has them as well
_AFTER_ALL = 1_000_000  # event number of the judge's grade, larger than those of any conversation
_DEFAULTS = BatchConfig()


class SetUpFailedError(TrioAgentError):
    """A sample's memory could not be set up, so the sample was not run.

    Attributes:
        set_up: its id.
    """

    def __init__(self, set_up: str) -> None:
        super().__init__(set_up)
        self.set_up: str = set_up

    def __str__(self) -> str:
        return f"its memory {self.set_up!r} could not be set up; see that set-up's failure, and retry"


class SampleMemoryGoneError(FatalError):
    """A sample is resumed from the journal, but the copy of its memory has been removed.

    Attributes:
        path: where it was.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path: str = path

    def __str__(self) -> str:
        return f"the memory {self.path!r} of a resumed sample is gone; use another run directory"


@attrs.frozen(kw_only=True)
class EvalJob:
    """A sample, or a set-up conversation that must end before its samples begin (*sample* is None)."""

    key: str
    digest: str
    set_up: SetUp
    sample: Sample | None
    deadline: float | None = None


async def run_eval(
    samples: Sequence[Sample],
    *,
    suite: str,
    runtime: Runtime,
    run_dir: str | Path,
    config: BatchConfig = _DEFAULTS,
    judge: Model | None = None,
    baseline: Baseline = "agent",
    noise: int = 0,
    stop: trio.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    cluster: Cluster | None = None,
) -> EvalReport:
    """Run *samples*, or resume them: the same call on the same *run_dir* resumes where the last one ended.

    Args:
        samples: of one suite (see `load_samples`); those that are already in *run_dir* must be unchanged.
        suite: its name, for the rows.
        runtime: the model that is evaluated, and the sandbox.
        run_dir: the journal, ``samples.jsonl`` (a row for each sample that was graded, and for each set-up),
            ``failures.jsonl``, ``report.json``, ``eval.json``, and the notes of the set-ups.
        judge: a model that grades replies in place of the graders, if a sample allows it.
        baseline: who answers.
        noise: so many notes about other things are added to every memory.
        stop, on_progress, cluster: as in `run_batch`.

    Raises:
        InvalidInputError: an argument cannot be used; nothing was spent.
        JournalError, RunChangedError: as in `run_batch`; suite, judge, baseline and noise are pinned, too.
        ExceptionGroup: of errors that stop a whole run, as in `run_batch`.

    A sample's failure stops no other, and counts as a score of 0. Cancellation loses only work in progress.
    """
    run_dir = user_path(run_dir, "run_dir")
    check_baseline(baseline, runtime.model.name)
    if noise < 0:
        raise InvalidInputError("noise", f"must be 0 or more, not {noise!r}")
    plan = _JobOrder(samples, noise, with_agents=baseline == "agent")
    known = await trio.to_thread.run_sync(look_up_jobs, run_dir, list(plan.jobs))
    retried = config.retry_failed
    async with plan.open_source(known, retry_failed=retried) as source:

        async def make_work(run: Run[EvalJob]) -> _Samples:
            watched = None if judge is None else run.watched(judge)
            return _Samples(run, plan, suite=suite, baseline=baseline, judge=watched)

        report = await run_journaled(
            source,
            make_work,
            kind="eval",
            runtime=runtime,
            run_dir=run_dir,
            config=config,
            pins=_pins(runtime.model.name, runtime.config, config, suite, baseline, noise, judge),
            stop=stop,
            total=len(plan.jobs),
            on_progress=on_progress,
            files=_FILES,
            cluster=cluster,
        )
    model = "" if baseline == "search-only" else runtime.model.name
    made = partial(make_report, samples, report, suite=suite, model=model, baseline=baseline)
    return await trio.to_thread.run_sync(made)


def check_baseline(baseline: str, model: str) -> None:
    """Raise if there is no such baseline, or if *model* cannot be used for it.

    Raises:
        InvalidInputError: see above.
    """
    if baseline not in BASELINES:
        raise InvalidInputError("baseline", f"must be one of {', '.join(BASELINES)}, not {baseline!r}")
    if baseline == "full-context" and model == OFFLINE_RULES:
        raise InvalidInputError("baseline", f"full-context needs a language model, and {OFFLINE_RULES} is none")


def _pins(
    model: str,
    settings: ModelConfig | None,
    config: BatchConfig,
    suite: str,
    baseline: Baseline,
    noise: int,
    judge: Model | None,
) -> dict[str, Any]:
    return pins_of(
        model,
        settings,
        prompt=config.system_prompt,
        append=config.system_prompt_append,
        profile=config.model_profile,
        policy=config.policy,
        date=config.date,
        blind_overwrite=None if config.blind_overwrite == "refuse" else config.blind_overwrite,
        max_tool_turns=config.max_tool_turns,
        suite=suite,
        baseline=baseline,
        noise=noise,
        judge=None if judge is None else judge.name,
    )


class _JobOrder:
    """The jobs of an evaluation, and the order in which they may begin: a set-up conversation before its samples.

    Args:
        with_agents: the messages of set-ups are sent to agents; otherwise they are put into notes, verbatim.

    Attributes:
        jobs: by key, the set-up conversations first.
    """

    def __init__(self, samples: Sequence[Sample], noise: int, *, with_agents: bool) -> None:
        self._noise = noise
        if not with_agents:
            samples = [attrs.evolve(sample, set_up=_written_down(sample.set_up)) for sample in samples]
        set_ups: dict[str, SetUp] = {}
        for sample in samples:
            if set_ups.setdefault(sample.set_up.id, sample.set_up) != sample.set_up:
                raise InvalidInputError("samples", f"two set-ups have the id {sample.set_up.id!r}")
        first = [self._set_up_job(one) for one in set_ups.values() if one.messages]
        self.jobs = {job.key: job for job in (*first, *map(_sample_job, samples))}
        if len(self.jobs) < len(first) + len(samples):
            raise InvalidInputError("samples", "an id occurs twice; give each sample an id of its own")
        self.states: dict[str, str] = {}  # of set-ups with messages: "done", "failed" or "left"
        self._ended, self._next_ended = trio.open_memory_channel[str](len(first) + 1)

    def notes(self, set_up: SetUp) -> dict[str, str]:
        """The notes in its memory before any conversation."""
        return with_noise(set_up.notes, self._noise)

    def end(self, job: EvalJob, state: str) -> None:
        """A set-up conversation has ended, or is left to be resumed."""
        if job.sample is None and job.set_up.id not in self.states:
            self.states[job.set_up.id] = state
            self._ended.send_nowait(job.set_up.id)

    @asynccontextmanager
    async def open_source(
        self, known: Sequence[KnownJob | None], *, retry_failed: bool
    ) -> AsyncIterator[Iterable[EvalJob] | AsyncIterator[EvalJob]]:
        """The jobs, each as soon as it may begin."""
        for job, seen in zip(self.jobs.values(), known, strict=True):
            if seen is not None and (seen.state == "done" or (seen.state == "failed" and not retry_failed)):
                self.end(job, seen.state)
        pending = [job for job in self.jobs.values() if job.sample is None]
        async with self._next_ended:
            yield self._in_order(pending) if pending else list(self.jobs.values())

    async def _in_order(self, pending: Sequence[EvalJob]) -> AsyncIterator[EvalJob]:
        by_set_up: dict[str, list[EvalJob]] = {}
        for job in self.jobs.values():
            if job.sample is None:
                yield job
            elif job.set_up.messages:
                by_set_up.setdefault(job.set_up.id, []).append(job)
        for job in self.jobs.values():
            if job.sample is not None and not job.set_up.messages:
                yield job
        for _ in pending:
            set_up = await self._next_ended.receive()
            if self.states[set_up] != "left":
                for job in by_set_up.get(set_up, ()):
                    yield job

    def _set_up_job(self, set_up: SetUp) -> EvalJob:
        return EvalJob(key=f"set-up:{set_up.id}", digest=digest_of(set_up), set_up=set_up, sample=None)


def _written_down(set_up: SetUp) -> SetUp:
    written = {f"messages/{number:04}.md": text for number, text in enumerate(set_up.messages, 1)}
    return SetUp(id=set_up.id, notes={**set_up.notes, **written})


def _sample_job(sample: Sample) -> EvalJob:
    return EvalJob(key=sample.id, digest=sample.digest, set_up=sample.set_up, sample=sample)


@attrs.frozen(kw_only=True)
class _Said:
    """The result of a conversation, whoever answered."""

    replies: tuple[str, ...]
    messages: Sequence[ChatMessage]
    usage: Usage = Usage()
    turns: int = 0
    blocks_saved: int = 0
    repairs: Mapping[str, int] = attrs.field(factory=dict)
    cuts: int = 0
    stop_reasons: tuple[str, ...] = ()
    tier: str = ""
    prompt: str = ""
    left_out: LeftOut = LeftOut()


class _Samples:
    """The work of an evaluation on its jobs."""

    can_cut_waits = True  # everything before the wait is journaled

    def __init__(
        self, run: Run[EvalJob], plan: _JobOrder, *, suite: str, baseline: Baseline, judge: Model | None
    ) -> None:
        self._run, self._plan, self._judge = run, plan, judge
        self._suite, self._baseline = suite, baseline
        self._dir = run.journal.path.parent
        self._writing: dict[str, trio.Lock] = {}  # by set-up

    async def run(self, job: EvalJob, record: JobRecord) -> JobEnd | None:
        if record.former:
            await self._run.journal.forget_former(record)
        began = trio.current_time()
        if job.sample is None:
            return await self._tell(job, record, began)
        return await self._try(job, job.sample, record, began)

    def endpoints(self, job: EvalJob) -> Iterable[EndpointHealth]:
        judged = [] if self._judge is None or job.sample is None else [getattr(self._judge, "health", None)]
        return [*self._run.endpoints_of(), *(health for health in judged if health is not None)]

    def chose_model(self, job: EvalJob) -> bool:
        return False

    def forget(self, job: EvalJob) -> None:
        self._plan.end(job, "left")

    async def failure(self, job: EvalJob, record: JobRecord, error: Exception) -> Mapping[str, Any]:
        self._plan.end(job, "failed")
        category = {} if job.sample is None else {"category": job.sample.category}
        return {**failure(error, {}, ""), **self._provenance(job), **category}

    async def _tell(self, job: EvalJob, record: JobRecord, began: float) -> JobEnd | None:
        memory = folder_of(self._dir, SET_UPS, job.set_up.id)
        if not record.events:
            await _in_thread(write_notes, memory, self._plan.notes(job.set_up))
        said = await self._ask_agent(job, job.set_up.messages, record, memory)
        if said is None:
            return None

        async def afterwards() -> None:
            self._plan.end(job, "done")

        row = {
            "said": list(job.set_up.messages),
            "folder": str(memory.relative_to(self._dir)),
            **self._costs(said, began),
        }
        return JobEnd("done", {**self._provenance(job), **row}, afterwards=afterwards)

    async def _try(self, job: EvalJob, sample: Sample, record: JobRecord, began: float) -> JobEnd | None:
        start = await self._set_up(sample.set_up)
        memory = folder_of(self._dir, COPIES, job.key)
        judged = [event.body for event in record.events if isinstance(event, WorkEvent) and "grade" in event.body]
        if not record.events:
            await _in_thread(copy_notes, start, memory)
        elif not await trio.Path(memory).is_dir():
            raise SampleMemoryGoneError(str(memory))
        match self._baseline:
            case "agent":
                said = await self._ask_agent(job, sample.messages, _without_work(record), memory)
            case "full-context":
                said = await self._ask_model(sample, record, memory)
            case "search-only":
                found = await _in_thread(best_lines, memory, sample.messages[-1])
                messages = [ChatMessage("user", sample.messages[-1]), ChatMessage("assistant", found)]
                said = _Said(replies=(found,), messages=messages)
        if said is None or (self._run.is_stopping() and not judged and self._judge is not None):
            return None
        answer, matched = await _in_thread(_graded, sample, said.replies, start, memory)
        grade, graded_by, judge_usage, judge_problem = matched, "match", Usage(), ""
        if self._judge is not None and sample.judged:
            if not judged:
                judged = [await self._ask_judge(self._judge, sample, said, record)]
            verdict = judged[-1]
            if verdict["grade"] is not None:
                grade, graded_by = Grade(verdict["grade"]["score"], verdict["grade"]["reason"]), self._judge.name
            judge_usage, judge_problem = Usage(**verdict["usage"]), verdict.get("problem", "")
        row = {
            "category": sample.category,
            "score": grade.score,
            "correct": grade.score >= 0.5,
            "reason": grade.reason,
            "graded_by": graded_by,
            "judge_problem": judge_problem,
            "match": {"score": matched.score, "reason": matched.reason},
            "expected": sample.expected,
            "said": list(sample.messages),
            "reply": answer.reply,
            **self._costs(said, began),
            "judge_usage": attrs.asdict(judge_usage),
            **_notes(answer, all_of_them=grade.score < 1),
        }
        return JobEnd("done", {**self._provenance(job), **row}, afterwards=partial(_in_thread, remove_tree, memory))

    async def _set_up(self, set_up: SetUp) -> Path:
        """The folder that samples of *set_up* are copied from; written here if there is no set-up conversation."""
        folder = folder_of(self._dir, SET_UPS, set_up.id)
        if set_up.messages:
            if self._plan.states.get(set_up.id) != "done":
                raise SetUpFailedError(set_up.id)
            return folder
        async with self._writing.setdefault(set_up.id, trio.Lock()):
            if set_up.id not in self._plan.states:
                await _in_thread(write_notes, folder, self._plan.notes(set_up))
                self._plan.states[set_up.id] = "done"
        return folder

    async def _ask_agent(self, job: EvalJob, messages: Sequence[str], record: JobRecord, memory: Path) -> _Said | None:
        run = self._run
        agent = Agent(
            run.runtime,
            memory_path=memory,
            system_prompt=run.config.system_prompt,
            system_prompt_append=run.config.system_prompt_append,
            max_tool_turns=run.config.max_tool_turns,
            model_profile=run.config.model_profile,
            date=run.date_for(run.config.system_prompt),
            policy=run.config.policy,
            blind_overwrite=run.config.blind_overwrite,
            model=await run.model(),
        )
        responses = await run_episode(
            job.key, messages, record, agent, journal=run.journal, budget=run.budget, is_stopping=run.is_stopping
        )
        return None if responses is None else _of_agent(agent, responses)

    async def _ask_model(self, sample: Sample, record: JobRecord, memory: Path) -> _Said | None:
        """The same model with all notes in its prompt, and nothing else."""
        notes = await _in_thread(read_notes, memory)
        model, usage = await self._run.model(), Usage()
        prompt = full_context_prompt(notes)
        date = self._run.date_for(None)
        messages = [ChatMessage("system", with_date(prompt, "" if date == "none" else date))]
        answers = [event.body for event in record.events if isinstance(event, WorkEvent) and "answer" in event.body]
        cuts = 0
        for number, message in enumerate(sample.messages):
            messages.append(ChatMessage("user", message))
            if number >= len(answers):
                if number and self._run.is_stopping():
                    return None
                with doing("model"):
                    answer = await complete(model, messages)
                body = {
                    "answer": answer.text,
                    "usage": attrs.asdict(answer.usage),
                    "finish_reason": answer.finish_reason,
                }
                await self._journal(record, number, body, answer.usage)
                answers.append(body)
            usage += Usage(**answers[number]["usage"])
            cuts += answers[number]["finish_reason"] in _CUT
            messages.append(ChatMessage("assistant", answers[number]["answer"]))
        replies = tuple(body["answer"] for body in answers)
        hashed = prompt_hash(prompt)
        return _Said(replies=replies, messages=messages, usage=usage, turns=len(replies), cuts=cuts, prompt=hashed)

    async def _ask_judge(self, judge: Model, sample: Sample, said: _Said, record: JobRecord) -> Mapping[str, Any]:
        grade, usage = await judge_answer(judge, sample.messages, sample.expected, said.replies[-1])
        body: dict[str, Any] = {"grade": None, "usage": attrs.asdict(usage)}
        if isinstance(grade, Grade):
            body["grade"] = attrs.asdict(grade)
        else:
            body["problem"] = f"the judge gave no usable grade: {grade}"
        await self._journal(record, _AFTER_ALL, body, usage)
        return body

    async def _journal(self, record: JobRecord, n: int, body: Mapping[str, Any], usage: Usage) -> None:
        spending = self._run.budget.spend(usage) + self._run.budget.take_waste()
        with trio.CancelScope(shield=True):  # bounded: one local write of something that was paid for
            await self._run.journal.add_event(record, n, WorkEvent(body), spending)

    def _costs(self, said: _Said, began: float) -> dict[str, Any]:
        return {
            "usage": attrs.asdict(said.usage),
            "turns": said.turns,
            "blocks": sum(
                message.role == "tool" and message.content.startswith("<result>") for message in said.messages
            ),
            "blocks_saved": said.blocks_saved,
            "repairs": dict(said.repairs),
            "cuts": said.cuts,
            "stop_reasons": list(said.stop_reasons),
            "seconds": trio.current_time() - began,
            "tier": said.tier,
            "prompt": said.prompt,
            "left_out": attrs.asdict(said.left_out),
            "messages": [attrs.asdict(message) for message in said.messages],
        }

    def _provenance(self, job: EvalJob) -> dict[str, Any]:
        return {
            "kind": "set-up" if job.sample is None else "sample",
            "suite": self._suite,
            "baseline": self._baseline,
            "model": "" if self._baseline == "search-only" else self._run.runtime.model.name,
            "set_up": job.set_up.id,
        }


def _of_agent(agent: Agent, responses: Sequence[AgentResponse]) -> _Said:
    repairs: dict[str, int] = {}
    for response in responses:
        for name, count in response.repairs.items():
            repairs[name] = repairs.get(name, 0) + count
    return _Said(
        replies=tuple(response.reply for response in responses),
        messages=agent.messages,
        usage=sum((response.usage for response in responses), Usage()),
        turns=sum(response.turns for response in responses),
        blocks_saved=sum(response.blocks_saved for response in responses),
        repairs=repairs,
        cuts=sum(reason in _CUT for response in responses for reason in response.finish_reasons),
        stop_reasons=tuple(response.stop_reason for response in responses),
        tier=next((response.tier for response in responses if response.tier), ""),
        prompt=prompt_hash(agent.undated_prompt),
        left_out=responses[-1].left_out if responses else LeftOut(),
    )


def _without_work(record: JobRecord) -> JobRecord:
    """The conversation alone: a judge's grade comes after it."""
    return attrs.evolve(record, events=tuple(event for event in record.events if not isinstance(event, WorkEvent)))


def _notes(answer: SampleAnswer, *, all_of_them: bool) -> dict[str, Any]:
    """The notes before and after, for the row: those that changed, or all, if they are not too large."""
    changed = changed_notes(answer.before, answer.after)
    size = sum(map(len, answer.before.values())) + sum(map(len, answer.after.values()))
    names = {*answer.before, *answer.after} if all_of_them and size <= _KEPT_CHARS else set(changed)
    return {
        "changed": changed,
        "notes_before": {name: text for name, text in answer.before.items() if name in names},
        "notes_after": {name: text for name, text in answer.after.items() if name in names},
    }


def _graded(sample: Sample, replies: tuple[str, ...], start: Path, memory: Path) -> tuple[SampleAnswer, Grade]:
    """A sample's result, and its grade; synchronous."""
    answer = SampleAnswer(replies=replies, before=read_notes(start), after=read_notes(memory))
    return answer, sample.grader(answer)


async def _in_thread(function: Callable[..., Any], *args: object) -> Any:
    return await trio.to_thread.run_sync(partial(function, *args))
