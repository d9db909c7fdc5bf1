"""A job's conversation: what was said, thought and run, and what it changed, over all attempts."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import attrs

from .._parsed_reply import ParsedReply
from .._reply_parser import parse_reply
from .._runs import AnswerEvent, JobDetails, JobState, JobWait, NoteImage, ResultEvent, WorkEvent
from ..tools import version_of
from ._diff import DiffHunk, diff_notes

MOST_CHARACTERS = 200_000
"""Of one text that are shown."""
_PARSED_CHARACTERS = 100_000
_NAME_CHARACTERS = 200
_SHOWN_APART = frozenset({"messages", "usage", "error", "metadata", "last_response"})
_OF_GRADES = frozenset({"score", "reason", "graded_by", "expected", "reply", "notes_before", "notes_after"})


@attrs.frozen
class Said:
    """A message that no model wrote, or one whose parts are not known."""

    role: str
    text: str
    kind: Literal["said"] = "said"


@attrs.frozen(kw_only=True)
class AnswerEntry:
    """A model's answer.

    Attributes:
        attempt: of the job; null if the journal does not say any more.
        text: all of it, if it has neither code nor a reply; else "".
        partial: of a reply that was cut.
        repairs: how often each repair was needed to read it.
        tokens: that it took, or null.
    """

    attempt: int | None
    thoughts: str
    code: str
    reply: str
    text: str
    partial: str
    repairs: Mapping[str, int]
    tokens: int | None = None
    finish_reason: str = ""
    kind: Literal["answer"] = "answer"


@attrs.frozen(kw_only=True)
class ChangeEntry:
    """What a block did to a note.

    Attributes:
        action: "made", "changed" or "deleted".
        hunks: null where the journal does not hold both contents.
    """

    path: str
    action: Literal["made", "changed", "deleted"]
    hunks: Sequence[DiffHunk] | None


@attrs.frozen(kw_only=True)
class ResultEntry:
    """What a block came to (see `BlockResult`)."""

    attempt: int
    locals: Mapping[str, str]
    error: str
    printed: str
    saved: bool
    tier: str
    changes: Sequence[ChangeEntry]
    kind: Literal["result"] = "result"


@attrs.frozen(kw_only=True)
class WorkEntry:
    """Whatever else the job's kind of run has journaled."""

    attempt: int
    body: Mapping[str, Any]
    kind: Literal["work"] = "work"


@attrs.frozen(kw_only=True)
class WaitEntry:
    """Something that the job waited for (see `JobWait`).

    Attributes:
        state: "retrying" (an attempt at a request had failed), "held" (a server unavailable, a disk full) or "rate".
        began: seconds since 1970.
        cause: the error, in words; "" for a rate limit.
    """

    attempt: int
    state: str
    began: float
    seconds: float
    cause: str
    kind: Literal["wait"] = "wait"


Entry = Said | AnswerEntry | ResultEntry | WorkEntry | WaitEntry


@attrs.frozen(kw_only=True)
class GradeView:
    """How a sample of an evaluation was graded.

    Attributes:
        score: from 0 to 1.
        reason: of the grade, in the grader's words.
        graded_by: "match", or the judge's name.
        expected: what is a right answer, for people.
        reply: the answer.
        changes: what was done to the notes.
        notes: those that the row has, as they were before; of a wrong answer all, if they are not too much.
    """

    score: float
    reason: str
    graded_by: str
    category: str
    expected: str
    reply: str
    changes: Sequence[ChangeEntry]
    notes: Mapping[str, str]


@attrs.frozen(kw_only=True)
class JobView:
    """A job with its transcript.

    Attributes:
        error: why it failed, with its fields; or null.
        last_response: the last thing that the model of a failed job said.
        usage: tokens and cost of one that is done; or null.
        grade: of a sample of an evaluation; or null.
        outcome: what else came of it.
        left_out: entries that are not shown.
    """

    id: str
    state: JobState
    attempts: int
    no_reply: bool
    error: Mapping[str, Any] | None
    last_response: str
    usage: Mapping[str, Any] | None
    metadata: Mapping[str, Any]
    grade: GradeView | None
    outcome: Mapping[str, Any]
    entries: Sequence[Entry]
    left_out: int


def job_view(job: JobDetails) -> JobView:
    """All that is known of a job. In proportion to its conversation: for a worker thread."""
    outcome = job.outcome or {}
    messages = outcome.get("messages")
    grade = _grade(outcome)
    apart = _SHOWN_APART if grade is None else _SHOWN_APART | _OF_GRADES
    entries = _said(messages, job.attempts) if isinstance(messages, list) else _journaled(job)
    return JobView(
        id=job.id,
        state=job.state,
        attempts=job.attempts,
        no_reply=job.no_reply,
        error=_object(outcome.get("error")),
        last_response=_cut(str(outcome.get("last_response") or "")),
        usage=_object(outcome.get("usage")),
        metadata=_object(outcome.get("metadata")) or {},
        grade=grade,
        outcome={name: value for name, value in outcome.items() if name not in apart},
        entries=list(_with_waits(entries, job)),
        left_out=job.left_out,
    )


def _object(value: object) -> Mapping[str, Any] | None:
    return value if isinstance(value, dict) else None


def _grade(outcome: Mapping[str, Any]) -> GradeView | None:
    score = outcome.get("score")
    if isinstance(score, bool) or not isinstance(score, int | float):
        return None
    before, after = _texts(outcome.get("notes_before")), _texts(outcome.get("notes_after"))
    changed = [path for path in sorted({*before, *after}) if before.get(path) != after.get(path)]
    return GradeView(
        score=float(score),
        reason=_cut(str(outcome.get("reason") or "")),
        graded_by=str(outcome.get("graded_by") or "")[:_NAME_CHARACTERS],
        category=str(outcome.get("category") or "")[:_NAME_CHARACTERS],
        expected=_cut(str(outcome.get("expected") or "")),
        reply=_cut(str(outcome.get("reply") or "")),
        changes=[_changed(path, before.get(path), after.get(path)) for path in changed],
        notes={path: _cut(text) for path, text in before.items()},
    )


def _texts(notes: object) -> dict[str, str]:
    if not isinstance(notes, dict):
        return {}
    return {path: text for path, text in notes.items() if isinstance(text, str)}


def _changed(path: str, before: str | None, after: str | None) -> ChangeEntry:
    action: Literal["made", "changed", "deleted"] = "changed"
    if before is None or after is None:
        action = "made" if before is None else "deleted"
    old, new = (None if text is None else text.encode("utf-8", "replace") for text in (before, after))
    return ChangeEntry(path=path, action=action, hunks=diff_notes(old, new))


_Numbered = tuple[tuple[int, int] | None, Entry]  # the attempt, and the number of the event in it; None for no event


def _with_waits(entries: Iterable[_Numbered], job: JobDetails) -> Iterator[Entry]:
    """The entries, and each wait before the event that came after it."""
    waits = deque(job.waits)
    for place, entry in entries:
        while waits and place is not None and (waits[0].attempt, waits[0].n) <= place:
            yield _wait(waits.popleft())
        yield entry
    yield from map(_wait, waits)


def _wait(wait: JobWait) -> WaitEntry:
    return WaitEntry(
        attempt=wait.attempt, state=wait.state, began=wait.began, seconds=wait.seconds, cause=_cut(wait.cause)
    )


def _said(messages: Sequence[Any], attempt: int) -> Iterator[_Numbered]:
    """The messages of a conversation that has ended; its events, an answer or a result each, are gone by then."""
    n = 0
    for message in messages:
        if not isinstance(message, dict):
            continue
        role, text = str(message.get("role", "")), str(message.get("content", ""))
        place = (attempt, n) if role in ("assistant", "tool") else None
        n += place is not None
        if role == "assistant" and len(text) <= _PARSED_CHARACTERS:
            yield place, _answer(parse_reply(text), None)
        else:
            yield place, Said(role, _cut(text))


def _journaled(job: JobDetails) -> Iterator[_Numbered]:
    """The events of a job that has not ended well, with what its blocks changed."""
    contents = _Contents([entry.event for entry in job.events if isinstance(entry.event, ResultEvent)])
    for entry in job.events:
        place = entry.attempt, entry.n
        match entry.event:
            case AnswerEvent() as event:
                answer = _answer(event.answer, entry.attempt)
                reason = event.finish_reason or ""
                yield place, attrs.evolve(answer, tokens=event.usage.total_tokens, finish_reason=reason)
            case ResultEvent(result=result) as event:
                yield (
                    place,
                    ResultEntry(
                        attempt=entry.attempt,
                        locals=result.locals,
                        error=_cut(result.error),
                        printed=_cut(result.printed),
                        saved=result.saved,
                        tier=result.tier,
                        changes=list(contents.changes(event)),
                    ),
                )
            case WorkEvent(body):
                yield place, WorkEntry(attempt=entry.attempt, body=body)


def _answer(answer: ParsedReply, attempt: int | None) -> AnswerEntry:
    return AnswerEntry(
        attempt=attempt,
        thoughts=_cut(answer.thoughts),
        code=_cut(answer.code),
        reply=_cut(answer.reply),
        text="" if answer.usable else _cut(answer.text),
        partial=_cut(answer.partial),
        repairs=answer.repairs,
    )


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:MOST_CHARACTERS]}\n… {len(text) - MOST_CHARACTERS:,} more characters"


class _Contents:
    """Finds what notes were after a block: what the journal holds is what they were before it.

    A note's content after one block is what lay there before the next that changed it, if nobody else changed it in
    between, which its version says; after the last block it is not kept.
    """

    def __init__(self, results: Sequence[ResultEvent]) -> None:
        self._known: dict[str, dict[str, bytes]] = {}
        for result in results:
            for path, image in (result.images or {}).items():
                if image.data is not None and not path.endswith("/"):
                    self._known.setdefault(path, {})[version_of(image.data)] = image.data

    def changes(self, event: ResultEvent) -> Iterator[ChangeEntry]:
        for path, version in (event.written or {}).items():
            image = (event.images or {}).get(path)
            after = None if version is None else self._known.get(path, {}).get(version)
            known = image is not None and not image.lost and (version is None or after is not None)
            hunks = diff_notes(image.data, after) if image is not None and known else None
            yield ChangeEntry(path=path, action=_action(image, version), hunks=hunks)


def _action(image: NoteImage | None, version: str | None) -> Literal["made", "changed", "deleted"]:
    if version is None:
        return "deleted"
    if image is None or image.lost:
        return "changed"
    return "made" if image.data is None else "changed"
