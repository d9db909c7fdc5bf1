"""A job's conversation: messages, thoughts, code and changes, over all attempts."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import attrs

from .._parsed_reply import ParsedReply
from .._reply_parser import parse_reply
from .._runs import (
    AnswerEvent,
    ChangeLog,
    ChangingBlock,
    JobDetails,
    JobState,
    JobWait,
    JournaledEvent,
    KeptAttempt,
    ResultEvent,
    WorkEvent,
)
from ._diff import DiffHunk, DiffWork, diff_notes

MOST_CHARACTERS = 200_000
"""The part of each text that is shown."""
_PARSED_CHARACTERS = 100_000
_NAME_CHARACTERS = 200
_SHOWN_APART = frozenset({"messages", "usage", "error", "metadata", "last_response"})
_OF_GRADES = frozenset({"score", "reason", "graded_by", "expected", "reply", "notes_before", "notes_after"})


@attrs.frozen(kw_only=True)
class AnswerEntry:
    """A model's answer.

    Attributes:
        attempt: the number of the job's attempt.
        text: the whole answer, if it has neither code nor a reply; else "".
        partial: the part of a reply that was cut.
        repairs: how often each repair was needed to parse it.
        tokens: the tokens that it took, or null.
    """

    attempt: int
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
    """A block's change of a note.

    Attributes:
        action: "made", "changed" or "deleted".
        hunks: null where the journal does not hold both contents, or too much would be shown.
    """

    path: str
    action: Literal["made", "changed", "deleted"]
    hunks: Sequence[DiffHunk] | None


@attrs.frozen(kw_only=True)
class Said:
    """A message that no model wrote, or whose parts are not known.

    Attributes:
        changes: if it is a block's result: the block's changes of the notes.
        more_changes: further notes that it changed.
    """

    attempt: int
    role: str
    text: str
    changes: Sequence[ChangeEntry] = ()
    more_changes: int = 0
    kind: Literal["said"] = "said"


@attrs.frozen(kw_only=True)
class ResultEntry:
    """The result of a block (see `BlockResult`).

    Attributes:
        more_changes: notes that it changed besides those in *changes*.
    """

    attempt: int
    locals: Mapping[str, str]
    error: str
    printed: str
    saved: bool
    tier: str
    changes: Sequence[ChangeEntry]
    more_changes: int = 0
    kind: Literal["result"] = "result"


@attrs.frozen(kw_only=True)
class WorkEntry:
    """Any other event that the job's kind of run has journaled."""

    attempt: int
    body: Mapping[str, Any]
    kind: Literal["work"] = "work"


@attrs.frozen(kw_only=True)
class WaitEntry:
    """Something that the job waited for (see `JobWait`).

    Attributes:
        state: "retrying" (an attempt at a request had failed), "held" (a server unavailable, a disk full) or "rate".
        began: seconds since 1970.
        cause: the error's text; "" for a rate limit.
    """

    attempt: int
    state: str
    began: float
    seconds: float
    cause: str
    kind: Literal["wait"] = "wait"


@attrs.frozen(kw_only=True)
class EndEntry:
    """The end of an attempt that was followed by another one.

    Attributes:
        reason: why it failed; "" if it did not.
        left_out: the number of its entries that are not kept.
    """

    attempt: int
    reason: str
    left_out: int = 0
    kind: Literal["end"] = "end"


Entry = Said | AnswerEntry | ResultEntry | WorkEntry | WaitEntry | EndEntry


@attrs.frozen(kw_only=True)
class GradeView:
    """How a sample of an evaluation was graded.

    Attributes:
        score: from 0 to 1.
        reason: the grader's reason.
        graded_by: "match", or the judge's name.
        expected: a description of a right answer.
        reply: the answer that was graded.
        changes: the changes of the notes.
        notes: those in the row, as they were before; for a wrong answer all notes, unless they are too large.
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
        last_response: the last answer of the model, if the job failed.
        usage: tokens and cost of a job that is done; or null.
        grade: of a sample of an evaluation; or null.
        outcome: the remaining fields of its outcome.
        left_out: the number of entries that are not shown.
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
    """A job with all that the journal keeps of it. Slow for long conversations: use a worker thread."""
    outcome = job.outcome or {}
    grade = _grade(outcome)
    apart = _SHOWN_APART if grade is None else _SHOWN_APART | _OF_GRADES
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
        entries=list(_with_waits(_entries(job, outcome.get("messages")), job)),
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
    old, new = (None if text is None else text.encode("utf-8", "replace") for text in (before, after))
    return ChangeEntry(path=path, action=_action(before, after), hunks=diff_notes(old, new))


def _action(before: str | None, after: str | None) -> Literal["made", "changed", "deleted"]:
    """What was done to a note, by its texts or versions; None: there was no note."""
    if before is None:
        return "made"
    return "deleted" if after is None else "changed"


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


def _entries(job: JobDetails, messages: object) -> Iterator[_Numbered]:
    """The entries of all attempts, as far as they are kept."""
    work = DiffWork()
    kept = {each.attempt: each for each in job.kept}
    journaled = {attempt: list(events) for attempt, events in groupby(job.events, lambda event: event.attempt)}
    for attempt in sorted({*kept, *journaled, job.attempts}):
        events, known = journaled.get(attempt, ()), kept.get(attempt)
        if attempt < job.attempts:
            yield from _former(events, known, attempt, work)
        elif isinstance(messages, list):
            # What a run of personas has tried before: a conversation that failed is there as well, and in the outcome.
            tries = [event for event in events if _conversation(event)][: -1 if job.state == "failed" else None]
            yield from _journaled(tries if known is None else [*known.events, *tries], _NO_CHANGES)
            yield from _said(messages, attempt, _kept_changes(known, work))
        else:
            yield from _journaled(events, _journaled_changes(events, work, known))


def _former(
    events: Sequence[JournaledEvent], kept: KeptAttempt | None, attempt: int, work: DiffWork
) -> Iterator[_Numbered]:
    """The entries of an attempt that was followed by another one."""
    if kept is None:  # an older journal, which keeps only what is needed to roll the attempt back
        yield from _journaled(events, _journaled_changes(events, work))
        return
    changes = _kept_changes(kept, work)
    yield from _journaled(kept.events, changes)
    yield from _said(kept.messages, attempt, changes)
    error = kept.error or {}
    words = ": ".join(text for name in ("type", "message") if isinstance(text := error.get(name), str) and text)
    yield None, EndEntry(attempt=attempt, reason=_cut(words), left_out=kept.left_out)


_Changes = Mapping[int, tuple[Sequence[ChangeEntry], int]]  # by the number of the answer that contained the block
_NO_CHANGES: _Changes = {}
_NOTHING: tuple[Sequence[ChangeEntry], int] = ((), 0)


def _kept_changes(kept: KeptAttempt | None, work: DiffWork) -> _Changes:
    return {} if kept is None else _changes(kept.blocks, kept.contents, work)


def _journaled_changes(events: Iterable[JournaledEvent], work: DiffWork, kept: KeptAttempt | None = None) -> _Changes:
    """The changes of blocks, as far as the journal still has their results.

    Results hold the content of notes before a block. The content after it is the content before the next block that
    changed the note, if the version shows that nobody else changed it in between; after the last block it is in *kept*.
    """
    log, answers = ChangeLog(most_bytes=math.inf), 0
    for entry in events:
        if isinstance(entry.event, ResultEvent):
            log.add(answers - 1, entry.event)
        answers += isinstance(entry.event, AnswerEvent)
    return _changes(log.blocks, {**log.contents, **(kept.contents if kept else {})}, work)


def _changes(blocks: Iterable[ChangingBlock], contents: Mapping[str, bytes], work: DiffWork) -> _Changes:
    return {block.answer: (list(_of_block(block, contents, work)), block.left_out) for block in blocks}


def _of_block(block: ChangingBlock, contents: Mapping[str, bytes], work: DiffWork) -> Iterator[ChangeEntry]:
    for note in block.notes:
        old, new = (None if version is None else contents.get(version) for version in (note.before, note.after))
        known = (old is not None or note.before is None) and (new is not None or note.after is None)
        hunks = diff_notes(old, new, work) if known and work.may_look_at(old, new) else None
        shown = hunks if hunks is not None and work.may_show(hunks) else None
        yield ChangeEntry(path=note.path, action=_action(note.before, note.after), hunks=shown)


def _said(messages: Sequence[Any], attempt: int, changes: _Changes) -> Iterator[_Numbered]:
    """The messages of a finished conversation; its events (answers and results) are no longer kept."""
    n, answers, follows, runs = 0, 0, False, False
    for message in messages:
        if not isinstance(message, dict):
            continue
        role, text = str(message.get("role", "")), str(message.get("content", ""))
        # A hint, which no event is of, is told as a result is, to an answer without code.
        place = (attempt, n) if role == "assistant" or (role == "tool" and follows and runs) else None
        n += place is not None
        if role == "assistant" and len(text) <= _PARSED_CHARACTERS:
            answer = _answer(parse_reply(text), attempt)
            runs = bool(answer.code)
            yield place, answer
        else:
            of_block, more = changes.get(answers - 1, _NOTHING) if role == "tool" and follows else _NOTHING
            runs = True
            yield place, Said(attempt=attempt, role=role, text=_cut(text), changes=of_block, more_changes=more)
        follows = role == "assistant"
        answers += follows


def _conversation(entry: JournaledEvent) -> Sequence[Any] | None:
    """The messages of a conversation that was rejected."""
    body = entry.event.body if isinstance(entry.event, WorkEvent) else {}
    messages = body.get("messages")
    return messages if isinstance(messages, list) and messages else None


def _journaled(events: Iterable[JournaledEvent], changes: _Changes) -> Iterator[_Numbered]:
    """The events of one attempt."""
    answers = 0
    for entry in events:
        place = entry.attempt, entry.n
        match entry.event:
            case AnswerEvent() as event:
                answers += 1
                answer = _answer(event.answer, entry.attempt)
                reason = event.finish_reason or ""
                yield place, attrs.evolve(answer, tokens=event.usage.total_tokens, finish_reason=reason)
            case ResultEvent(result=result):
                of_block, more = changes.get(answers - 1, _NOTHING)
                yield (
                    place,
                    ResultEntry(
                        attempt=entry.attempt,
                        locals=result.locals,
                        error=_cut(result.error),
                        printed=_cut(result.printed),
                        saved=result.saved,
                        tier=result.tier,
                        changes=of_block,
                        more_changes=more,
                    ),
                )
            case WorkEvent(body) if messages := _conversation(entry):
                for _, each in _said(messages, entry.attempt, _NO_CHANGES):
                    yield None, each
                yield place, EndEntry(attempt=entry.attempt, reason=_cut(_refusal(body)))
            case WorkEvent(body):
                yield place, WorkEntry(attempt=entry.attempt, body=body)


def _refusal(body: Mapping[str, Any]) -> str:
    """Why a conversation was rejected."""
    verdicts = [verdict for verdict in body.get("verdicts") or () if isinstance(verdict, dict)]
    wrong = [verdict for verdict in verdicts if verdict.get("passed") is False]
    return "; ".join(f"{verdict.get('check')}: {verdict.get('reason')}" for verdict in wrong)


def _answer(answer: ParsedReply, attempt: int) -> AnswerEntry:
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
