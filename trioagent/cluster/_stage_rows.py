"""Processes the rows of one batch for an `AgentStage`: conversations, or training conversations."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import attrs
import trio

from .._config import BatchConfig, SftConfig
from .._errors import DISK_FULL, InvalidInputError, TrioAgentError
from .._reply_parser import parse_reply
from .._runs import outcomes_of
from .._wire import short, text_problem
from ..batch import Job, job_from_row, run_batch
from ..evals import read_notes, write_notes
from ..runtime import Runtime
from ..sft import (
    Fact,
    ModelPersona,
    Persona,
    PersonaFactory,
    ScriptedPersona,
    SftReport,
    generate_conversations,
    read_facts,
    read_persona,
)

_OF_JOBS = tuple(name for name in attrs.fields_dict(Job) if name not in ("id", "memory", "messages", "metadata"))


class StageStoppedError(TrioAgentError):
    """A batch of rows could not be finished, for a cause that affects all of them. None of its rows was returned.

    Attributes:
        cause: as `BatchReport.stopped`: "outage", "quota", "refused" or "disk".
        reason: the same as a sentence.
    """

    def __init__(self, cause: str, reason: str) -> None:
        super().__init__(cause, reason)
        self.cause: str = cause
        self.reason: str = reason

    def __str__(self) -> str:
        return f"a batch of rows was not finished: {self.reason or self.cause}; when that is fixed, run it again"


class ChatRows:
    """Rows that are conversations with given messages."""

    needs = ("messages",)
    adds: Mapping[str, Any] = {
        "conversation": [{"role": str, "content": str}],
        "replies": [str],
        "stop_reasons": [str],
        "finish_reasons": [str],
        "turns": int,
        "prompt_tokens": int,
        "completion_tokens": int,
        "prompt_hash": str,
        "notes_after": [{"path": str, "text": str}],
        "error": str,
    }

    def __init__(self, config: BatchConfig, persona_model: None, persona_factory: None) -> None:
        self._config = config

    async def run(self, rows: Sequence[Mapping[str, Any]], runtime: Runtime) -> list[dict[str, Any]]:
        with _temporary_folder() as folder:
            found = [_no_conversation(row.get("messages")) for row in rows]
            jobs: dict[str, Job] = {}
            for number, row in enumerate(rows):
                try:
                    jobs[str(number)] = await trio.to_thread.run_sync(_job, number, row, folder / "memories")
                except InvalidInputError as error:
                    found[number]["error"] = _words(error)
            if jobs:
                report = await run_batch(
                    list(jobs.values()), runtime=runtime, run_dir=folder / "run", config=self._config
                )
                _check_finished(report.stopped, report.reason)
                await trio.to_thread.run_sync(self._fill, found, jobs, folder)
            return found

    def _fill(self, found: list[dict[str, Any]], jobs: Mapping[str, Job], folder: Path) -> None:
        for job_id, _, outcome in outcomes_of(folder / "run", "done"):
            found[int(job_id)] |= {
                "conversation": outcome["messages"],
                "replies": _replies(outcome["messages"], outcome["stop_reasons"]),
                "stop_reasons": outcome["stop_reasons"],
                "finish_reasons": outcome["finish_reasons"],
                "turns": outcome["turns"],
                "prompt_tokens": outcome["usage"]["prompt_tokens"],
                "completion_tokens": outcome["usage"]["completion_tokens"],
                "prompt_hash": outcome["prompt"],
            }
        for job_id, _, outcome in outcomes_of(folder / "run", "failed"):
            found[int(job_id)] |= {"error": _described(outcome["error"]), "prompt_hash": outcome["prompt"]}
        for job_id, job in jobs.items():
            memory = Path(job.memory)
            if folder in memory.parents and memory.is_dir():
                notes = read_notes(memory)
                found[int(job_id)]["notes_after"] = [{"path": path, "text": text} for path, text in notes.items()]


class SftRows:
    """Rows that are personas with their facts."""

    needs = ("persona", "facts")
    adds: Mapping[str, Any] = {
        "accepted": bool,
        "reason": str,
        "conversation": [{"role": str, "content": str}],
        "attempts": int,
        "prompt_tokens": int,
        "completion_tokens": int,
        "prompt_hash": str,
        "error": str,
    }

    def __init__(self, config: SftConfig, persona_model: str | None, persona_factory: PersonaFactory | None) -> None:
        self._config, self._persona_model, self._factory = config, persona_model, persona_factory

    async def run(self, rows: Sequence[Mapping[str, Any]], runtime: Runtime) -> list[dict[str, Any]]:
        found = [_no_training() for _ in rows]
        good: dict[int, tuple[Persona, Sequence[Fact]]] = {}
        for number, row in enumerate(rows):
            try:
                good[number] = self._read(row)
            except InvalidInputError as error:
                found[number]["error"] = _words(error)
        if not good:
            return found
        with _temporary_folder() as folder:
            report = await self._generate(list(good.values()), runtime, folder / "run")
            _check_finished(report.run.stopped, report.run.reason)
            await trio.to_thread.run_sync(self._fill, found, list(good), folder / "run")
        return found

    def _read(self, row: Mapping[str, Any]) -> tuple[Persona, Sequence[Fact]]:
        persona, facts = read_persona(row.get("persona")), read_facts(row.get("facts"))
        if self._factory is None and self._persona_model is None:  # a factory's personas may need no facts
            ScriptedPersona(persona, facts, flow=self._config.flow, num_turns=self._config.num_turns)
        return persona, facts

    async def _generate(
        self, good: Sequence[tuple[Persona, Sequence[Fact]]], runtime: Runtime, run_dir: Path
    ) -> SftReport:
        people, facts = [persona for persona, _ in good], [known for _, known in good]
        more: dict[str, Any] = {"flow": self._config.flow, "num_turns": self._config.num_turns}
        generate = partial(generate_conversations, runtime=runtime, run_dir=run_dir, config=self._config)
        if self._persona_model is None:
            return await generate(people, facts, self._factory or partial(ScriptedPersona, **more))
        async with runtime.open_model(self._persona_model) as playing:
            return await generate(people, facts, partial(ModelPersona, playing, **more))

    def _fill(self, found: list[dict[str, Any]], numbers: Sequence[int], run_dir: Path) -> None:
        for state in ("done", "failed"):
            for job_id, _, outcome in outcomes_of(run_dir, state):
                used = outcome["tokens"].values()
                error = outcome.get("error")
                found[numbers[int(job_id.rpartition("-")[2])]] |= {
                    "accepted": state == "done",
                    "reason": outcome.get("reason", ""),
                    "conversation": outcome["messages"],
                    "attempts": outcome["attempts"],
                    "prompt_tokens": sum(usage["prompt_tokens"] for usage in used),
                    "completion_tokens": sum(usage["completion_tokens"] for usage in used),
                    "prompt_hash": outcome["hashes"]["prompt"],
                    "error": "" if error is None else _described(error),
                }


def _job(number: int, row: Mapping[str, Any], folder: Path) -> Job:
    """The job of a row. Its notes are written to a memory of its own, unless the row names one."""
    messages, memory = row.get("messages"), row.get("memory")
    given = {name: row[name] for name in _OF_JOBS if row.get(name) is not None}
    own = folder / str(number)
    job = job_from_row(
        {
            "id": str(number),
            "memory": str(own) if memory is None else memory,
            "messages": [messages] if isinstance(messages, str) else messages,
            **given,
        }
    )
    if memory is None:
        try:
            write_notes(own, _notes(row.get("notes")))
        except (OSError, UnicodeEncodeError) as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise
            words = error.strerror if isinstance(error, OSError) else str(error)
            raise InvalidInputError("notes", f"cannot be written as files: {words}") from error
    elif row.get("notes") is not None:
        raise InvalidInputError("notes", "are given beside a memory, which has its own; give one of them")
    return job


def _notes(given: object) -> dict[str, str]:
    """Texts by path; paths must stay inside of the memory."""
    if given is None:
        return {}
    items: Sequence[Any] = list(given.items()) if isinstance(given, Mapping) else []
    if isinstance(given, list):
        items = [(item.get("path"), item.get("text")) if isinstance(item, Mapping) else (item, None) for item in given]
    elif not isinstance(given, Mapping):
        raise InvalidInputError("notes", f'must be texts by path, or a list of {{"path", "text"}}, not {short(given)}')
    for path, text in items:
        if problem := text_problem(path):
            raise InvalidInputError("notes: a path", problem)
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or any(part.startswith(".") for part in parts):
            raise InvalidInputError("notes: a path", f"must lie in the memory and not be hidden, not {short(path)}")
        if not isinstance(text, str):
            raise InvalidInputError(f"notes[{path!r}]", f"must be a text, not {short(text)}")
    return dict(items)


def _no_conversation(messages: object) -> dict[str, Any]:
    """The columns of a row without a result; the user's messages give the column its type."""
    said = [messages] if isinstance(messages, str) else messages if isinstance(messages, list) else []
    return {
        "conversation": [{"role": "user", "content": str(message)} for message in said],
        "replies": [],
        "stop_reasons": [],
        "finish_reasons": [],
        "turns": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "prompt_hash": "",
        "notes_after": [],
        "error": "",
    }


def _no_training() -> dict[str, Any]:
    return {
        "accepted": False,
        "reason": "",
        "conversation": [],
        "attempts": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "prompt_hash": "",
        "error": "",
    }


def _check_finished(stopped: str, reason: str) -> None:
    if stopped:
        raise StageStoppedError(stopped, reason)


def _replies(messages: Sequence[Mapping[str, Any]], stop_reasons: Sequence[str]) -> list[str]:
    """The reply to each message of the user; "" if there was none."""
    last: list[str] = []
    for message in messages:
        if message["role"] == "user":
            last.append("")
        elif message["role"] == "assistant" and last:
            last[-1] = message["content"]
    return [
        parse_reply(text).reply if reason == "reply" else "" for text, reason in zip(last, stop_reasons, strict=True)
    ]


def _described(error: Mapping[str, Any]) -> str:
    return f"{error['type']}: {error['message']}"


def _words(error: InvalidInputError) -> str:
    return f"{type(error).__name__}: {error}"


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="trioagent-stage-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
