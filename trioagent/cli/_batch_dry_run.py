"""``trioagent batch --dry-run``: prints what would run; sends no request and writes no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice

import attrs
import click

from .._config import BatchConfig
from .._messages import ChatMessage, Usage
from .._prompt import system_prompt
from ..batch import Job, JobChangedError, JournalReader, KnownJob, check_batch_pins, good_jobs
from ._batch_run import BatchCommand
from ._terminal import safe

_LOOK_AHEAD = 200


@attrs.define
class _Plan:
    """Jobs by their state in the journal ("new", "running", "done", "failed"), and the requests to be sent.

    Attributes:
        no_reply: jobs that are done and left a message without a reply.
        again: jobs that have ended and would be retried.
    """

    states: Counter[str] = attrs.field(factory=Counter)
    no_reply: int = 0
    again: int = 0
    runs: int = 0
    requests: int = 0
    prompt_tokens: int = 0


def print_plan(command: BatchCommand) -> None:
    """Print what *command* would do.

    Raises:
        JobChangedError: a job has changed since its run began.
        RunChangedError: the run was begun under other settings.
    """
    plan = _plan(command)
    name = command.model if isinstance(command.model, str) else f"{command.model.model} at {command.model.base_url}"
    states = plan.states
    click.echo(safe(f"{command.jobs.name}: {command.total:,} jobs, every row is valid"))
    click.echo(
        f"would run: {plan.runs:,} (new: {states['new']:,}, to resume: {states['running']:,}"
        + (f", to retry: {plan.again:,}" if plan.again else "")
        + f"); ended before: {states['done']:,} done, {states['failed']:,} failed"
        + (f", {plan.no_reply:,} without a reply" if plan.no_reply else "")
    )
    click.echo(safe(f"model: {name}"))
    click.echo(
        f"tokens: at least {plan.prompt_tokens:,} to read, for {plan.requests:,} messages (four characters a token; "
        "each block of code adds a request)"
    )


def _plan(command: BatchCommand) -> _Plan:
    plan = _Plan()
    known = (command.run_dir / "journal.db").is_file()
    with JournalReader(command.run_dir) if known else nullcontext() as journal:
        if journal is not None:
            check_batch_pins(command.run_dir, journal, command.model, command.config)
        for chunk in _chunks(command):
            seen = journal.look_up([job.id for job in chunk]) if journal is not None else [None] * len(chunk)
            for job, record in zip(chunk, seen, strict=True):
                if record is not None and record.digest != job.digest:
                    raise JobChangedError(job.id, str(command.run_dir))
                _count(plan, job, record, command.config)
    return plan


def _count(plan: _Plan, job: Job, known: KnownJob | None, config: BatchConfig) -> None:
    state = "new" if known is None else known.state
    plan.states[state] += 1
    no_reply = known is not None and known.no_reply
    plan.no_reply += no_reply
    ended = state in ("done", "failed")
    if plan.runs == config.limit or (ended and not (config.retry_failed and (state == "failed" or no_reply))):
        return
    plan.runs += 1
    plan.again += ended
    prompt = config.system_prompt if job.system_prompt is None else job.system_prompt
    append = config.system_prompt_append if job.system_prompt_append is None else job.system_prompt_append
    policy = config.policy if job.policy is None else job.policy
    said = [ChatMessage("system", system_prompt(prompt, append, policy))]
    for message in job.messages:
        said.append(ChatMessage("user", message))
        plan.requests += 1
        plan.prompt_tokens += Usage.estimate(said, 0).prompt_tokens


def _chunks(command: BatchCommand) -> Iterator[list[Job]]:
    shard = command.config.shard
    jobs = (job for job in good_jobs(command.jobs.path) if shard is None or shard.holds(job.memory))
    while chunk := list(islice(jobs, _LOOK_AHEAD)):
        yield chunk
