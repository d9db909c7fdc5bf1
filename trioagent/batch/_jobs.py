"""Jobs: one row of a batch, and reading them from JSON Lines with every bad row named."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import attrs

from .._config import AgentConfig, BlindOverwrite, ModelConfig, Shard, VaultPolicy, memory_name
from .._errors import InvalidInputError
from .._runs import BadJobsError, BadRow, checked_rows
from .._wire import read_value, short, strict_converter, text_problem
from ..models import with_options

_ANY_MODEL = ModelConfig(base_url="http://localhost", model="any")
_MOST_SECONDS = 1e9
_MESSAGE_CHARS = AgentConfig().message_chars  # agents of a batch have the default
_METADATA_DEPTH = 100  # levels; the outputs, which contain it, must be writable and readable as JSON anywhere


def _text(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if problem := text_problem(value):
        raise InvalidInputError(attribute.name, problem)


def _messages(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple) or not value:
        raise InvalidInputError("messages", f"must be a list of at least one text, not {short(value)}")
    for index, message in enumerate(value):
        if problem := text_problem(message) or _length_problem(message):
            raise InvalidInputError(f"messages[{index}]", problem)


def _length_problem(message: str) -> str:
    if len(message) <= _MESSAGE_CHARS:
        return ""
    return (
        f"has {len(message):,} characters, and an agent accepts at most {_MESSAGE_CHARS:,} at once; "
        "put long texts into a note instead"
    )


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    # Also excludes integers that are too large for a float, which cannot be added to a time.
    if value is not None and (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (0 < value < _MOST_SECONDS or value == math.inf)
    ):
        raise InvalidInputError("deadline", f"must be a number of seconds above 0, not {short(value)}")


def _mapping(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, Mapping):
        raise InvalidInputError("metadata", f"must be an object, not {short(value)}")
    level: list[Any] = [value]
    for _ in range(_METADATA_DEPTH):
        level = [item for inside in level for item in (inside.values() if isinstance(inside, Mapping) else inside)]
        if any(isinstance(item, float) and not math.isfinite(item) for item in level):
            raise InvalidInputError("metadata", "holds a number that JSON cannot (not finite)")
        level = [item for item in level if isinstance(item, Mapping | list | tuple)]
        if not level:
            return
    raise InvalidInputError("metadata", f"is nested deeper than {_METADATA_DEPTH} levels")


def _options(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Validated as they will be used, so that a bad one costs nothing."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InvalidInputError("options", f"must be an object, not {short(value)}")
    if not value:
        return
    try:
        with_options(_ANY_MODEL, value)
    except InvalidInputError as error:
        raise InvalidInputError(f"options.{error.what}", error.problem) from error


def _policy(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and not isinstance(value, VaultPolicy):
        raise InvalidInputError("policy", f"must be a VaultPolicy, not {short(value)}")


def _overwrite(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in (None, *get_args(BlindOverwrite)):
        raise InvalidInputError("blind_overwrite", f"must be 'refuse' or 'allow', not {short(value)}")


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@attrs.frozen(kw_only=True)
class Job:
    """One episode of a batch: user messages sent one after the other to one agent with one memory.

    Attributes:
        id: unique in the batch; names the job in the journal and in the outputs.
        memory: the folder of notes, relative to the folder that was the current one when the run was begun.
        messages: the user's messages.
        model: a model's name, if not the runtime's own.
        options: request parameters such as ``temperature``, which override the model's (see `Runtime.open_model`).
        system_prompt, system_prompt_append: in place of the batch's own (see `AgentConfig`).
        policy: what blocks may read and change in the memory, if not the batch's own.
        blind_overwrite: see `AgentConfig`, if not the batch's own.
        deadline: working seconds for the whole episode, if not the batch's own.
        metadata: any JSON object; copied to the outputs.
    """

    id: str = attrs.field(validator=_text)
    memory: str = attrs.field(validator=_text)
    messages: tuple[str, ...] = attrs.field(converter=_tuple, validator=_messages)
    model: str | None = attrs.field(default=None, validator=attrs.validators.optional(_text))
    system_prompt: str | None = attrs.field(default=None, validator=attrs.validators.optional(_text))
    system_prompt_append: str | None = attrs.field(default=None, validator=attrs.validators.optional(_text))
    options: Mapping[str, Any] = attrs.field(factory=dict, validator=_options)
    policy: VaultPolicy | None = attrs.field(default=None, validator=_policy)
    blind_overwrite: BlindOverwrite | None = attrs.field(default=None, validator=_overwrite)
    deadline: float | None = attrs.field(default=None, validator=_seconds)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, validator=_mapping)

    @property
    def key(self) -> str:
        return self.id

    @property
    def digest(self) -> str:
        """A hash of everything that determines the episode (without its deadline and metadata)."""
        what: list[Any] = [self.memory, list(self.messages), self.model, self.system_prompt]
        if self.options or self.system_prompt_append is not None:  # else as in 0.1, so that its runs can be resumed
            what += [dict(self.options), self.system_prompt_append]
        if self.policy is not None or self.blind_overwrite is not None:
            what += [None if self.policy is None else self.policy.as_data(), self.blind_overwrite]
        return hashlib.sha256(json.dumps(what, ensure_ascii=True, sort_keys=True).encode()).hexdigest()[:32]


_converter = strict_converter(advice="put your own data into metadata")


def job_from_row(row: object) -> Job:
    """A job from decoded JSON.

    Raises:
        InvalidInputError: it is not an object, or a field is missing, unknown or of the wrong type.
    """
    return read_value(_converter, row, Job, "job")


def read_jobs(path: Path) -> Iterator[tuple[int, Job | BadRow]]:
    """``(line number, job or problem)`` of every row that is not blank; one row in memory at a time."""
    return checked_rows(path, job_from_row)


@attrs.frozen
class Survey:
    """The contents of a jobs file, or of a shard of it: how many jobs, and the models that they name themselves."""

    jobs: int
    models: frozenset[str]


def survey_jobs(path: Path, *, name: str | None = None, shard: Shard | None = None) -> Survey:
    """Read the whole file once, checking every row.

    Uses about 100 bytes of RAM a job, to detect duplicate ids.

    Args:
        name: the file's name in errors; its path if None.
        shard: count the jobs of this part only; all rows are checked.

    Raises:
        BadJobsError: rows that are not jobs, duplicate ids, or, if there is a *shard*, a memory with two names,
            whose jobs would be in two shards.
        InvalidInputError: the file cannot be read, is not a plain file, or contains no job.
    """
    name = str(path) if name is None else name
    seen: dict[int, int] = {}
    bad: list[BadRow] = []
    models: set[str | None] = set()
    names = _MemoryNames()
    jobs = 0
    try:
        if path.exists() and not path.is_file():
            raise InvalidInputError(name, "is not a plain file, and jobs are read more than once")
        for line, item in read_jobs(path):
            if isinstance(item, BadRow):
                bad.append(item)
                continue
            if shard is None or shard.holds(item.memory):
                jobs += 1
                models.add(item.model)
            if shard is not None and (other := names.other_name(line, item.memory)):
                bad.append(BadRow(line, other))
            mark = int.from_bytes(hashlib.blake2b(item.id.encode(), digest_size=8).digest())
            first = seen.setdefault(mark, line)
            if first != line:
                bad.append(BadRow(line, f"has the id {item.id!r} of line {first} again"))
    except OSError as error:
        raise InvalidInputError(name, f"cannot be read: {error.strerror}") from error
    if bad:
        raise BadJobsError(name, tuple(bad))
    if not seen:
        raise InvalidInputError(name, "holds no job")
    return Survey(jobs, frozenset(model for model in models if model is not None))


class _MemoryNames:
    """The names of memories in a file, to detect one with two: a link, or both a relative and an absolute path."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._by_folder: dict[str, tuple[int, str]] = {}

    def other_name(self, line: int, memory: str) -> str:
        """The problem if this memory has another name in an earlier line, else ""."""
        name = memory_name(memory)
        if name in self._known:
            return ""
        self._known.add(name)
        first, other = self._by_folder.setdefault(os.path.realpath(os.path.expanduser(name)), (line, name))
        if other == name:
            return ""
        return f"memory: {memory!r} is the folder of {other!r} in line {first}; in shards it needs one name in all rows"


def good_jobs(path: Path) -> Iterator[Job]:
    """The jobs of a file that has been checked, of all shards.

    Raises:
        BadJobsError: it has changed since.
    """
    for _, item in read_jobs(path):
        if isinstance(item, BadRow):
            raise BadJobsError(str(path), (item,))
        yield item
