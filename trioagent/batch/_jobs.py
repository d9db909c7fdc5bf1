"""Jobs: one row of a batch, and reading them from JSON Lines with every bad row named."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeVar

import attrs

from .._errors import InvalidInputError
from ..nursery_runner import Job as AnyJob
from ..nursery_runner import iterate

T = TypeVar("T")
J = TypeVar("J", bound=AnyJob)

MAX_ROW_BYTES = 16 * 1024 * 1024
_SHOWN = 20
_MOST_SECONDS = 1e9
_METADATA_DEPTH = 100  # levels; the outputs, which hold it, must be writable and readable as JSON anywhere


def text_problem(value: object) -> str:
    """Why *value* is no text that says something and can be written to a file, or ""."""
    if not isinstance(value, str) or not value.strip():
        return f"must be a text that is not empty, not {short(value)}"
    if "\0" in value or not _encodes(value):
        return f"holds a character that no file can (NUL, or half a surrogate pair): {short(value)}"
    return ""


def _encodes(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if problem := text_problem(value):
        raise InvalidInputError(attribute.name, problem)


def _messages(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if not isinstance(value, tuple) or not value:
        raise InvalidInputError("messages", f"must be a list of at least one text, not {short(value)}")
    for index, message in enumerate(value):
        if problem := text_problem(message):
            raise InvalidInputError(f"messages[{index}]", problem)


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
    # A whole number that no float can hold cannot be added to a time either.
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


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@attrs.frozen(kw_only=True)
class Job:
    """One episode of a batch: user messages said one after the other to one agent with one memory.

    Attributes:
        id: unique in the batch; names the job in the journal and in the outputs.
        memory: the folder of notes, relative to the current directory.
        messages: what the user says.
        model: a model's name, if not the runtime's own.
        system_prompt: replaces the built-in one.
        deadline: working seconds for the whole episode, if not the batch's own.
        metadata: any JSON object; copied to the outputs.
    """

    id: str = attrs.field(validator=_text)
    memory: str = attrs.field(validator=_text)
    messages: tuple[str, ...] = attrs.field(converter=_tuple, validator=_messages)
    model: str | None = attrs.field(default=None, validator=attrs.validators.optional(_text))
    system_prompt: str | None = attrs.field(default=None, validator=attrs.validators.optional(_text))
    deadline: float | None = attrs.field(default=None, validator=_seconds)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, validator=_mapping)

    @property
    def key(self) -> str:
        return self.id

    @property
    def digest(self) -> str:
        """Of all that decides what the episode is (not its deadline, not its metadata)."""
        what = [self.memory, list(self.messages), self.model, self.system_prompt]
        return hashlib.sha256(json.dumps(what, ensure_ascii=True).encode()).hexdigest()[:32]


_FIELDS = {field.name for field in attrs.fields(Job)}
_NEEDED = {"id", "memory", "messages"}


def job_from_row(row: object) -> Job:
    """A job from decoded JSON.

    Raises:
        InvalidInputError: it is not an object, a field is missing, unknown or of the wrong kind.
    """
    if not isinstance(row, dict):
        raise InvalidInputError("job", f"must be an object, not {short(row)}")
    if missing := _NEEDED - row.keys():
        raise InvalidInputError("job", f"lacks {', '.join(sorted(missing))}")
    if unknown := row.keys() - _FIELDS:
        names = ", ".join(name if name.isprintable() else short(name) for name in sorted(unknown)[:_SHOWN])[:500]
        raise InvalidInputError("job", f"has unknown fields: {names}; put your own data into metadata")
    return Job(**row)


@attrs.frozen
class BadRow:
    """A row of a jobs file that is no job."""

    line: int
    problem: str


class BadJobsError(InvalidInputError):
    """A jobs file with bad rows; nothing was run.

    Attributes:
        path: the file.
        rows: every bad row.
    """

    def __init__(self, path: str, rows: tuple[BadRow, ...]) -> None:
        super().__init__(path, "has bad rows")
        self.args: tuple[Any, ...] = (path, rows)
        self.path: str = path
        self.rows: tuple[BadRow, ...] = rows

    def __str__(self) -> str:
        lines = [f"  line {row.line}: {row.problem}" for row in self.rows[:_SHOWN]]
        if len(self.rows) > _SHOWN:
            lines.append(f"  and {len(self.rows) - _SHOWN} more")
        rows = "1 bad row" if len(self.rows) == 1 else f"{len(self.rows)} bad rows"
        return "\n".join([f"{self.path}: {rows}; nothing was run", *lines])


def read_jobs(path: Path) -> Iterator[tuple[int, Job | BadRow]]:
    """``(line number, job or what is wrong)`` of every row that is not blank; one row in memory at a time."""
    return checked_rows(path, job_from_row)


def checked_rows(path: Path, read: Callable[[object], T]) -> Iterator[tuple[int, T | BadRow]]:
    """The same for rows of any kind.

    Args:
        read: makes of decoded JSON what it is, or raises `InvalidInputError`.
    """
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(MAX_ROW_BYTES + 1):
            number += 1
            if len(line) > MAX_ROW_BYTES:
                yield number, BadRow(number, f"is longer than {MAX_ROW_BYTES:,} bytes")
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_ROW_BYTES)
                continue
            if line.strip():
                yield number, _read_row(number, line, read)


def _read_row(number: int, line: bytes, read: Callable[[object], T]) -> T | BadRow:
    try:
        return read(json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8")))
    except UnicodeDecodeError as error:
        return BadRow(number, f"is not UTF-8 at byte {error.start}")
    except InvalidInputError as error:
        return BadRow(number, str(error))
    except json.JSONDecodeError as error:  # its own words count lines, and there is one
        return BadRow(number, f"is not JSON: {error.msg} at character {error.pos + 1}")
    except (ValueError, RecursionError) as error:
        return BadRow(number, f"is not JSON: {error}")


@attrs.frozen
class Survey:
    """What a jobs file holds: how many jobs, and the models that they name themselves."""

    jobs: int
    models: frozenset[str]


def survey_jobs(path: Path) -> Survey:
    """Read the whole file once, checking every row.

    Memory: about 100 bytes a job, for noticing duplicate ids.

    Raises:
        BadJobsError: rows that are no jobs, or ids that occur twice.
        InvalidInputError: the file cannot be read, is no plain file, or holds no job.
    """
    seen: dict[int, int] = {}
    bad: list[BadRow] = []
    models: set[str] = set()
    try:
        if path.exists() and not path.is_file():
            raise InvalidInputError(str(path), "is not a plain file, and jobs are read more than once")
        for line, item in read_jobs(path):
            if isinstance(item, BadRow):
                bad.append(item)
                continue
            if item.model is not None:
                models.add(item.model)
            mark = int.from_bytes(hashlib.blake2b(item.id.encode(), digest_size=8).digest())
            first = seen.setdefault(mark, line)
            if first != line:
                bad.append(BadRow(line, f"has the id {item.id!r} of line {first} again"))
    except OSError as error:
        raise InvalidInputError(str(path), f"cannot be read: {error.strerror}") from error
    if bad:
        raise BadJobsError(str(path), tuple(bad))
    if not seen:
        raise InvalidInputError(str(path), "holds no job")
    return Survey(len(seen), frozenset(models))


def check_jobs(path: Path, limit: int | None = None) -> int:
    """How many jobs a file holds (at most *limit*), every row checked; raises as `survey_jobs` does."""
    count = survey_jobs(path).jobs
    return count if limit is None else min(count, limit)


def good_jobs(path: Path) -> Iterator[Job]:
    """The jobs of a file that has been checked.

    Raises:
        BadJobsError: it has been changed since.
    """
    for _, item in read_jobs(path):
        if isinstance(item, BadRow):
            raise BadJobsError(str(path), (item,))
        yield item


async def in_chunks(jobs: Iterable[J] | AsyncIterable[J], size: int) -> AsyncGenerator[list[J], None]:
    """The same jobs, so many at a time; those of an async source one by one, for the next may be long in coming."""
    size = 1 if isinstance(jobs, AsyncIterable) else size
    chunk: list[J] = []
    async with aclosing(iterate(jobs)) as source:
        async for job in source:
            chunk.append(job)
            if len(chunk) == size:
                yield chunk
                chunk = []
    if chunk:
        yield chunk


def short(value: object) -> str:
    text = repr(value)  # which spells out what cannot be shown
    return text if len(text) <= 60 else text[:57] + "..."
