"""REST: memories, notes and runs as JSON. One table lists all operations; see `_operations` and `_openapi`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import attrs
import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .._errors import InvalidInputError
from .._runs import (
    ControlRequest,
    Filter,
    JobPage,
    JournalError,
    RunBrowser,
    RunNotReachedError,
    RunSeries,
    read_series,
    send_control,
)
from ..evals import EvalScores
from ..memory import HistoryDiff, Memory, NoteContent, Revision, UndoneChanges, access_rules
from . import _evaluations, _graph, _notes, _writes
from ._context import ServerContext
from ._openapi import document
from ._operations import Answer, Operation, RestCall, make_route, require_precondition
from ._request_error import RequestError
from ._run_dirs import Failures, RunView, read_run
from ._transcript import JobView, job_view

T = TypeVar("T")
MOST_HITS = 100
MOST_ROWS = MOST_REVISIONS = 500


@attrs.frozen
class Status:
    """Whether the server is "ok", "ready" or "stopping"."""

    status: str


@attrs.frozen
class MemoryNames:
    """The names of all memories, sorted."""

    memories: Sequence[str]


@attrs.frozen
class NewMemory:
    """The name of a new memory."""

    name: str


@attrs.frozen
class RunNames:
    """The names of all runs, sorted.

    Attributes:
        graded: the names of those that are evaluations.
    """

    runs: Sequence[str]
    graded: Sequence[str] = ()


@attrs.frozen(kw_only=True)
class ControlState:
    """The state of a run that accepts commands.

    Attributes:
        paused: no new job starts.
        max_concurrent: jobs at once.
        running: the ids of running jobs, up to 1,000.
        progress: as in a run's ``last``.
    """

    paused: bool
    max_concurrent: int
    running: Sequence[str]
    progress: Mapping[str, Any]


@attrs.frozen
class Hits:
    """Lines that match a query, best first."""

    hits: Sequence[_notes.SearchHit]


@attrs.frozen
class Backlinks:
    """The notes that link to a note, sorted."""

    paths: Sequence[str]


@attrs.frozen(kw_only=True)
class SearchQuery:
    """
    Attributes:
        q: words to look for.
        limit: the most lines, up to 100.
    """

    q: str
    limit: int = 20


@attrs.frozen(kw_only=True)
class GraphQuery:
    """
    Attributes:
        cluster: only the notes of this cluster; "" for all.
    """

    cluster: str = ""


@attrs.frozen(kw_only=True)
class JobsQuery:
    """
    Attributes:
        state: only jobs in this state; "no_reply": jobs that are done and left a message without a reply; "wrong":
            samples of an evaluation with a score below one half.
        cause: only jobs that failed for this cause, as named in the failures.
        contains: only jobs whose id contains this text.
        offset: of the first row, from 0.
        limit: the most rows, up to 500.
    """

    state: Filter = ""
    cause: str = ""
    contains: str = ""
    offset: int = 0
    limit: int = 100


@attrs.frozen
class Revisions:
    """Revisions of a memory, the newest first."""

    revisions: Sequence[Revision]


@attrs.frozen(kw_only=True)
class HistoryQuery:
    """
    Attributes:
        path: only revisions that changed this note, or a note in this folder.
        limit: the most revisions, up to 500.
        before: only revisions before this one: the id of the last one of a page, for the next page.
        chat, job, batch: only those of this conversation, job or batch.
    """

    path: str = ""
    limit: int = 100
    before: str = ""
    chat: str = ""
    job: str = ""
    batch: str = ""


@attrs.frozen(kw_only=True)
class DiffQuery:
    """
    Attributes:
        path: only this note, or the notes in this folder.
        since: the older revision; by default the one before the newer one.
        at: the newer revision; by default the newest of all.
    """

    path: str = ""
    since: str = ""
    at: str = ""


@attrs.frozen
class FormerNote:
    """A note, and the revision (or a time in ISO format) to restore it from."""

    path: str
    at: str


@attrs.frozen(kw_only=True)
class UndoSelection:
    """Selects the commits of one conversation, job or batch."""

    chat: str = ""
    job: str = ""
    batch: str = ""


async def _health(context: ServerContext, call: RestCall) -> Answer:
    await trio.lowlevel.checkpoint()
    return Answer(value=Status("ok"))


async def _readiness(context: ServerContext, call: RestCall) -> Answer:
    await trio.lowlevel.checkpoint()
    if context.stopping:
        return Answer(value=Status("stopping"), status=503)
    return Answer(value=Status("ready"))


async def _memories(context: ServerContext, call: RestCall) -> Answer:
    return Answer(value=MemoryNames(await context.memories.names()))


async def _new_memory(context: ServerContext, call: RestCall) -> Answer:
    await context.memories.create(call.body.name)
    return Answer(value=MemoryNames(await context.memories.names()), status=201)


async def _tree(context: ServerContext, call: RestCall) -> Answer:
    memory = await _memory(context, call)
    return Answer(value=await _in_thread(_notes.read_tree, memory))


async def _note(context: ServerContext, call: RestCall) -> Answer:
    memory = await _memory(context, call)
    note = await _in_thread(_if_found(_notes.read_note), memory, call.path["path"])
    return Answer(value=note, version=note.version)


async def _write_note(context: ServerContext, call: RestCall) -> Answer:
    version = require_precondition(call)
    memory = await _memory(context, call)
    written = await _writes.write_note(memory, call.path["path"], call.body.text, version)
    return Answer(value=written, version=written.version or "")


async def _delete_note(context: ServerContext, call: RestCall) -> Answer:
    version = require_precondition(call)
    memory = await _memory(context, call)
    return Answer(value=await _writes.delete_note(memory, call.path["path"], version))


async def _search(context: ServerContext, call: RestCall) -> Answer:
    memory = await _memory(context, call)
    limit = _within("limit", call.query.limit, 1, MOST_HITS)
    return Answer(value=Hits(await _in_thread(_notes.search, memory, call.query.q, limit)))


async def _backlinks(context: ServerContext, call: RestCall) -> Answer:
    memory = await _memory(context, call)
    read = _if_found(_notes.read_backlinks)
    return Answer(value=Backlinks(await _in_thread(read, memory, call.path["path"])))


async def _graph_view(context: ServerContext, call: RestCall) -> Answer:
    memory = await _memory(context, call)

    def read() -> _graph.GraphView:
        return _graph.view(_graph.read_graph(memory), call.query.cluster)

    return Answer(value=await _in_thread(read))


async def _history(context: ServerContext, call: RestCall) -> Answer:
    memory, query = await _memory_with_history(context, call), call.query
    limit = _within("limit", query.limit, 1, MOST_REVISIONS)
    revisions = await memory.log(
        query.path or None,
        limit=limit,
        before=query.before or None,
        chat=query.chat or None,
        job=query.job or None,
        batch=query.batch or None,
    )
    return Answer(value=Revisions(revisions))


async def _diff(context: ServerContext, call: RestCall) -> Answer:
    memory, query = await _memory_with_history(context, call), call.query
    return Answer(value=await memory.diff(query.path or None, since=query.since or None, at=query.at or None))


async def _former_note(context: ServerContext, call: RestCall) -> Answer:
    memory = await _memory_with_history(context, call)
    return Answer(value=await memory.show(call.path["path"], at=call.path["revision"]))


async def _restore(context: ServerContext, call: RestCall) -> Answer:
    version = require_precondition(call)
    memory = await _memory_with_history(context, call)
    written = await _writes.restore_note(memory, call.body.path, call.body.at, version)
    return Answer(value=written, version=written.version or "")


async def _undo(context: ServerContext, call: RestCall) -> Answer:
    memory, body = await _memory_with_history(context, call), call.body
    return Answer(value=await memory.undo(chat=body.chat or None, job=body.job or None, batch=body.batch or None))


async def _runs(context: ServerContext, call: RestCall) -> Answer:
    return Answer(value=await _in_thread(lambda: RunNames(context.runs.names(), context.runs.graded())))


async def _run(context: ServerContext, call: RestCall) -> Answer:
    name = call.path["run"]
    return Answer(value=await _in_thread(lambda: read_run(name, context.runs.path(name))))


async def _jobs(context: ServerContext, call: RestCall) -> Answer:
    query = call.query
    offset, limit = _within("offset", query.offset, 0, 2**40), _within("limit", query.limit, 1, MOST_ROWS)

    def read(browser: RunBrowser) -> JobPage:
        return browser.page(query.state, query.cause, query.contains, offset, limit)

    return Answer(value=await _of_run(context, call, read))


async def _job(context: ServerContext, call: RestCall) -> Answer:
    def read(browser: RunBrowser) -> JobView:
        return job_view(_if_found(browser.job)(call.path["job"]))

    return Answer(value=await _of_run(context, call, read))


async def _failures(context: ServerContext, call: RestCall) -> Answer:
    return Answer(value=await _of_run(context, call, lambda browser: Failures(browser.causes())))


async def _evaluation(context: ServerContext, call: RestCall) -> Answer:
    read = _if_found(_evaluations.scores)
    return Answer(value=await _in_thread(lambda: read(context.runs.path(call.path["run"]))))


async def _compare(context: ServerContext, call: RestCall) -> Answer:
    read, runs = _if_found(_evaluations.comparison), context.runs
    return Answer(value=await _in_thread(lambda: read(runs.path(call.path["run"]), runs.path(call.query.other))))


async def _series(context: ServerContext, call: RestCall) -> Answer:
    return Answer(value=await _in_thread(lambda: read_series(context.runs.path(call.path["run"]))))


async def _control(context: ServerContext, call: RestCall) -> Answer:
    path = await _in_thread(context.runs.path, call.path["run"])
    try:
        found = await send_control(path, call.body)
    except RunNotReachedError as error:
        advice = "resume the run, with the command that began it"
        raise RequestError(409, "run_not_reached", error.problem, advice) from None
    state = {name: found[name] for name in ("paused", "max_concurrent", "running", "progress")}
    return Answer(value=ControlState(**state))


_MEMORY = "/api/memories/{memory}"
_RUN = "/api/runs/{run}"

OPERATIONS: Sequence[Operation] = (
    Operation(
        method="GET",
        path="/healthz",
        name="get_health",
        summary="Whether the server is alive. Needs no token.",
        answer=Status,
        handler=_health,
        public=True,
    ),
    Operation(
        method="GET",
        path="/readyz",
        name="get_readiness",
        summary="Whether the server accepts work. Needs no token.",
        answer=Status,
        handler=_readiness,
        errors=(503,),
        public=True,
    ),
    Operation(
        method="GET",
        path="/api/memories",
        name="list_memories",
        summary="The memories that are served.",
        answer=MemoryNames,
        handler=_memories,
    ),
    Operation(
        method="POST",
        path="/api/memories",
        name="create_memory",
        summary="Create an empty memory.",
        answer=MemoryNames,
        handler=_new_memory,
        body=NewMemory,
        status=201,
        errors=(404, 409),
    ),
    Operation(
        method="GET",
        path=f"{_MEMORY}/tree",
        name="list_notes",
        summary="Every file in a memory, with its size.",
        answer=_notes.NoteTree,
        handler=_tree,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path=f"{_MEMORY}/notes/{{path:text}}",
        name="read_note",
        summary="A note by its path, or by the text of a link to it.",
        answer=_notes.NoteView,
        handler=_note,
        errors=(404,),
        versioned=True,
    ),
    Operation(
        method="PUT",
        path=f"{_MEMORY}/notes/{{path:text}}",
        name="write_note",
        summary="Create a note, or replace the version of it that If-Match names.",
        answer=_writes.Written,
        handler=_write_note,
        body=_writes.NewText,
        errors=(403, 404, 412, 413, 428),
        versioned=True,
        conditional=True,
    ),
    Operation(
        method="DELETE",
        path=f"{_MEMORY}/notes/{{path:text}}",
        name="delete_note",
        summary="Delete the version of a note that If-Match names.",
        answer=_writes.Written,
        handler=_delete_note,
        errors=(403, 404, 412, 428),
        conditional=True,
    ),
    Operation(
        method="GET",
        path=f"{_MEMORY}/search",
        name="search_notes",
        summary="The lines that match a query best.",
        answer=Hits,
        handler=_search,
        query=SearchQuery,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path=f"{_MEMORY}/backlinks/{{path:text}}",
        name="list_backlinks",
        summary="The notes that link to a note.",
        answer=Backlinks,
        handler=_backlinks,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path=f"{_MEMORY}/graph",
        name="read_graph",
        summary="Notes and the links between them; clusters of notes, if there are more than 2,000.",
        answer=_graph.GraphView,
        handler=_graph_view,
        query=GraphQuery,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path=f"{_MEMORY}/history",
        name="list_revisions",
        summary="The revisions of the notes, newest first; none if no history is kept.",
        answer=Revisions,
        handler=_history,
        query=HistoryQuery,
        errors=(403, 404, 503),
    ),
    Operation(
        method="GET",
        path=f"{_MEMORY}/diff",
        name="read_diff",
        summary="What changed between two revisions.",
        answer=HistoryDiff,
        handler=_diff,
        query=DiffQuery,
        errors=(403, 404, 503),
    ),
    Operation(
        method="GET",
        path=f"{_MEMORY}/revisions/{{revision}}/notes/{{path:text}}",
        name="read_former_note",
        summary="A note as it was at a revision.",
        answer=NoteContent,
        handler=_former_note,
        errors=(403, 404, 503),
    ),
    Operation(
        method="POST",
        path=f"{_MEMORY}/restore",
        name="restore_note",
        summary="Restore a note from a revision; If-Match names its present version.",
        answer=_writes.Written,
        handler=_restore,
        body=FormerNote,
        errors=(403, 404, 412, 413, 428, 503),
        versioned=True,
        conditional=True,
    ),
    Operation(
        method="POST",
        path=f"{_MEMORY}/undo",
        name="undo_commits",
        summary="Undo all commits of one conversation, job or batch, unless their notes have been changed since.",
        answer=UndoneChanges,
        handler=_undo,
        body=UndoSelection,
        errors=(403, 404, 409, 503),
    ),
    Operation(
        method="GET",
        path="/api/runs",
        name="list_runs",
        summary="The runs that the server shows.",
        answer=RunNames,
        handler=_runs,
    ),
    Operation(
        method="GET",
        path=_RUN,
        name="read_run",
        summary="The state of a run.",
        answer=RunView,
        handler=_run,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path=f"{_RUN}/jobs",
        name="list_jobs",
        summary="A run's jobs by page, in the order in which they began.",
        answer=JobPage,
        handler=_jobs,
        query=JobsQuery,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path=f"{_RUN}/jobs/{{job:text}}",
        name="read_job",
        summary="A job with its transcript.",
        answer=JobView,
        handler=_job,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path=f"{_RUN}/failures",
        name="list_failures",
        summary="Why jobs failed, grouped by cause.",
        answer=Failures,
        handler=_failures,
        errors=(404,),
    ),
    Operation(
        method="POST",
        path=f"{_RUN}/control",
        name="control_run",
        summary="Control a running run: pause it, stop it, cancel a job, requeue a failed one.",
        answer=ControlState,
        handler=_control,
        body=ControlRequest,
        errors=(404, 409),
    ),
    Operation(
        method="GET",
        path=f"{_RUN}/evaluation",
        name="read_evaluation",
        summary="The scores of an evaluation, by category, with their 95 % intervals.",
        answer=EvalScores,
        handler=_evaluation,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path=f"{_RUN}/evaluation/comparison",
        name="compare_evaluations",
        summary="Compare two evaluations, on the samples that both have graded.",
        answer=_evaluations.EvalComparison,
        handler=_compare,
        query=_evaluations.EvaluationQuery,
        errors=(404,),
    ),
    Operation(
        method="GET",
        path=f"{_RUN}/series",
        name="read_series",
        summary="The progress of a run over time, over all its starts.",
        answer=RunSeries,
        handler=_series,
        errors=(404,),
    ),
)


def routes(context: ServerContext) -> list[BaseRoute]:
    """The routes of REST."""

    async def openapi(request: Request) -> Response:
        return Response(await _in_thread(_document), media_type="application/json")

    return [*(make_route(context, operation) for operation in OPERATIONS), Route("/api/openapi.json", openapi)]


def _document() -> bytes:
    return json.dumps(document(OPERATIONS)).encode()


async def _memory(context: ServerContext, call: RestCall) -> Memory:
    return await context.memories.get(call.path["memory"])


async def _memory_with_history(context: ServerContext, call: RestCall) -> Memory:
    """The memory, for requests that read its history.

    Raises:
        RequestError: its policy hides some notes, and a history contains all of them.
    """
    memory = await _memory(context, call)
    if access_rules(memory.policy).readable:
        problem = "only some notes may be read here, and a history contains all of them"
        raise RequestError(403, "history_protected", problem, "read it on the server: trioagent memory log")
    return memory


async def _of_run(context: ServerContext, call: RestCall, read: Callable[[RunBrowser], T]) -> T:
    """Call *read* with the journal of a run."""

    def work() -> T:
        path = context.runs.path(call.path["run"])
        try:
            with RunBrowser(path) as browser:
                return read(browser)
        except JournalError as error:
            raise RequestError(500, "journal", str(error), "repair the run directory on the server") from error

    return await _in_thread(work)


async def _in_thread(work: Callable[..., T], *args: object) -> T:
    """Run *work*, which takes time in proportion to a memory or a run, in a thread; wait for it even if cancelled."""
    return await trio.to_thread.run_sync(partial(work, *args))


def _if_found(read: Callable[..., T]) -> Callable[..., T]:
    """Like *read*; an `InvalidInputError` for something that does not exist becomes a 404."""

    def reading(*args: Any) -> T:
        try:
            return read(*args)
        except InvalidInputError as error:
            raise RequestError(404, "not_found", error.problem, "list what exists, and request one of these") from None

    return reading


def _within(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise InvalidInputError(name, f"must be from {low} to {high}, not {value!r}")
    return value
